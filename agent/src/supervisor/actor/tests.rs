//! The supervisor with real processes.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bosh_protocol::JobState;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::supervisor::process::{Cgroups, is_alive};
use crate::supervisor::{
    Action, Error, Handle, MonitAlert, Monitoring, Options, Service, Snapshot,
};

const DEADLINE: Duration = Duration::from_secs(20);

/// A supervisor in a directory of its own. Whatever its services started is killed in the end.
pub(super) struct Bench {
    dir: tempfile::TempDir,
    /// Instead of those the supervisor finds.
    pub(super) cgroups: Option<Cgroups>,
    running: Option<Running>,
}

pub(super) struct Running {
    pub(super) handle: Handle,
    alerts: mpsc::Receiver<MonitAlert>,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

impl Bench {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("monit/job")).unwrap();
        std::fs::create_dir_all(dir.path().join("instance")).unwrap();
        Self {
            dir,
            cgroups: None,
            running: None,
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn options(&self) -> Options {
        Options {
            cycle: Duration::from_millis(200),
            kill_after: Duration::from_secs(3),
            ..Options::new(self.dir.path())
        }
    }

    pub(super) async fn up(&mut self) {
        let (mut service, handle, alerts) = Service::new(self.options()).unwrap();
        if let Some(cgroups) = &self.cgroups {
            service.cgroups.tidy();
            service.cgroups = cgroups.clone();
        }
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(service.run(shutdown.clone()));
        self.running = Some(Running {
            handle,
            alerts,
            shutdown,
            task,
        });
    }

    /// As if the agent were killed: nothing is done any more, not even in order.
    pub(super) async fn crash(&mut self) {
        let running = self.running.take().unwrap();
        running.task.abort();
        drop(running.task.await);
    }

    pub(super) fn handle(&self) -> Handle {
        self.running.as_ref().unwrap().handle.clone()
    }

    pub(super) fn script(&self, name: &str, body: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, format!("#!/bin/bash\n{body}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// A job whose control script starts a daemon in the background, counts its starts and stops with TERM.
    pub(super) fn daemon(&self, name: &str, more: &str) {
        let (pidfile, log) = (self.path(&format!("{name}.pid")), self.path("log"));
        let ctl = self.script(
            &format!("{name}_ctl"),
            &format!(
                "case $1 in\n\
                 start) echo start {name} >> {log}; setsid sleep 1000 & echo $! > {pid};;\n\
                 stop) echo stop {name} >> {log}; kill $(cat {pid}); while kill -0 $(cat {pid}) 2>/dev/null; do sleep 0.02; done; rm -f {pid};;\n\
                 esac",
                log = log.display(),
                pid = pidfile.display()
            ),
        );
        self.monitrc(
            name,
            &format!(
                "check process {name} with pidfile {pid}\n  start program \"{ctl} start\"\n  stop program \"{ctl} stop\"\n  group vcap\n{more}\n",
                pid = pidfile.display(),
                ctl = ctl.display()
            ),
        );
    }

    pub(super) fn monitrc(&self, name: &str, text: &str) {
        std::fs::write(self.path(&format!("monit/job/{name}.monitrc")), text).unwrap();
    }

    pub(super) fn log(&self) -> Vec<String> {
        std::fs::read_to_string(self.path("log"))
            .unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    pub(super) fn starts(&self, name: &str) -> usize {
        self.log()
            .iter()
            .filter(|line| **line == format!("start {name}"))
            .count()
    }

    pub(super) async fn service(&self, name: &str) -> Snapshot {
        let services = self.handle().services().await.unwrap();
        services
            .into_iter()
            .find(|service| service.name == name)
            .unwrap()
    }

    pub(super) async fn running_pid(&self, name: &str) -> i32 {
        eventually("the process runs", async || {
            let service = self.service(name).await;
            service.pid.filter(|_| service.state == "running")
        })
        .await
    }

    pub(super) async fn alert(&mut self, event: &str) -> MonitAlert {
        let alerts = &mut self.running.as_mut().unwrap().alerts;
        tokio::time::timeout(DEADLINE, async {
            loop {
                let alert = alerts.recv().await.unwrap();
                if alert.event == event {
                    return alert;
                }
            }
        })
        .await
        .unwrap_or_else(|_| panic!("no alert '{event}'"))
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.shutdown.cancel();
            running.task.abort();
        }
        for entry in std::fs::read_dir(self.dir.path()).unwrap().flatten() {
            if entry
                .path()
                .extension()
                .is_some_and(|extension| extension == "pid")
                && let Some(pid) = pid_in(&entry.path())
            {
                crate::supervisor::process::Table::kill_family(pid);
            }
        }
        // The dead leave their cgroups in a moment, whoever buries them.
        let state_file = self.options().state_file;
        let all = [Some(Cgroups::find(&state_file)), self.cgroups.take()];
        for cgroups in all.into_iter().flatten() {
            let end = Instant::now() + Duration::from_secs(2);
            while !cgroups.tidy() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

pub(super) fn pid_in(path: &Path) -> Option<i32> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

pub(super) fn kill(pid: i32) {
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
}

pub(super) async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(value) = probe().await {
            return value;
        }
        assert!(begin.elapsed() < DEADLINE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_new_service_is_started_and_reported() {
    let mut bench = Bench::new();
    bench.daemon("web", "");
    bench.up().await;
    let pid = bench.running_pid("web").await;
    assert_eq!(pid_in(&bench.path("web.pid")), Some(pid));
    assert_eq!(bench.handle().status().await, JobState::Running);
    let processes = bench.handle().processes().await.unwrap();
    assert_eq!(processes.len(), 1);
    assert_eq!(
        (processes[0].name.as_str(), processes[0].state.as_str()),
        ("web", "running")
    );
    assert!(processes[0].mem.kb > 0);
    assert_eq!(
        std::fs::read_to_string(bench.path("instance/health.json")).unwrap(),
        "{\"state\":\"running\"}"
    );
}

#[tokio::test]
async fn a_killed_daemon_is_restarted_at_once_and_alerted() {
    let mut bench = Bench::new();
    bench.daemon("web", "");
    bench.up().await;
    let first = bench.running_pid("web").await;
    kill(first);
    let killed = Instant::now();
    let second = eventually("another process runs", async || {
        bench.service("web").await.pid.filter(|pid| *pid != first)
    })
    .await;
    // Far below monit's ten seconds; the benchmark measures it properly.
    assert!(
        killed.elapsed() < Duration::from_secs(5),
        "{:?}",
        killed.elapsed()
    );
    assert!(is_alive(second));
    let alert = bench.alert("Does not exist").await;
    assert_eq!(
        (alert.service.as_str(), alert.action.as_str()),
        ("web", "restart")
    );
    assert_eq!(alert.description, "process is not running");
    assert!(
        time::OffsetDateTime::parse(&alert.date, &time::format_description::well_known::Rfc2822)
            .is_ok(),
        "{}",
        alert.date
    );
    let alert = bench.alert("Exists").await;
    assert_eq!(
        alert.description,
        format!("process is running with pid {second}")
    );
    assert_eq!(bench.starts("web"), 2);
}

#[tokio::test]
async fn stop_and_wait_stops_in_order_and_start_starts_in_order() {
    let mut bench = Bench::new();
    bench.daemon("worker", "  depends on db");
    bench.daemon("db", "");
    bench.up().await;
    bench.running_pid("worker").await;
    assert_eq!(bench.log(), ["start db", "start worker"]);
    let pids = [
        bench.running_pid("db").await,
        bench.running_pid("worker").await,
    ];

    bench.handle().stop_and_wait().await.unwrap();
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
    assert_eq!(bench.log()[2..], ["stop worker", "stop db"]);
    assert_eq!(bench.handle().status().await, JobState::Stopped);

    bench.handle().start().await.unwrap();
    bench.running_pid("worker").await;
    bench.running_pid("db").await;
    assert_eq!(bench.log()[4..], ["start db", "start worker"]);
    assert_eq!(bench.handle().status().await, JobState::Running);
}

#[tokio::test]
async fn a_stopped_service_stays_stopped_over_cycles_reloads_and_restarts() {
    let mut bench = Bench::new();
    bench.daemon("web", "");
    bench.up().await;
    bench.running_pid("web").await;
    bench.handle().stop_and_wait().await.unwrap();
    bench.handle().reload().await.unwrap();
    bench.handle().validate().await.unwrap();
    bench.crash().await;
    bench.up().await;
    bench.handle().validate().await.unwrap();
    let service = bench.service("web").await;
    assert_eq!(
        (service.monitoring, service.pid, service.pending),
        (Monitoring::No, None, None)
    );
    assert_eq!(bench.starts("web"), 1);
}

#[tokio::test]
async fn another_supervisor_adopts_what_runs() {
    let mut bench = Bench::new();
    bench.daemon("web", "");
    bench.up().await;
    let pid = bench.running_pid("web").await;
    bench.crash().await;
    assert!(is_alive(pid));
    bench.up().await;
    assert_eq!(bench.running_pid("web").await, pid);
    assert_eq!(bench.starts("web"), 1);
    // It is watched as if it were our own.
    kill(pid);
    eventually("another process runs", async || {
        bench.service("web").await.pid.filter(|new| *new != pid)
    })
    .await;
}

#[tokio::test]
async fn a_process_that_died_while_nobody_looked_is_started_again() {
    let mut bench = Bench::new();
    bench.daemon("web", "");
    bench.up().await;
    let pid = bench.running_pid("web").await;
    bench.crash().await;
    kill(pid);
    eventually("it is gone", async || (!is_alive(pid)).then_some(())).await;
    bench.up().await;
    assert_ne!(bench.running_pid("web").await, pid);
}

#[tokio::test]
async fn unmonitored_processes_live_on_and_are_not_restarted() {
    let mut bench = Bench::new();
    bench.daemon("web", "");
    bench.up().await;
    let pid = bench.running_pid("web").await;
    bench.handle().unmonitor().await.unwrap();
    assert!(is_alive(pid));
    assert_eq!(bench.service("web").await.state, "unknown");
    assert_eq!(bench.handle().status().await, JobState::Failing);
    kill(pid);
    eventually("its death is known", async || {
        bench.service("web").await.pid.is_none().then_some(())
    })
    .await;
    bench.handle().validate().await.unwrap();
    assert_eq!(bench.starts("web"), 1);
    bench.handle().start().await.unwrap();
    bench.running_pid("web").await;
}

#[tokio::test]
async fn a_hung_start_program_is_killed_with_its_group_and_tried_again() {
    let mut bench = Bench::new();
    let (pids, child) = (bench.path("hung"), bench.path("child"));
    let ctl = bench.script(
        "ctl",
        &format!(
            "echo $$ >> {}\nsleep 1000 & echo $! >> {}\nwait",
            pids.display(),
            child.display()
        ),
    );
    bench.monitrc(
        "web",
        &format!(
            "check process web with pidfile {}/web.pid\n start program \"{ctl}\" with timeout 1 seconds\n stop program \"{ctl}\"\n group vcap\n",
            bench.dir.path().display(),
            ctl = ctl.display()
        ),
    );
    bench.up().await;
    assert_eq!(
        bench.alert("Execution failed").await.description,
        "failed to start"
    );
    let first = |path: &Path| {
        std::fs::read_to_string(path)
            .unwrap()
            .lines()
            .next()
            .unwrap()
            .parse::<i32>()
            .unwrap()
    };
    let (program, child_pid) = (first(&pids), first(&child));
    eventually("both are dead", async || {
        (!is_alive(program) && !is_alive(child_pid)).then_some(())
    })
    .await;
    assert_eq!(bench.handle().status().await, JobState::Failing);
    eventually("it is tried again", async || {
        (std::fs::read_to_string(&pids).unwrap().lines().count() > 1).then_some(())
    })
    .await;
    bench.handle().act("web", Action::Stop).await.unwrap();
    eventually("it is down", async || {
        bench.service("web").await.is_down().then_some(())
    })
    .await;
    for pid in std::fs::read_to_string(&child).unwrap().lines() {
        let pid: i32 = pid.parse().unwrap();
        eventually("nothing is left", async || (!is_alive(pid)).then_some(())).await;
    }
}

#[tokio::test]
async fn a_hung_stop_program_is_killed_and_the_process_after_it() {
    let mut bench = Bench::new();
    let (pidfile, hung) = (bench.path("web.pid"), bench.path("hung"));
    let start = bench.script(
        "start",
        &format!(
            "setsid bash -c 'trap \"\" TERM; while true; do sleep 0.1; done' & echo $! > {}",
            pidfile.display()
        ),
    );
    let stop = bench.script("stop", &format!("echo $$ > {}; sleep 1000", hung.display()));
    bench.monitrc(
        "web",
        &format!(
            "check process web with pidfile {}\n start program \"{}\"\n stop program \"{}\" with timeout 1 seconds\n group vcap\n",
            pidfile.display(),
            start.display(),
            stop.display()
        ),
    );
    bench.up().await;
    let pid = bench.running_pid("web").await;
    bench.handle().stop_and_wait().await.unwrap();
    assert!(!is_alive(pid));
    assert!(!is_alive(pid_in(&hung).unwrap()));
    assert_eq!(
        bench.alert("Execution failed").await.description,
        "failed to stop"
    );
}

#[tokio::test]
async fn a_program_that_does_not_exist_is_an_execution_failure() {
    let mut bench = Bench::new();
    bench.monitrc("web", "check process web with pidfile /nonexistent/web.pid\n start program \"/nonexistent/ctl start\"\n group vcap\n");
    bench.up().await;
    let alert = bench.alert("Execution failed").await;
    assert!(
        alert
            .description
            .starts_with("failed to start: cannot execute /nonexistent/ctl"),
        "{}",
        alert.description
    );
    assert_eq!(bench.handle().status().await, JobState::Failing);
}

#[tokio::test]
async fn reload_keeps_what_is_unchanged_and_takes_what_is_new() {
    let mut bench = Bench::new();
    bench.daemon("web", "");
    bench.up().await;
    let pid = bench.running_pid("web").await;
    bench.daemon("extra", "");
    bench.handle().reload().await.unwrap();
    bench.running_pid("extra").await;
    assert_eq!(bench.running_pid("web").await, pid);
    std::fs::remove_file(bench.path("monit/job/extra.monitrc")).unwrap();
    bench.handle().reload().await.unwrap();
    let names: Vec<String> = bench
        .handle()
        .services()
        .await
        .unwrap()
        .into_iter()
        .map(|service| service.name)
        .collect();
    // The system is always there, as in monit.
    assert_eq!(names[0], "web");
    assert!(
        names.len() == 2 && names[1].starts_with("system_"),
        "{names:?}"
    );
}

#[tokio::test]
async fn a_control_file_that_is_not_valid_changes_nothing_and_is_alerted() {
    let mut bench = Bench::new();
    bench.daemon("web", "");
    bench.up().await;
    let pid = bench.running_pid("web").await;
    bench.monitrc(
        "zzz",
        "check process other with pidfile /x\n  if sunshine then alert\n",
    );
    let error = bench.handle().reload().await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(
        source.ends_with("zzz.monitrc:2: expected a test after 'if', found 'sunshine'"),
        "{source}"
    );
    assert!(
        bench
            .alert("Data access error")
            .await
            .description
            .contains("zzz.monitrc:2")
    );
    assert_eq!(bench.running_pid("web").await, pid);
}

#[tokio::test]
async fn jobs_are_added_and_removed() {
    let mut bench = Bench::new();
    bench.up().await;
    let monit = bench.path("monit_file");
    std::fs::write(
        &monit,
        "check process a with pidfile /nonexistent/a.pid group vcap\n",
    )
    .unwrap();
    bench.handle().add_job("web", 7, &monit).await.unwrap();
    assert!(bench.path("monit/job/0007_web.monitrc").exists());
    bench.handle().reload().await.unwrap();
    assert_eq!(bench.service("a").await.name, "a");
    bench.handle().remove_all_jobs().await.unwrap();
    bench.handle().remove_all_jobs().await.unwrap();
    bench.handle().reload().await.unwrap();
    assert!(bench.handle().processes().await.unwrap().is_empty());
    assert_eq!(bench.handle().status().await, JobState::Running);
}

#[tokio::test]
async fn programs_get_monits_environment_and_a_session_of_their_own() {
    let mut bench = Bench::new();
    let (out, pidfile) = (bench.path("env"), bench.path("web.pid"));
    let ctl = bench.script(
        "ctl",
        &format!("env > {out}.new; echo \"SESSION=$(ps -o sid= -p $$ | tr -d ' ') PID=$$ CWD=$PWD ARGS=$*\" >> {out}.new; setsid sleep 1000 & echo $! > {pid}; mv {out}.new {out}",
            out = out.display(), pid = pidfile.display()),
    );
    bench.monitrc(
        "web",
        &format!("check process web with pidfile {}\n start program \"{} one 'two three'\" as uid root and gid root\n group vcap\n", pidfile.display(), ctl.display()),
    );
    bench.up().await;
    bench.running_pid("web").await;
    let text = eventually("it wrote its environment", async || {
        std::fs::read_to_string(&out).ok()
    })
    .await;
    for line in [
        "PATH=/bin:/usr/bin:/sbin:/usr/sbin",
        "MONIT_SERVICE=web",
        "MONIT_EVENT=Started",
        "MONIT_PROCESS_PID=0",
    ] {
        assert!(
            text.lines().any(|own| own == line),
            "{line} is not in {text}"
        );
    }
    assert!(!text.contains("CARGO"), "{text}");
    let last = text.lines().last().unwrap();
    assert!(last.ends_with("CWD=/ ARGS=one two three"), "{last}");
    let words: Vec<&str> = last.split_whitespace().collect();
    let (session, pid) = (
        words[0].trim_start_matches("SESSION="),
        words[1].trim_start_matches("PID="),
    );
    assert_eq!(session, pid, "{last}");
}

#[tokio::test]
async fn changes_are_told_at_once() {
    let mut bench = Bench::new();
    bench.daemon("web", "");
    bench.up().await;
    let pid = bench.running_pid("web").await;
    let mut changes = bench.handle().changes();
    changes.mark_unchanged();
    kill(pid);
    tokio::time::timeout(Duration::from_secs(2), changes.changed())
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_start_that_is_under_way_when_the_agent_is_killed_is_waited_for() {
    let mut bench = Bench::new();
    let (pidfile, log, go) = (bench.path("web.pid"), bench.path("log"), bench.path("go"));
    let ctl = bench.script(
        "ctl",
        &format!(
            "echo start web >> {}\nwhile [ ! -e {} ]; do sleep 0.02; done\nsetsid sleep 1000 & echo $! > {}",
            log.display(),
            go.display(),
            pidfile.display()
        ),
    );
    bench.monitrc(
        "web",
        &format!(
            "check process web with pidfile {}\n start program \"{ctl} start\"\n stop program \"{ctl} stop\"\n group vcap\n",
            pidfile.display(),
            ctl = ctl.display()
        ),
    );
    bench.up().await;
    eventually("the start program runs", async || {
        (bench.starts("web") == 1).then_some(())
    })
    .await;
    bench.crash().await;
    bench.up().await;
    assert_eq!(bench.service("web").await.state, "starting");
    bench.handle().validate().await.unwrap();
    assert_eq!(bench.starts("web"), 1);
    std::fs::write(&go, "").unwrap();
    bench.running_pid("web").await;
    assert_eq!(bench.starts("web"), 1);
}

#[tokio::test]
async fn a_daemon_that_left_its_session_and_wrote_no_pidfile_is_killed_at_the_timeout() {
    let mut bench = Bench::new();
    let lost = bench.path("lost");
    let ctl = bench.script(
        "ctl",
        &format!("setsid sleep 1000 & echo $! >> {}", lost.display()),
    );
    bench.monitrc(
        "web",
        &format!(
            "check process web with pidfile {}/web.pid\n start program \"{ctl}\" with timeout 1 seconds\n stop program \"{ctl}\"\n group vcap\n",
            bench.dir.path().display(),
            ctl = ctl.display()
        ),
    );
    bench.up().await;
    assert_eq!(
        bench.alert("Execution failed").await.description,
        "failed to start"
    );
    let pid: i32 = std::fs::read_to_string(&lost)
        .unwrap()
        .lines()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    eventually("it is dead", async || (!is_alive(pid)).then_some(())).await;
    bench.handle().stop_and_wait().await.unwrap();
    for pid in std::fs::read_to_string(&lost).unwrap().lines() {
        let pid: i32 = pid.parse().unwrap();
        eventually("nothing is left", async || (!is_alive(pid)).then_some(())).await;
    }
}

#[tokio::test]
async fn another_pidfile_is_another_process() {
    let mut bench = Bench::new();
    bench.daemon("web", "");
    bench.up().await;
    let first = bench.running_pid("web").await;
    let text = std::fs::read_to_string(bench.path("monit/job/web.monitrc")).unwrap();
    // Only where it is looked for changes: nothing is there, so that it is started.
    bench.monitrc("web", &text.replace("web.pid", "other.pid"));
    bench.handle().reload().await.unwrap();
    eventually("it is started", async || {
        (bench.starts("web") == 2).then_some(())
    })
    .await;
    kill(first);
    let second = pid_in(&bench.path("web.pid")).unwrap();
    bench.handle().act("web", Action::Unmonitor).await.unwrap();
    kill(second);
}

#[tokio::test]
async fn connections_are_tested_and_lead_to_restarts() {
    use tokio::io::AsyncWriteExt;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let well = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let answer = well.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let status = if answer.load(std::sync::atomic::Ordering::SeqCst) {
                "200 OK"
            } else {
                "503 Busy"
            };
            let text = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok");
            stream.write_all(text.as_bytes()).await.unwrap();
        }
    });
    let mut bench = Bench::new();
    let test = format!(
        " if failed host 127.0.0.1 port {port} protocol http request \"/health\" for 2 cycles then restart"
    );
    bench.daemon("web", &test);
    bench.up().await;
    let pid = bench.running_pid("web").await;
    well.store(false, std::sync::atomic::Ordering::SeqCst);
    let alert = bench.alert("Connection failed").await;
    assert_eq!(alert.action, "restart");
    assert!(
        alert
            .description
            .ends_with("the server answers with status 503"),
        "{}",
        alert.description
    );
    well.store(true, std::sync::atomic::Ordering::SeqCst);
    eventually("it is restarted", async || {
        bench.service("web").await.pid.filter(|new| *new != pid)
    })
    .await;
    bench.alert("Connection succeeded").await;
    assert_eq!(bench.service("web").await.state, "running");
}
