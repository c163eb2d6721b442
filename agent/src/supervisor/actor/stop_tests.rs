//! Stops and restarts, with real processes: what is left behind, and the program for restarts.

use super::tests::{Bench, eventually, kill, pid_in};
use crate::supervisor::process::{Cgroups, is_alive};
use crate::supervisor::{Action, Monitoring};

/// A job whose start program leaves a second process behind that does its best to get lost: a session of its own, another
/// parent, an empty environment, deaf to SIGTERM.
fn messy(bench: &Bench) {
    let (main, stray) = (bench.path("a.pid"), bench.path("stray.pid"));
    let lost = bench.script("lost", "trap '' TERM\necho $$ > $1\nexec sleep 1000");
    let ctl = bench.script(
        "ctl",
        &format!(
            "case $1 in\n\
             start) (env -i setsid {lost} {stray} &)\n while [ ! -s {stray} ]; do sleep 0.01; done\n\
             setsid sleep 1000 & echo $! > {main};;\n\
             stop) kill $(cat {main});;\nesac",
            lost = lost.display(),
            stray = stray.display(),
            main = main.display(),
        ),
    );
    bench.monitrc(
        "a",
        &format!(
            "check process a with pidfile {main}\n start program \"{ctl} start\"\n stop program \"{ctl} stop\"\n group vcap\n",
            main = main.display(),
            ctl = ctl.display()
        ),
    );
}

#[tokio::test]
async fn a_stopped_service_leaves_nothing_behind() {
    let name = format!("bosh-test-{}", uuid::Uuid::new_v4().simple());
    let hierarchies = Cgroups::everywhere(&name);
    if hierarchies.is_empty() {
        // Then there is nothing to test: the supervisor cannot do it, either.
        assert!(!Cgroups::find(std::path::Path::new("/nowhere")).exist());
        return;
    }
    for cgroups in hierarchies {
        let mut bench = Bench::new();
        bench.cgroups = Some(cgroups.clone());
        messy(&bench);
        bench.up().await;
        bench.running_pid("a").await;
        let stray = pid_in(&bench.path("stray.pid")).unwrap();
        assert!(is_alive(stray));
        assert!(cgroups.members("a").contains(&stray), "{cgroups:?}");
        let vitals = bench.service("a").await.vitals.unwrap();
        assert_eq!(vitals.children, 1, "the lost one counts, too");
        assert!(vitals.total_memory_kb > vitals.memory_kb);

        bench.handle().stop_and_wait().await.unwrap();
        assert!(!is_alive(stray), "{cgroups:?}");
        assert_eq!(cgroups.members("a"), Vec::<i32>::new());
        eventually("its cgroup is gone, too", async || {
            cgroups.tidy().then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn another_supervisor_knows_what_belongs_to_a_service() {
    let mut bench = Bench::new();
    messy(&bench);
    bench.up().await;
    let main = bench.running_pid("a").await;
    let stray = pid_in(&bench.path("stray.pid")).unwrap();
    bench.crash().await;
    bench.up().await;
    assert_eq!(bench.running_pid("a").await, main);
    bench.handle().stop_and_wait().await.unwrap();
    if Cgroups::find(&bench.options().state_file).exist() {
        assert!(!is_alive(stray));
    } else {
        // Without cgroups and without an environment nobody can know.
        kill(stray);
    }
}

#[tokio::test]
async fn what_belongs_to_another_service_is_spared() {
    let mut bench = Bench::new();
    // The start program of the one brings up the other, too.
    let (a, b) = (bench.path("a.pid"), bench.path("b.pid"));
    let ctl = bench.script(
        "ctl",
        &format!(
            "setsid sleep 1000 & echo $! > {b}\nsetsid sleep 1000 & echo $! > {a}",
            a = a.display(),
            b = b.display()
        ),
    );
    let kill_a = bench.script("kill_a", &format!("kill $(cat {})", a.display()));
    bench.monitrc(
        "ab",
        &format!(
            "check process a with pidfile {a} start program \"{ctl}\" stop program \"{kill}\" group vcap\n\
             check process b with pidfile {b} mode passive start program \"/bin/false\"\n",
            a = a.display(),
            b = b.display(),
            ctl = ctl.display(),
            kill = kill_a.display()
        ),
    );
    bench.up().await;
    bench.running_pid("a").await;
    let other = bench.running_pid("b").await;
    bench.handle().act("a", Action::Stop).await.unwrap();
    eventually("a is down", async || {
        bench.service("a").await.is_down().then_some(())
    })
    .await;
    assert!(is_alive(other));
}

#[tokio::test]
async fn a_restart_program_restarts() {
    let mut bench = Bench::new();
    let pidfile = bench.path("a.pid");
    let log = bench.path("log");
    let ctl = bench.script(
        "ctl",
        &format!(
            "echo $1 a >> {log}\n\
             [ $1 = start ] || kill $(cat {pid})\n\
             [ $1 = stop ] && exit\n\
             sleep 0.05\nsetsid sleep 1000 & echo $! > {pid}",
            log = log.display(),
            pid = pidfile.display()
        ),
    );
    bench.monitrc(
        "a",
        &format!(
            "check process a with pidfile {pid}\n start program \"{ctl} start\"\n stop program \"{ctl} stop\"\n\
             restart program \"{ctl} again\"\n group vcap\n",
            pid = pidfile.display(),
            ctl = ctl.display()
        ),
    );
    bench.up().await;
    let first = bench.running_pid("a").await;
    bench.handle().act("a", Action::Restart).await.unwrap();
    let second = eventually("another process runs", async || {
        let service = bench.service("a").await;
        service
            .pid
            .filter(|pid| *pid != first && service.state == "running")
    })
    .await;
    assert!(!is_alive(first) && is_alive(second));
    assert_eq!(bench.log(), ["start a", "again a"]);
    assert_eq!(bench.service("a").await.monitoring, Monitoring::Yes);
}

#[tokio::test]
async fn a_process_that_dies_before_it_is_seen_is_not_waited_for() {
    let mut bench = Bench::new();
    let (pidfile, log) = (bench.path("a.pid"), bench.path("log"));
    // The first two are dead when their pidfile is written.
    let ctl = bench.script(
        "ctl",
        &format!(
            "sleep 0.02\necho start a >> {log}\n\
             if [ $(wc -l < {log}) -lt 3 ]; then setsid true & else setsid sleep 1000 & fi\n\
             pid=$!\nsleep 0.02\necho $pid > {pid}",
            log = log.display(),
            pid = pidfile.display()
        ),
    );
    bench.monitrc(
        "a",
        &format!(
            "check process a with pidfile {pid}\n start program \"{ctl}\" with timeout 600 seconds\n group vcap\n",
            pid = pidfile.display(),
            ctl = ctl.display()
        ),
    );
    bench.up().await;
    bench.alert("Execution failed").await;
    bench.running_pid("a").await;
    assert_eq!(bench.starts("a"), 3);
}
