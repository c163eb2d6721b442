//! Everything but deploys.

use std::collections::BTreeMap;

use bosh_director::db;
use bosh_director::tasks::Work;
use bosh_director::tasks::jobs::apply_resolutions::ApplyResolutions;
use bosh_director::tasks::jobs::attach_disk::AttachDisk;
use bosh_director::tasks::jobs::delete_deployment::DeleteDeployment;
use bosh_director::tasks::jobs::delete_vm::DeleteVm;
use bosh_director::tasks::jobs::fetch_logs::FetchLogs;
use bosh_director::tasks::jobs::run_errand::{InstanceFilter, RunErrand};
use bosh_director::tasks::jobs::scan::Scan;
use bosh_director::tasks::jobs::scan_and_fix::ScanAndFix;
use bosh_director::tasks::jobs::ssh::Ssh;
use bosh_director::tasks::jobs::update_deployment::{GroupState, Options};
use bosh_director::tasks::jobs::vm_state::VmState;
use serde_json::json;

use super::Fixture;
use super::release::manifest;

const DISK: &str = "  persistent_disk_type: small\n";

const ERRAND: &str = "- name: checks
  lifecycle: errand
  instances: 1
  azs: [z1]
  vm_type: small
  stemcell: default
  networks: [{name: default}]
  jobs: [{name: check, release: shop}]
";

async fn deployed(instances: usize, more: &str) -> Fixture {
    let fixture = Fixture::new().await;
    fixture
        .run(fixture.deploy(&manifest(instances, more)))
        .await
        .done();
    fixture
}

async fn deployment(fixture: &Fixture) -> db::DeploymentId {
    db::deployments::find(fixture.db(), "shop")
        .await
        .unwrap()
        .unwrap()
        .id
}

#[tokio::test]
async fn a_deployment_is_deleted_with_all_that_is_its() {
    let fixture = deployed(2, DISK).await;
    fixture.forget();
    let delete = DeleteDeployment {
        deployment: "shop".into(),
        force: false,
        keep_snapshots: false,
    };
    let ended = fixture.run(Work::DeleteDeployment(delete)).await.done();
    assert_eq!(ended.result(), "/deployments/shop");
    assert_eq!(
        ended.steps[2..],
        [
            "Removing deployment artifacts: Detaching stemcells finished",
            "Removing deployment artifacts: Detaching releases finished",
            "Deleting properties: Deleting dynamic disks finished",
            "Deleting properties: Destroying deployment finished",
        ]
    );
    assert!(fixture.vms().is_empty());
    assert_eq!(db::disks::orphans(fixture.db()).await.unwrap().len(), 2);
    assert!(
        db::deployments::find(fixture.db(), "shop")
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        db::ip_addresses::list(fixture.db())
            .await
            .unwrap()
            .is_empty()
    );
    let world = fixture.world.lock().unwrap();
    let stop = world
        .calls
        .iter()
        .find(|(_, method, arguments)| method == "run_script" && arguments[0] == "pre-stop");
    assert_eq!(
        stop.unwrap().2[1]["env"]["BOSH_DEPLOYMENT_NEXT_STATE"],
        "delete"
    );
}

#[tokio::test]
async fn a_deployment_that_resists_is_deleted_by_force() {
    let fixture = deployed(1, "").await;
    fixture
        .world
        .lock()
        .unwrap()
        .broken
        .insert("stop".into(), "never".into());
    let delete = |force| {
        Work::DeleteDeployment(DeleteDeployment {
            deployment: "shop".into(),
            force,
            keep_snapshots: false,
        })
    };
    assert_eq!(fixture.run(delete(false)).await.failed(), "never");
    fixture.run(delete(true)).await.done();
    assert!(fixture.vms().is_empty());
}

fn errand(name: &str, keep_alive: bool, instances: Vec<InstanceFilter>) -> Work {
    Work::RunErrand(RunErrand {
        deployment: "shop".into(),
        errand: name.into(),
        keep_alive,
        when_changed: false,
        instances,
    })
}

