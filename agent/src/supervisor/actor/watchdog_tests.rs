//! The notify socket, with real processes; the test speaks in their place.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use super::tests::{Bench, eventually};

/// A job that notes where it is to speak to.
fn job(bench: &Bench, watchdog: &str) {
    let (pidfile, told) = (bench.path("a.pid"), bench.path("told"));
    let ctl = bench.script(
        "ctl",
        &format!(
            "case $1 in\n\
             start) setsid sleep 1000 & echo $! > {pid}; echo \"$NOTIFY_SOCKET $WATCHDOG_USEC\" > {told};;\n\
             stop) kill $(cat {pid});;\nesac",
            pid = pidfile.display(),
            told = told.display(),
        ),
    );
    bench.monitrc(
        "a",
        &format!(
            "check process a with pidfile {pid}\n start program \"{ctl} start\"\n stop program \"{ctl} stop\"\n group vcap\n{watchdog}\n",
            pid = pidfile.display(),
            ctl = ctl.display()
        ),
    );
}

async fn told(bench: &Bench) -> (PathBuf, String) {
    eventually("the job was told where to speak to", async || {
        let text = std::fs::read_to_string(bench.path("told")).ok()?;
        let (socket, interval) = text.trim_end().split_once(' ')?;
        Some((PathBuf::from(socket), interval.to_owned()))
    })
    .await
}

fn say(socket: &PathBuf, text: &str) {
    let from = UnixDatagram::unbound().unwrap();
    from.send_to(text.as_bytes(), socket).unwrap();
}

#[tokio::test]
async fn a_process_that_stops_petting_its_watchdog_is_restarted() {
    let mut bench = Bench::new();
    job(&bench, "watchdog 1 second");
    bench.up().await;
    let (socket, interval) = told(&bench).await;
    assert_eq!(interval, "1000000");
    eventually("the process is seen", async || bench.service("a").await.pid).await;
    assert_eq!(bench.service("a").await.state, "starting");
    say(&socket, "READY=1\nSTATUS=here I am");
    let first = bench.running_pid("a").await;
    for _ in 0..4 {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        say(&socket, "WATCHDOG=1");
    }
    assert_eq!(bench.running_pid("a").await, first, "it was petted");
    // Now it is not.
    let alert = bench.alert("Heartbeat failed").await;
    assert_eq!(alert.action, "restart");
    let second = eventually("another process runs", async || {
        let service = bench.service("a").await;
        service.pid.filter(|pid| *pid != first)
    })
    .await;
    say(&socket, "READY=1");
    assert_eq!(bench.running_pid("a").await, second);
    bench.alert("Heartbeat succeeded").await;
}

#[tokio::test]
async fn another_supervisor_listens_again() {
    let mut bench = Bench::new();
    job(&bench, "watchdog 60 seconds");
    bench.up().await;
    let (socket, _) = told(&bench).await;
    say(&socket, "READY=1");
    let first = bench.running_pid("a").await;
    bench.crash().await;
    // Nobody listens; whoever speaks is told so and goes on.
    let from = UnixDatagram::unbound().unwrap();
    assert!(from.send_to(b"WATCHDOG=1", &socket).is_err());
    bench.up().await;
    assert_eq!(bench.running_pid("a").await, first);
    say(&socket, "WATCHDOG=trigger");
    bench.alert("Heartbeat failed").await;
}

#[tokio::test]
async fn who_did_not_ask_for_a_watchdog_hears_nothing_of_it() {
    let mut bench = Bench::new();
    job(&bench, "");
    bench.up().await;
    bench.running_pid("a").await;
    let text = std::fs::read_to_string(bench.path("told")).unwrap();
    assert_eq!(text.trim(), "");
}
