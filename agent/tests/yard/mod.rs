//! A directory with services in it, and a supervisor over them that can be killed.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(30);
/// `vcap:pa55`.
const AUTHORIZATION: &str = "Authorization: Basic dmNhcDpwYTU1";

/// Numbers that are the same in each run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        // Knuth's MMIX generator; its high bits are good enough.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    pub(crate) fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap()
    }
}

pub(crate) fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(begun.elapsed() < DEADLINE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// One that nobody is given for a connection of his own while the supervisor is down, and that no test of another process
/// takes: each has sixteen to itself.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 750).unwrap() * 16;
    loop {
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 20_000 + first + next % 16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The letter in /proc/PID/stat.
pub(crate) fn process_state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

pub(crate) struct Yard {
    dir: tempfile::TempDir,
    port: u16,
    text: String,
    added: String,
    supervisor: Option<Child>,
    cgroups: RefCell<BTreeSet<PathBuf>>,
}

impl Yard {
    /// Each service with its manner: `quick`, `slow` (nothing happens at first), `race` (it runs long before its pidfile says so).
    pub(crate) fn new(cycle: u32, services: &[(&str, &str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let here = dir.path().display().to_string();
        let mut text = format!(
            "set daemon {cycle}\nset pidfile {here}/monit.pid\nset statefile {here}/state\nset logfile {here}/log\n\
             set httpd port {port} and use address 127.0.0.1\n  allow vcap:pa55\n"
        );
        for (name, _, more) in services {
            text += &format!(
                "check process {name} with pidfile {here}/{name}.pid\n  start program \"{here}/{name} start\"\n\
                 \x20 stop program \"{here}/{name} stop\"\n  group vcap\n  {more}\n"
            );
        }
        let yard = Self {
            dir,
            port,
            text,
            added: String::new(),
            supervisor: None,
            cgroups: RefCell::default(),
        };
        yard.write_control_file();
        // A second copy of a daemon cannot have the lock.
        yard.script(
            "daemon",
            &format!(
                "exec 9>{here}/$1.lock\nflock -n 9 || {{ echo $1 >> {here}/doubles; exit 1; }}\nexec sleep 1000"
            ),
        );
        for (name, manner, _) in services {
            let (before, after) = match *manner {
                "slow" => ("sleep 0.05", ""),
                "race" => ("", "sleep 0.04"),
                _ => ("", ""),
            };
            yard.script(
                name,
                &format!(
                    "case $1 in\nstart) {before}\nsetsid {here}/daemon {name} &\npid=$!\n{after}\necho $pid > {here}/{name}.pid;;\n\
                     stop) kill $(cat {here}/{name}.pid);;\nesac"
                ),
            );
        }
        yard
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn script(&self, name: &str, body: &str) {
        let path = self.path(name);
        std::fs::write(&path, format!("#!/bin/bash\n{body}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn write_control_file(&self) {
        let path = self.path("rc");
        std::fs::write(&path, format!("{}{}", self.text, self.added)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// More text for the control file.
    pub(crate) fn add(&mut self, text: &str) {
        self.added += text;
        self.write_control_file();
    }

    /// Takes back what was added.
    pub(crate) fn repair(&mut self) {
        self.added.clear();
        self.write_control_file();
    }

    fn program(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bosh-agent"));
        command
            .args(["monit", "-c"])
            .arg(self.path("rc"))
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn start(&mut self) {
        let mut command = self.program();
        command
            .arg("-I")
            .stdout(Stdio::null())
            .stderr(Stdio::inherit());
        self.supervisor = Some(command.spawn().unwrap());
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut supervisor) = self.supervisor.take() {
            supervisor.kill().unwrap();
            supervisor.wait().unwrap();
        }
    }

    pub(crate) fn supervisor(&self) -> u32 {
        self.supervisor.as_ref().unwrap().id()
    }

    /// The `monit` command; whether it went well, and what it said.
    pub(crate) fn command(&self, arguments: &[&str]) -> (bool, String) {
        let output = self.program().args(arguments).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    }

    fn send(&self, request: &str) -> std::io::Result<TcpStream> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.write_all(request.as_bytes())?;
        Ok(stream)
    }

    /// Somebody that a killed supervisor was about to start may still hold its socket for a moment: whoever is not answered
    /// asks again.
    fn exchange(&self, request: &str) -> String {
        eventually("the supervisor answers", || {
            let mut answer = String::new();
            let read = self.send(request).ok()?.read_to_string(&mut answer);
            read.is_ok_and(|length| length > 0).then_some(answer)
        })
    }

    fn post(name: &str, action: &str) -> String {
        let body = format!("action={action}");
        format!(
            "POST /{name} HTTP/1.0\r\n{AUTHORIZATION}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    /// Asks for an action and does not wait for the answer; it may not even be heard.
    pub(crate) fn ask(&self, name: &str, action: &str) {
        drop(self.send(&Self::post(name, action)));
    }

    /// Asks for an action; whether it is acknowledged.
    pub(crate) fn act(&self, name: &str, action: &str) -> bool {
        self.exchange(&Self::post(name, action))
            .starts_with("HTTP/1.0 200 ")
    }

    /// Which services are monitored.
    pub(crate) fn monitored(&self) -> Vec<(String, bool)> {
        let answer = self.exchange(&format!(
            "GET /_status2?format=xml HTTP/1.0\r\n{AUTHORIZATION}\r\n\r\n"
        ));
        let services = answer.split("<service name=\"").skip(1);
        services
            .filter(|service| service.contains("<type>3</type>"))
            .map(|service| {
                let name = service.split('"').next().unwrap_or_default().to_owned();
                (name, !service.contains("<monitor>0</monitor>"))
            })
            .collect()
    }

    /// The process of a service by its pidfile, if it is one.
    pub(crate) fn pid(&self, name: &str) -> Option<i32> {
        let text = std::fs::read_to_string(self.path(&format!("{name}.pid"))).ok()?;
        let pid = text.trim().parse().ok()?;
        self.note_cgroups(pid);
        self.daemons().contains(&pid).then_some(pid)
    }

    pub(crate) fn kill_daemon(&self, name: &str) {
        let pid = self.pid(name).unwrap();
        let pid = nix::unistd::Pid::from_raw(pid);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    }

    /// Everybody who came out of this yard, but not the supervisor.
    pub(crate) fn everybody(&self) -> Vec<i32> {
        let mark = format!("BOSH_SUPERVISOR_RUN={}/", self.dir.path().display());
        let bears = |pid: &i32| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment
                .split(|byte| *byte == 0)
                .any(|variable| variable.starts_with(mark.as_bytes()))
        };
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(bears).collect()
    }

    /// Those of them that are what the services are about: they hold a lock and sleep.
    pub(crate) fn daemons(&self) -> Vec<i32> {
        let mut pids = self.everybody();
        pids.retain(|pid| {
            let lock = std::fs::read_link(format!("/proc/{pid}/fd/9")).unwrap_or_default();
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            lock.starts_with(self.dir.path()) && name.trim() == "sleep"
        });
        pids
    }

    pub(crate) fn strays(&self) -> Vec<i32> {
        let daemons = self.daemons();
        let mut pids = self.everybody();
        pids.retain(|pid| !daemons.contains(pid));
        pids
    }

    /// Who tried to run twice.
    pub(crate) fn doubles(&self) -> String {
        std::fs::read_to_string(self.path("doubles")).unwrap_or_default()
    }

    /// Where the supervisor keeps its cgroups, by where its services are.
    fn note_cgroups(&self, pid: i32) {
        let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        for line in text.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
                continue;
            };
            let Some(base) = Path::new(path).parent() else {
                continue;
            };
            let own = base
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("bosh-"));
            if own {
                let base = base.strip_prefix("/").unwrap();
                for root in ["", "unified", controllers] {
                    let place = Path::new("/sys/fs/cgroup").join(root).join(base);
                    if place.join("cgroup.procs").exists() {
                        self.cgroups.borrow_mut().insert(place);
                    }
                }
            }
        }
    }
}

impl Drop for Yard {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.path("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            for line in &lines[lines.len().saturating_sub(60)..] {
                eprintln!("{line}");
            }
        }
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            let everybody = self.everybody();
            if everybody.is_empty() || Instant::now() > end {
                break;
            }
            for pid in everybody {
                self.note_cgroups(pid);
                let pid = nix::unistd::Pid::from_raw(pid);
                // It may have ended by itself.
                let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        for base in &*self.cgroups.borrow() {
            for entry in std::fs::read_dir(base).into_iter().flatten().flatten() {
                let _ = std::fs::remove_dir(entry.path());
            }
            let _ = std::fs::remove_dir(base);
        }
    }
}