#[tokio::test]
async fn an_errand_runs_on_a_vm_of_its_own() {
    let fixture = deployed(1, ERRAND).await;
    assert_eq!(fixture.vms().len(), 1, "errands have no VM until they run");
    let ended = fixture
        .run(errand("checks", false, Vec::new()))
        .await
        .done();
    assert_eq!(ended.result(), "1 succeeded, 0 errored, 0 canceled");
    assert_eq!(fixture.vms().len(), 1);
    let line = &ended.lines[0];
    assert_eq!(
        (&line["exit_code"], &line["stdout"]),
        (&json!(0), &json!("fine\n"))
    );
    assert_eq!(line["instance"]["group"], "checks");
    assert_eq!(line["errand_name"], "checks");
    assert!(line["logs"]["blobstore_id"].is_string());
    let stages: Vec<&str> = ended
        .steps
        .iter()
        .map(|step| step.split(": ").next().unwrap())
        .collect();
    assert_eq!(
        stages[..2],
        ["Preparing package compilation", "Preparing deployment"]
    );
    assert_eq!(
        stages[2..5],
        [
            "Creating missing vms",
            "Updating instance checks",
            "Running errand"
        ]
    );

    let ended = fixture.run(errand("check", true, Vec::new())).await.done();
    assert_eq!(ended.result(), "1 succeeded, 0 errored, 0 canceled");
    assert_eq!(fixture.vms().len(), 2, "kept alive");
    fixture.nothing_leaks().await;
    fixture
        .run(fixture.deploy(&manifest(1, ERRAND)))
        .await
        .done();
    assert_eq!(fixture.vms().len(), 2);
}

#[tokio::test]
async fn an_errand_runs_beside_services() {
    let fixture = deployed(2, "").await;
    let ended = fixture.run(errand("web", false, Vec::new())).await.done();
    assert_eq!(ended.result(), "2 succeeded, 0 errored, 0 canceled");
    assert_eq!(ended.lines.len(), 2);
    let first = InstanceFilter {
        group: "web".into(),
        id: Some("first".into()),
    };
    let ended = fixture.run(errand("web", false, vec![first])).await.done();
    assert_eq!(ended.result(), "1 succeeded, 0 errored, 0 canceled");
    let nobody = InstanceFilter {
        group: "web".into(),
        id: Some("7".into()),
    };
    let error = fixture
        .run(errand("web", false, vec![nobody]))
        .await
        .failed();
    assert_eq!(
        error,
        "No instances match selection criteria: [{\"group\"=>\"web\", \"id\"=>\"7\"}]"
    );
    assert_eq!(
        fixture
            .run(errand("nope", false, Vec::new()))
            .await
            .failed(),
        "Errand 'nope' doesn't exist"
    );
}

#[tokio::test]
async fn an_errand_that_nothing_changed_for_is_skipped() {
    let fixture = deployed(1, ERRAND).await;
    let work = || {
        Work::RunErrand(RunErrand {
            deployment: "shop".into(),
            errand: "checks".into(),
            keep_alive: false,
            when_changed: true,
            instances: Vec::new(),
        })
    };
    fixture.run(work()).await.done();
    let ended = fixture.run(work()).await.done();
    assert_eq!(ended.result(), "skipped - no changes detected");
}

#[tokio::test]
async fn logs_come_as_one_blob() {
    let fixture = deployed(2, "").await;
    let ids: Vec<_> = fixture
        .instances()
        .await
        .iter()
        .map(|instance| instance.id)
        .collect();
    let work = |instances| {
        Work::FetchLogs(FetchLogs {
            instances,
            log_type: "job".into(),
            filters: Vec::new(),
        })
    };
    let ended = fixture.run(work(vec![ids[0]])).await.done();
    let blob = fixture
        .blobstore()
        .get_bytes(ended.result(), None, 1 << 20)
        .await
        .unwrap();
    assert_eq!(&blob[..], b"logs");
    let name = fixture.instances().await[0].label();
    assert_eq!(
        ended.steps,
        [format!(
            "Fetching logs for {name}: Finding and packing log files finished"
        )]
    );

    let ended = fixture.run(work(ids)).await.done();
    assert!(ended.steps[2].starts_with("Fetching group of logs: Packing log files together"));
    let blob = fixture
        .blobstore()
        .get_bytes(ended.result(), None, 1 << 20)
        .await
        .unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&blob[..]));
    assert_eq!(archive.entries().unwrap().count(), 2);
}

