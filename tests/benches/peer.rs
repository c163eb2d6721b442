//! `monit -I`, ours and the distribution's, with the same ten processes in the same run.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bosh_tests::paths;
use bosh_tests::process::{Guard, rss, thread_times};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::table::{Better, Row, Table};

const SERVICES: usize = 10;
/// As stemcells set it.
const CYCLE: u64 = 10;
/// Three cycles.
const IDLE: Duration = Duration::from_secs(30);
const DEADLINE: Duration = Duration::from_secs(120);

/// What was measured of one of them.
struct Figures {
    rss: f64,
    cpu: f64,
    restart: f64,
}

pub(crate) fn measure(table: &mut Table, dir: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir)?;
    let monit = match monit(dir) {
        Ok(monit) => monit,
        Err(error) => {
            println!("    no rows beside monit, which is not to be had here: {error:#}");
            return Ok(());
        }
    };
    // Side by side, so that both see the same machine.
    let (ours, theirs) = std::thread::scope(|scope| {
        let ours =
            scope.spawn(|| run(&[paths::static_agent()?, "monit".into()], &dir.join("ours")));
        let theirs = run(&[monit], &dir.join("theirs"));
        (ours.join(), theirs)
    });
    let ours = ours.map_err(|_| anyhow::anyhow!("the measurement broke down"))??;
    let theirs = theirs?;
    println!(
        "    ours / monit: RSS {:.1} / {:.1} MB, CPU {:.4} / {:.4} s a minute, restart {:.3} / {:.1} s",
        ours.rss, theirs.rss, ours.cpu, theirs.cpu, ours.restart, theirs.restart
    );
    let rows = [
        ("RSS", ours.rss / theirs.rss, 1.5),
        ("idle CPU", ours.cpu / theirs.cpu, 1.),
        (
            "process dies -> restarted",
            ours.restart / theirs.restart,
            0.1,
        ),
    ];
    for (what, value, target) in rows {
        table.add(Row {
            name: format!("agent: as a supervisor alone, {what}, {SERVICES} processes"),
            value,
            unit: "x",
            target,
            better: Better::Lower,
            against: "monit from apt, same run",
        });
    }
    Ok(())
}

/// The installed one, else the distribution's, unpacked and not installed: it would start itself.
fn monit(dir: &Path) -> anyhow::Result<PathBuf> {
    let installed = Path::new("/usr/bin/monit");
    if installed.exists() {
        return Ok(installed.to_owned());
    }
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(dir)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("running {program}"))?;
        let text = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{program}: {}", text.trim());
        anyhow::Ok(())
    };
    run("apt-get", &["download", "-q", "monit"])?;
    let package = std::fs::read_dir(dir)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("no package was downloaded")?;
    run("dpkg-deb", &["-x", &package.to_string_lossy(), "unpacked"])?;
    Ok(dir.join("unpacked/usr/bin/monit"))
}

/// Processes of a control file; ended with it.
struct Yard(PathBuf);

impl Yard {
    fn new(dir: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let here = dir.display();
        let mut text = format!(
            "set daemon {CYCLE}\nset pidfile {here}/monit.pid\nset statefile {here}/state\nset idfile {here}/id\nset logfile {here}/log\n"
        );
        for service in 0..SERVICES {
            text += &format!(
                "check process s{service} with pidfile {here}/{service}.pid\n  \
                 start program \"/bin/sh -c 'setsid sleep 900 & echo $! > {here}/{service}.pid'\"\n  \
                 stop program \"/bin/sh -c 'kill $(cat {here}/{service}.pid)'\"\n  group vcap\n"
            );
        }
        let rc = dir.join("rc");
        std::fs::write(&rc, text)?;
        // monit wants its control file to itself.
        std::fs::set_permissions(&rc, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self(dir.to_owned()))
    }

    fn pid(&self, service: usize) -> Option<Pid> {
        let text = std::fs::read_to_string(self.0.join(format!("{service}.pid"))).ok()?;
        let pid = Pid::from_raw(text.trim().parse().ok()?);
        kill(pid, None).is_ok().then_some(pid)
    }
}

impl Drop for Yard {
    fn drop(&mut self) {
        for service in 0..SERVICES {
            if let Some(pid) = self.pid(service) {
                let _ = kill(pid, Signal::SIGKILL);
            }
        }
    }
}

fn until<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(value) = probe() {
            return Ok(value);
        }
        ensure!(begun.elapsed() < DEADLINE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn run(program: &[PathBuf], dir: &Path) -> anyhow::Result<Figures> {
    let yard = Yard::new(dir)?;
    let (path, arguments) = program.split_first().context("no program")?;
    let mut command = Command::new(path);
    command
        .args(arguments)
        .arg("-I")
        .arg("-c")
        .arg(dir.join("rc"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let process = Guard::spawn(&mut command)?;
    until("the processes run", || {
        (0..SERVICES)
            .all(|service| yard.pid(service).is_some())
            .then_some(())
    })?;
    // One cycle to settle.
    std::thread::sleep(Duration::from_secs(CYCLE));
    let pid = process.pid();
    let begun = Instant::now();
    let mut before = thread_times(pid)?;
    let mut spent = Duration::ZERO;
    while begun.elapsed() < IDLE {
        std::thread::sleep(Duration::from_secs(1));
        let now = thread_times(pid)?;
        for (thread, time) in &now {
            spent += time.saturating_sub(before.get(thread).copied().unwrap_or_default());
        }
        before = now;
    }
    let cpu = spent.as_secs_f64() * 60. / begun.elapsed().as_secs_f64();
    let rss = rss(pid)? as f64 / 1e6;
    // In the middle of a cycle, on the average.
    let old = yard.pid(0).context("a process is gone")?;
    let begun = Instant::now();
    kill(old, Signal::SIGKILL)?;
    until("it is restarted", || yard.pid(0).filter(|pid| *pid != old))?;
    let restart = begun.elapsed().as_secs_f64();
    drop(process);
    Ok(Figures { rss, cpu, restart })
}
