//! A process killed at every step of a deploy, one step after the other.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bosh_director::db;
use bosh_director::tasks::jobs::update_deployment::Options;

use crate::process::{self, Worker};
use crate::release::manifest;
use crate::{Fixture, database};

/// How long a task of a dead process may go on.
const BURIED: Duration = Duration::from_secs(60);
/// Steps between two kills: each costs some three seconds.
const STRIDE: usize = 8;

/// Steps are calls of the CPI and of agents.
fn steps(fixture: &Fixture) -> usize {
    let calls = std::fs::read_to_string(fixture.path().join("calls")).unwrap_or_default();
    calls.lines().count() + fixture.world.lock().unwrap().calls.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_step_of_a_deploy_it_loses_and_leaves_nothing() {
    let _database = database::Guard;
    let fixture = Fixture::without_workers().await;
    let _admitted = process::admit(&fixture);
    let mut worker = Worker::start(fixture.path(), "worker", None);
    let disk = "  persistent_disk_type: small\n";
    // The first deploy compiles and makes everything; each later one makes all VMs anew, and with every other one a disk
    // comes or goes.
    for round in 1.. {
        let text = if round % 2 == 0 {
            manifest(2, "")
        } else {
            manifest(2, disk)
        };
        let options = Options {
            deploy: true,
            recreate: round > 1,
            ..Options::default()
        };
        let before = steps(&fixture);
        let task = fixture.begin(fixture.deploy_with(&text, options)).await;
        let at = before + round * STRIDE;
        let deadline = Instant::now() + BURIED;
        let killed = loop {
            let state = fixture.director.tasks.find(task.id).await.unwrap().state;
            if !matches!(state.as_str(), "queued" | "processing") {
                break false;
            }
            if steps(&fixture) >= at {
                break true;
            }
            assert!(Instant::now() < deadline, "{}", worker.said());
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        if !killed {
            assert!(round > 3, "the deploy has too few steps: {}", worker.said());
            break;
        }
        let pid = worker.pid();
        worker.kill();
        worker = Worker::start(fixture.path(), "worker", None);
        let ended = fixture.ended(task).await;
        // It may have been done but for the kill.
        if ended.task.state != "done" {
            let why = ended.failed();
            assert!(why.contains(&format!("process {pid})")), "{why}");
        }
        let locks = db::locks::list(fixture.db()).await.unwrap();
        assert!(locks.is_empty(), "{locks:?}");

        fixture.run(fixture.deploy(&text)).await.done();
        is_tidy(&fixture, 2).await;
    }
    assert!(worker.stop(), "{}", worker.said());
}

/// What the cloud has is what the database says, and what the manifest asks for.
async fn is_tidy(fixture: &Fixture, instances: usize) {
    let db = fixture.db();
    let rows = fixture.instances().await;
    let wanted: Vec<_> = rows
        .iter()
        .filter(|row| row.compilation != Some(true))
        .collect();
    assert_eq!(wanted.len(), instances);
    let vms = db::vms::list(db).await.unwrap();
    let orphans = db::vms::orphans(db).await.unwrap();
    assert_eq!(vms.len() + orphans.len(), instances, "{orphans:?}");
    // What a dead process had made is deleted within seconds.
    let deadline = Instant::now() + Duration::from_secs(20);
    let known: BTreeSet<String> = vms
        .iter()
        .map(|vm| vm.agent_id.clone().unwrap())
        .chain(
            orphans
                .iter()
                .map(|vm| vm.cid.trim_start_matches("vm-").to_owned()),
        )
        .collect();
    loop {
        let up: BTreeSet<String> = fixture.vms().into_iter().collect();
        let disks = db::disks::orphans(db).await.unwrap().len() + disks_of(fixture, &rows).await;
        let calls = std::fs::read_dir(fixture.path().join("cpi-calls"))
            .map_or(0, |entries| entries.count());
        if up == known && fixture.disks() == disks && calls == 0 {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "VMs {up:?}, known {known:?}; disks {}, known {disks}; {calls} files of calls",
            fixture.disks()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let addresses = db::ip_addresses::list(db).await.unwrap();
    assert_eq!(addresses.len(), instances + orphans.len(), "{addresses:?}");
}

async fn disks_of(fixture: &Fixture, rows: &[db::instances::Instance]) -> usize {
    let mut count = 0;
    for row in rows {
        let disks = db::disks::by_instance(fixture.db(), row.id).await.unwrap();
        count += disks.len();
    }
    count
}