#[tokio::test]
async fn ssh_goes_to_those_that_are_meant() {
    let fixture = deployed(2, "").await;
    let instances = fixture.instances().await;
    let request = json!({
        "command": "setup",
        "deployment_name": "shop",
        "target": {"job": "web", "ids": [instances[1].uuid()]},
        "params": {"user": "me", "public_key": "key"},
    });
    let ssh = Ssh {
        deployment_id: deployment(&fixture).await,
        request,
    };
    let ended = fixture.run(Work::Ssh(ssh)).await.done();
    assert_eq!(
        ended.lines[0],
        json!([{
            "command": "setup",
            "status": "success",
            "ip": "10.0.0.2",
            "host_public_key": "key",
            "id": instances[1].uuid(),
            "index": 1,
            "job": "web",
        }])
    );
}

#[tokio::test]
async fn vm_state_tells_all_there_is_to_know() {
    let fixture = deployed(2, DISK).await;
    let lost = fixture.vms()[0].clone();
    fixture.world.lock().unwrap().mute.insert(lost.clone());
    let state = async |instances| {
        let deployment_id = deployment(&fixture).await;
        let work = Work::VmState(VmState {
            deployment_id,
            format: "full".into(),
            instances,
        });
        fixture.run(work).await.done().lines
    };
    let lines = state(true).await;
    assert_eq!(lines.len(), 2);
    for line in &lines {
        let muted = line["agent_id"] == json!(lost);
        assert_eq!(
            line["job_state"],
            if muted {
                "unresponsive agent"
            } else {
                "running"
            }
        );
        assert_eq!(line["vitals"].is_null(), muted);
        assert_eq!(
            line["processes"].as_array().unwrap().len(),
            usize::from(!muted)
        );
        assert_eq!(line["ips"].as_array().unwrap().len(), 1);
        assert_eq!(line["disk_cids"].as_array().unwrap().len(), 1);
        assert_eq!(
            (&line["az"], &line["vm_type"], &line["state"]),
            (&json!("z1"), &json!("small"), &json!("started"))
        );
        assert_eq!(
            line["stemcell"],
            json!({"name": "sky", "version": "1.1", "api_version": 3})
        );
        assert_eq!(line["active"], true);
        assert_eq!(line["cloud_properties"], json!({"zone": "one", "ram": 1}));
    }
    assert_eq!(state(false).await.len(), 2);
}

fn repair(instances: Vec<(String, String)>, fix_stateful: bool) -> Work {
    Work::ScanAndFix(ScanAndFix {
        deployment: "shop".into(),
        instances,
        fix_stateful,
    })
}

#[tokio::test]
async fn a_vm_that_is_gone_comes_back_with_its_disk() {
    let fixture = deployed(2, DISK).await;
    let instance = &fixture.instances().await[0];
    let vm = db::vms::active(fixture.db(), instance.id)
        .await
        .unwrap()
        .unwrap();
    let lost = vm.agent_id.unwrap();
    fixture.destroy_vm(&lost);
    let wanted = vec![("web".to_owned(), instance.uuid().to_owned())];
    let ended = fixture.run(repair(wanted.clone(), false)).await.done();
    assert_eq!(ended.result(), "scan and fix complete");
    assert_eq!(
        fixture.vms().len(),
        1,
        "stateful instances are left alone unless told"
    );

    let ended = fixture.run(repair(wanted, true)).await.done();
    assert_eq!(
        ended.steps[..2],
        [
            "Scanning 1 VMs: Checking VM states finished",
            "Scanning 1 VMs: 0 OK, 0 unresponsive, 1 missing, 0 unbound finished"
        ]
    );
    let text = format!(
        "Applying problem resolutions: VM for '{}' with cloud ID 'vm-{lost}' missing. (missing_vm {}): \
         Recreate VM and wait for processes to start finished",
        instance.label(),
        instance.id
    );
    assert_eq!(ended.steps[2], text);
    assert_eq!((fixture.vms().len(), fixture.disks()), (2, 2));
    let vm = db::vms::active(fixture.db(), instance.id)
        .await
        .unwrap()
        .unwrap();
    {
        let world = fixture.world.lock().unwrap();
        let agent = world.agent(vm.agent_id.as_deref().unwrap());
        assert!(agent.running);
        assert_eq!(agent.mounted.len(), 1);
        assert_eq!(agent.spec["packages"]["app"]["version"], "app-1.1");
    }
    fixture.nothing_leaks().await;
    let ended = fixture.run(fixture.deploy(&manifest(2, DISK))).await.done();
    assert_eq!(
        ended.steps.len(),
        3,
        "{:#?} {}",
        ended.steps,
        fixture.debug(&ended.task)
    );
}

