//! Deploys and commands that change something.

use std::collections::BTreeMap;

use bosh_director::db;
use bosh_director::tasks::Work;
use bosh_director::tasks::jobs::update_deployment::{GroupState, Options};
use bosh_director::tasks::jobs::update_instance::{Action, UpdateInstance};

use super::Fixture;
use super::release::manifest;

const DISK: &str = "  persistent_disk_type: small\n";

#[tokio::test]
async fn an_update_in_place_stops_applies_and_starts() {
    let fixture = Fixture::new().await;
    fixture.run(fixture.deploy(&manifest(1, ""))).await.done();
    let before = fixture.vms();
    fixture.forget();
    let changed = manifest(1, "").replace(
        "release: shop}]",
        "release: shop, properties: {greeting: hi}}]",
    );
    let ended = fixture.run(fixture.deploy(&changed)).await.done();
    assert!(
        ended.steps.last().unwrap().contains("(canary) finished"),
        "{:#?}",
        ended.steps
    );
    assert_eq!(fixture.vms(), before);
    let story = fixture.world.lock().unwrap().story();
    assert_eq!(
        story,
        [
            "get_state",
            "prepare",
            "pre-stop",
            "update",
            "stop",
            "post-stop",
            "apply",
            "pre-start",
            "start",
            "get_state",
            "post-start",
            "post-deploy"
        ]
    );
    let events = db::events::list(fixture.db(), &db::events::Filter::default())
        .await
        .unwrap();
    let context = events
        .iter()
        .find(|event| event.object_type == "instance")
        .unwrap()
        .context_json
        .clone();
    assert_eq!(
        context.unwrap(),
        r#"{"az":"z1","changes":["configuration"]}"#
    );
}

#[tokio::test]
async fn a_new_vm_takes_the_disk_over() {
    let fixture = Fixture::new().await;
    fixture.run(fixture.deploy(&manifest(1, DISK))).await.done();
    let before = fixture.vms();
    fixture.forget();
    let changed = manifest(1, DISK).replace("vm_type: small", "vm_type: large");
    fixture.run(fixture.deploy(&changed)).await.done();
    assert_ne!(fixture.vms(), before);
    assert_eq!((fixture.vms().len(), fixture.disks()), (1, 1));
    fixture.nothing_leaks().await;
    let world = fixture.world.lock().unwrap();
    assert_eq!(world.agent(&fixture.vms()[0]).mounted.len(), 1);
    let story = world.story();
    let at = |what: &str| {
        story
            .iter()
            .position(|told| told == what)
            .unwrap_or_else(|| panic!("{what}: {story:?}"))
    };
    assert!(at("pre-stop") < at("shutdown") && at("shutdown") < at("stop"));
    assert!(at("stop") < at("unmount_disk") && at("unmount_disk") < at("mount_disk"));
    assert!(at("mount_disk") < at("apply"));
}

#[tokio::test]
async fn fewer_instances_leave_orphaned_disks() {
    let fixture = Fixture::new().await;
    fixture.run(fixture.deploy(&manifest(3, DISK))).await.done();
    let ended = fixture.run(fixture.deploy(&manifest(1, DISK))).await.done();
    let deleted = ended
        .steps
        .iter()
        .filter(|step| step.starts_with("Deleting unneeded instances web:"))
        .count();
    assert_eq!(deleted, 2, "{:#?}", ended.steps);
    assert_eq!((fixture.vms().len(), fixture.disks()), (1, 3));
    assert_eq!(db::disks::orphans(fixture.db()).await.unwrap().len(), 2);
    assert_eq!(fixture.instances().await.len(), 1);
    assert_eq!(db::dns::records(fixture.db()).await.unwrap().len(), 1);
    fixture.nothing_leaks().await;
}

#[tokio::test]
async fn a_group_that_is_gone_is_deleted_first() {
    let fixture = Fixture::new().await;
    fixture.run(fixture.deploy(&manifest(1, ""))).await.done();
    let renamed = manifest(1, "").replace("- name: web\n  instances", "- name: site\n  instances");
    let ended = fixture.run(fixture.deploy(&renamed)).await.done();
    let first = ended
        .steps
        .iter()
        .position(|step| step.starts_with("Deleting unneeded instances: web/"));
    let second = ended
        .steps
        .iter()
        .position(|step| step.starts_with("Creating missing vms: site/"));
    assert!(first.unwrap() < second.unwrap(), "{:#?}", ended.steps);
    assert_eq!(fixture.vms().len(), 1);
}

#[tokio::test]
async fn a_larger_disk_gets_the_data_and_the_old_one_is_orphaned() {
    let fixture = Fixture::new().await;
    fixture.run(fixture.deploy(&manifest(1, DISK))).await.done();
    fixture.forget();
    fixture
        .run(fixture.deploy(&manifest(1, "  persistent_disk_type: large\n")))
        .await
        .done();
    let instance = &fixture.instances().await[0];
    let disks = db::disks::by_instance(fixture.db(), instance.id)
        .await
        .unwrap();
    assert_eq!(disks.len(), 1);
    assert_eq!((disks[0].size, disks[0].active), (Some(2048), Some(true)));
    assert_eq!(
        db::disks::orphans(fixture.db()).await.unwrap()[0].size,
        Some(1024)
    );
    let story = fixture.world.lock().unwrap().story();
    let at = |what: &str| {
        story
            .iter()
            .position(|told| told == what)
            .unwrap_or_else(|| panic!("{what}: {story:?}"))
    };
    assert!(at("stop") < at("mount_disk") && at("mount_disk") < at("migrate_disk"));
    assert!(at("migrate_disk") < at("unmount_disk") && at("unmount_disk") < at("apply"));
}

