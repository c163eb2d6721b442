//! Deploys that go wrong, and what the next one makes of it.

use std::time::{Duration, Instant};

use bosh_director::db;
use bosh_director::tasks::jobs::update_deployment::Options;

use super::Fixture;
use super::release::manifest;

const DISK: &str = "  persistent_disk_type: small\n";

#[tokio::test]
async fn a_canary_that_fails_stops_the_deploy() {
    let fixture = Fixture::new().await;
    let short = manifest(3, "").replace("canary_watch_time: 1-5000", "canary_watch_time: 1-50");
    fixture.world.lock().unwrap().failing.insert("web".into());
    let ended = fixture.run(fixture.deploy(&short)).await;
    let canary = fixture.instances().await[0].label();
    assert_eq!(
        ended.failed(),
        format!("'{canary}' is not running after update. Review logs for failed jobs: web")
    );
    let completed: Vec<_> = fixture
        .instances()
        .await
        .iter()
        .map(|instance| instance.update_completed)
        .collect();
    assert_eq!(completed, [Some(false), Some(false), Some(false)]);
    assert_eq!(
        fixture.world.lock().unwrap().count("start"),
        1,
        "only the canary"
    );
    fixture.nothing_leaks().await;

    fixture.world.lock().unwrap().failing.clear();
    let vms = fixture.vms();
    fixture.run(fixture.deploy(&short)).await.done();
    assert_eq!(fixture.vms(), vms, "VMs that are fine are kept");
    assert!(
        fixture
            .instances()
            .await
            .iter()
            .all(|instance| instance.update_completed == Some(true))
    );
}

#[tokio::test]
async fn a_cloud_that_makes_no_vms_leaves_nothing() {
    let fixture = Fixture::new().await;
    fixture.cpi_fails("create_vm", Some("no more"));
    let error = fixture.run(fixture.deploy(&manifest(1, ""))).await.failed();
    assert!(
        error.starts_with(
            "CPI error 'Bosh::Clouds::CloudError' with message 'no more' in 'create_vm' CPI method (CPI request ID: "
        ),
        "{error}"
    );
    assert!(fixture.vms().is_empty());
    fixture.nothing_leaks().await;
    assert!(
        fixture
            .instances()
            .await
            .iter()
            .all(|instance| instance.compilation != Some(true))
    );
    fixture.cpi_fails("create_vm", None);
    fixture.run(fixture.deploy(&manifest(1, ""))).await.done();
}

#[tokio::test]
async fn a_vm_whose_agent_never_answers_is_deleted() {
    let fixture = Fixture::new().await;
    fixture.run(fixture.deploy(&manifest(1, ""))).await.done();
    fixture.world.lock().unwrap().deaf = true;
    let ended = fixture.run(fixture.deploy(&manifest(2, ""))).await;
    let error = ended.failed();
    assert!(error.contains("Timed out"), "{error}");
    fixture.world.lock().unwrap().deaf = false;
    fixture.nothing_leaks().await;
    fixture.run(fixture.deploy(&manifest(2, ""))).await.done();
    assert_eq!(fixture.vms().len(), 2);
}

#[tokio::test]
async fn an_agent_that_does_not_answer_needs_fix() {
    let fixture = Fixture::new().await;
    fixture.run(fixture.deploy(&manifest(2, DISK))).await.done();
    let lost = fixture.vms()[0].clone();
    fixture.world.lock().unwrap().mute.insert(lost.clone());
    let error = fixture
        .run(fixture.deploy(&manifest(2, DISK)))
        .await
        .failed();
    assert!(
        error.contains("Timed out sending 'get_state' to instance"),
        "{error}"
    );
    let fix = Options {
        deploy: true,
        fix: true,
        ..Options::default()
    };
    fixture
        .run(fixture.deploy_with(&manifest(2, DISK), fix))
        .await
        .done();
    assert!(!fixture.vms().contains(&lost));
    assert_eq!((fixture.vms().len(), fixture.disks()), (2, 2));
    fixture.nothing_leaks().await;
}

#[tokio::test]
async fn a_vm_that_the_cloud_no_longer_has_needs_no_fix() {
    let fixture = Fixture::new().await;
    fixture.run(fixture.deploy(&manifest(2, DISK))).await.done();
    let lost = fixture.vms()[0].clone();
    fixture.destroy_vm(&lost);
    fixture.run(fixture.deploy(&manifest(2, DISK))).await.done();
    assert!(!fixture.vms().contains(&lost));
    assert_eq!((fixture.vms().len(), fixture.disks()), (2, 2));
    fixture.nothing_leaks().await;
}

/// Waits for a condition while a task runs.
async fn until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "it never happened");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Kills the director when `moment` comes, starts another one, and deploys again.
async fn killed_when(moment: impl Fn(&Fixture) -> bool) {
    let mut fixture = Fixture::new().await;
    fixture.world.lock().unwrap().slow = Duration::from_millis(30);
    let manifest = manifest(3, DISK);
    let task = fixture.begin(fixture.deploy(&manifest)).await;
    until(|| moment(&fixture)).await;
    fixture.kill_and_restart().await;
    drop(task);
    fixture.world.lock().unwrap().slow = Duration::ZERO;
    fixture.run(fixture.deploy(&manifest)).await.done();
    fixture.nothing_leaks().await;
    assert_eq!((fixture.vms().len(), fixture.disks()), (3, 3));
    let instances = fixture.instances().await;
    assert_eq!(instances.len(), 3);
    assert!(
        instances
            .iter()
            .all(|instance| instance.update_completed == Some(true))
    );
    {
        let world = fixture.world.lock().unwrap();
        let fine = |vm: &String| world.agent(vm).running && world.agent(vm).mounted.len() == 1;
        assert!(fixture.vms().iter().all(fine));
    }
    fixture.forget();
    let ended = fixture.run(fixture.deploy(&manifest)).await.done();
    assert_eq!(
        ended.steps.len(),
        3,
        "nothing is left to do: {:#?}",
        ended.steps
    );
    assert_eq!(db::disks::orphans(fixture.db()).await.unwrap().len(), 0);
}

#[tokio::test]
async fn killed_while_it_applies() {
    killed_when(|fixture| fixture.world.lock().unwrap().count("apply") > 0).await;
}

#[tokio::test]
async fn killed_while_it_waits_for_the_canary() {
    killed_when(|fixture| fixture.world.lock().unwrap().count("start") > 0).await;
}

#[tokio::test]
async fn killed_while_the_others_are_updated() {
    killed_when(|fixture| fixture.world.lock().unwrap().count("apply") > 2).await;
}