#[tokio::test]
async fn cloud_check_finds_and_repairs() {
    let fixture = deployed(2, DISK).await;
    let instances = fixture.instances().await;
    let vm = db::vms::active(fixture.db(), instances[0].id)
        .await
        .unwrap()
        .unwrap();
    fixture.destroy_vm(vm.agent_id.as_deref().unwrap());
    let disk = &db::disks::by_instance(fixture.db(), instances[1].id)
        .await
        .unwrap()[0];
    std::fs::remove_file(fixture.path().join("disks").join(&disk.disk_cid)).unwrap();
    let ended = fixture
        .run(Work::Scan(Scan {
            deployment: "shop".into(),
        }))
        .await
        .done();
    assert_eq!(ended.result(), "scan complete");
    assert_eq!(
        ended.steps,
        [
            "Scanning 2 VMs: Checking VM states finished",
            "Scanning 2 VMs: 1 OK, 0 unresponsive, 1 missing, 0 unbound finished",
            "Scanning 2 persistent disks: Looking for inactive disks finished",
            "Scanning 2 persistent disks: 1 OK, 1 missing, 0 inactive, 0 mount-info mismatch finished",
        ]
    );
    let open = db::problems::open(fixture.db(), deployment(&fixture).await)
        .await
        .unwrap();
    let mut kinds: Vec<&str> = open.iter().map(|problem| problem.kind.as_str()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["missing_disk", "missing_vm"]);
    let resolutions: BTreeMap<_, _> = open
        .iter()
        .map(|problem| {
            let way = match problem.kind.as_str() {
                "missing_vm" => json!("recreate_vm"),
                _ => json!("delete_disk_reference"),
            };
            (problem.id.to_string(), way)
        })
        .collect();
    let work = Work::ApplyResolutions(ApplyResolutions {
        deployment: "shop".into(),
        resolutions,
        max_in_flight_overrides: BTreeMap::new(),
    });
    let ended = fixture.run(work).await.done();
    assert_eq!(ended.result(), "2 resolved");
    assert_eq!(fixture.vms().len(), 2);
    assert!(
        db::disks::by_instance(fixture.db(), instances[1].id)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        db::problems::open(fixture.db(), deployment(&fixture).await)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_vm_is_deleted_by_its_cid() {
    let fixture = deployed(1, "").await;
    let vm = db::vms::list(fixture.db()).await.unwrap().remove(0);
    let cid = vm.cid.unwrap();
    let ended = fixture
        .run(Work::DeleteVm(DeleteVm { cid: cid.clone() }))
        .await
        .done();
    assert_eq!(ended.result(), format!("vm {cid} deleted"));
    assert!(fixture.vms().is_empty());
    fixture.nothing_leaks().await;
    fixture.run(Work::DeleteVm(DeleteVm { cid })).await.done();
    fixture.run(fixture.deploy(&manifest(1, ""))).await.done();
    assert_eq!(fixture.vms().len(), 1);
}

#[tokio::test]
async fn an_orphan_takes_the_place_of_a_disk() {
    let fixture = deployed(2, DISK).await;
    fixture.run(fixture.deploy(&manifest(1, DISK))).await.done();
    let orphan = db::disks::orphans(fixture.db()).await.unwrap().remove(0);
    let instance = &fixture.instances().await[0];
    let attach = || {
        Work::AttachDisk(AttachDisk {
            deployment: "shop".into(),
            group: "web".into(),
            instance: instance.uuid().into(),
            disk_cid: orphan.disk_cid.clone(),
            disk_properties: String::new(),
        })
    };
    let error = fixture.run(attach()).await.failed();
    assert!(
        error.ends_with("must be in 'bosh stopped' state"),
        "{error}"
    );
    let stopped = GroupState {
        state: Some("stopped".into()),
        ..GroupState::default()
    };
    let options = Options {
        job_states: BTreeMap::from([("web".into(), stopped)]),
        ..Options::default()
    };
    fixture
        .run(fixture.change_state(options).await)
        .await
        .done();
    fixture.run(attach()).await.done();
    let disks = db::disks::by_instance(fixture.db(), instance.id)
        .await
        .unwrap();
    assert_eq!(disks.len(), 1);
    assert_eq!(disks[0].disk_cid, orphan.disk_cid);
    let world = fixture.world.lock().unwrap();
    assert_eq!(
        world.agent(&fixture.vms()[0]).mounted,
        std::slice::from_ref(&orphan.disk_cid)
    );
}