fn states(state: &str) -> Options {
    let web = GroupState {
        state: Some(state.into()),
        ..GroupState::default()
    };
    Options {
        job_states: BTreeMap::from([("web".into(), web)]),
        ..Options::default()
    }
}

#[tokio::test]
async fn stop_start_detach_recreate_and_restart_of_a_group() {
    let fixture = Fixture::new().await;
    fixture.run(fixture.deploy(&manifest(2, DISK))).await.done();
    let vms = fixture.vms();
    let running = |fixture: &Fixture| {
        let world = fixture.world.lock().unwrap();
        fixture
            .vms()
            .iter()
            .filter(|id| world.agent(id).running)
            .count()
    };
    fixture
        .run(fixture.change_state(states("stopped")).await)
        .await
        .done();
    assert_eq!((running(&fixture), fixture.vms()), (0, vms.clone()));
    assert!(
        fixture
            .instances()
            .await
            .iter()
            .all(|instance| instance.state == "stopped")
    );

    // A deploy leaves them stopped.
    fixture.run(fixture.deploy(&manifest(2, DISK))).await.done();
    assert_eq!(running(&fixture), 0);

    fixture
        .run(fixture.change_state(states("started")).await)
        .await
        .done();
    assert_eq!((running(&fixture), fixture.vms()), (2, vms.clone()));

    fixture
        .run(fixture.change_state(states("detached")).await)
        .await
        .done();
    assert!(fixture.vms().is_empty());
    assert_eq!(fixture.disks(), 2);
    fixture
        .run(fixture.change_state(states("started")).await)
        .await
        .done();
    assert_eq!((running(&fixture), fixture.disks()), (2, 2));

    let vms = fixture.vms();
    fixture
        .run(fixture.change_state(states("restart")).await)
        .await
        .done();
    assert_eq!((running(&fixture), fixture.vms()), (2, vms.clone()));
    fixture
        .run(fixture.change_state(states("recreate")).await)
        .await
        .done();
    assert_eq!(running(&fixture), 2);
    assert!(fixture.vms().iter().all(|vm| !vms.contains(vm)));
    fixture.nothing_leaks().await;
    let events = db::events::list(fixture.db(), &db::events::Filter::default())
        .await
        .unwrap();
    for action in ["start", "stop", "restart", "recreate"] {
        let wanted =
            |event: &&db::events::Event| event.object_type == "instance" && event.action == action;
        assert!(
            events.iter().any(|event| wanted(&event)),
            "no event '{action}'"
        );
    }
}

#[tokio::test]
async fn one_instance_stops_starts_and_moves() {
    let fixture = Fixture::new().await;
    fixture.run(fixture.deploy(&manifest(2, DISK))).await.done();
    let instances = fixture.instances().await;
    let (one, other) = (&instances[0], &instances[1]);
    let work = |action: Action, hard: bool| {
        Work::UpdateInstance(UpdateInstance {
            deployment: "shop".into(),
            instance: one.id,
            action,
            skip_drain: false,
            hard,
            ignore_unresponsive_agent: false,
        })
    };
    let agent = async |id| {
        db::vms::active(fixture.db(), id)
            .await
            .unwrap()
            .map(|vm| vm.agent_id.unwrap())
    };
    let first = agent(one.id).await.unwrap();
    let ended = fixture.run(work(Action::Stop, false)).await.done();
    assert_eq!(ended.result(), one.name());
    assert_eq!(
        ended.steps,
        [format!(
            "Updating instance {}: Stopping instance finished",
            one.label()
        )]
    );
    assert!(!fixture.world.lock().unwrap().agent(&first).running);
    fixture.run(work(Action::Start, false)).await.done();
    assert!(fixture.world.lock().unwrap().agent(&first).running);

    let ended = fixture.run(work(Action::Restart, true)).await.done();
    let steps: Vec<&str> = ended
        .steps
        .iter()
        .map(|step| step.rsplit(": ").next().unwrap())
        .collect();
    assert_eq!(
        steps,
        [
            "Stopping instance finished",
            "Deleting VM finished",
            "Creating VM finished",
            "Starting instance finished"
        ]
    );
    let second = agent(one.id).await.unwrap();
    assert_ne!(first, second);
    {
        let world = fixture.world.lock().unwrap();
        assert!(world.agent(&second).running);
        assert_eq!(world.agent(&second).mounted.len(), 1);
    }
    assert!(agent(other.id).await.is_some());
    fixture.nothing_leaks().await;
    fixture.forget();
    let ended = fixture.run(fixture.deploy(&manifest(2, DISK))).await.done();
    assert_eq!(
        ended.steps.len(),
        3,
        "{:#?} {}",
        ended.steps,
        fixture.debug(&ended.task)
    );
}
