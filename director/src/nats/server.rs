//! nats-server as a child process: its configuration, start, restart, reload and end.

use std::ffi::OsString;
use std::io::{Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Error, Users, users};
use crate::child;

/// How long nats-server has to listen, to reload, and to end.
const START_TIMEOUT: Duration = Duration::from_secs(10);
const RELOAD_TIMEOUT: Duration = Duration::from_secs(2);
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// A server that ran this long was healthy: the next restart is immediate again.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);
const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// How to run nats-server.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program; found on the PATH when none.
    pub executable: Option<PathBuf>,
    /// Its configuration, user file, log and process id file; made if need be.
    pub directory: PathBuf,
    /// Address and port.
    pub listen: SocketAddr,
    /// Its certificate.
    pub tls: crate::config::Tls,
    /// PEM file of the CA that clients' certificates come from.
    pub client_ca: PathBuf,
}

/// nats-server, running. It is restarted when it dies, until [`Server::stop`].
pub struct Server {
    shared: Arc<Shared>,
    users: Users,
    supervisor: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    executable: PathBuf,
    options: Options,
    /// 0 while there is no process.
    pid: AtomicI32,
    stop: watch::Sender<bool>,
}

impl Options {
    fn users_file(&self) -> PathBuf {
        self.directory.join("auth.json")
    }

    fn log_file(&self) -> PathBuf {
        self.directory.join("nats.log")
    }

    /// Upstream: `jobs/nats/templates/nats.cfg.erb`. Users are only in the included file, which can be replaced alone.
    fn config(&self) -> String {
        let quoted = |path: &Path| format!("{:?}", path.display().to_string());
        format!(
            "host: {host:?}\n\
             port: {port}\n\
             logtime: true\n\
             log_file: {log}\n\
             pid_file: {pid}\n\
             tls {{\n  \
               cert_file: {certificate}\n  \
               key_file: {key}\n  \
               ca_file: {ca}\n  \
               verify_and_map: true\n  \
               timeout: 30\n\
             }}\n\
             ping_interval: \"5s\"\n\
             ping_max: 2\n\
             max_payload: 1048576\n\
             include auth.json\n",
            host = self.listen.ip().to_string(),
            port = self.listen.port(),
            log = quoted(&self.log_file()),
            pid = quoted(&pid_file(&self.directory)),
            certificate = quoted(&self.tls.certificate),
            key = quoted(&self.tls.private_key),
            ca = quoted(&self.client_ca),
        )
    }
}

/// The program that would be run.
pub fn find(executable: Option<&Path>) -> Result<PathBuf, Error> {
    child::find("nats-server", executable).map_err(|_| Error::NoServer)
}

impl Server {
    /// Starts nats-server and waits until it listens.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let executable = find(options.executable.as_deref())?;
        let failed = |path: &Path| {
            let path = path.to_path_buf();
            move |e| Error::Write(path, e)
        };
        std::fs::create_dir_all(&options.directory).map_err(failed(&options.directory))?;
        let config_file = config_file(&options.directory);
        std::fs::write(&config_file, options.config()).map_err(failed(&config_file))?;
        users::write_first(&options.users_file())?;
        end_left_over(&options.directory).await;

        let (stop, _) = watch::channel(false);
        let shared = Arc::new(Shared {
            executable,
            options,
            pid: AtomicI32::new(0),
            stop,
        });
        let child = shared.spawn().await?;
        let supervisor = tokio::spawn(supervise(shared.clone(), child));
        let reloading = shared.clone();
        let users = Users::start(shared.options.users_file(), move || {
            let shared = reloading.clone();
            async move { shared.reload().await }
        });
        Ok(Self {
            shared,
            users,
            supervisor: Mutex::new(Some(supervisor)),
        })
    }

    /// Who may connect.
    pub fn users(&self) -> Users {
        self.users.clone()
    }

    /// Where clients on this machine reach it.
    pub fn local_url(&self) -> String {
        format!("nats://{}", reachable(self.shared.options.listen))
    }

    /// Ends nats-server: politely first, then not.
    pub async fn stop(&self) {
        self.shared.stop.send_replace(true);
        let supervisor = self
            .supervisor
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(supervisor) = supervisor
            && let Err(error) = supervisor.await
        {
            tracing::error!(%error, "nats-server's supervisor failed");
        }
    }
}

impl Shared {
    async fn spawn(&self) -> Result<Child, Error> {
        let options = &self.options;
        let from = log_length(&options.log_file());
        let mut child = Command::new(&self.executable)
            .args(arguments(&options.directory))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A terminal's Ctrl-C is for the director, which ends nats-server last.
            .process_group(0)
            .spawn()
            .map_err(|e| Error::Start(format!("run {}: {e}", self.executable.display())))?;
        let pid = child.id().map_or(0, |id| id as i32);
        let deadline = Instant::now() + START_TIMEOUT;
        let address = reachable(options.listen);
        loop {
            if let Some(status) = child.try_wait().map_err(|e| Error::Start(e.to_string()))? {
                return Err(Error::Start(reason(options, from, &status.to_string())));
            }
            // Another program's port answers too, so the log has the word.
            if log_since(&options.log_file(), from).contains("Server is ready")
                && tokio::net::TcpStream::connect(address).await.is_ok()
            {
                break;
            }
            if Instant::now() >= deadline {
                let _gone = child.start_kill();
                return Err(Error::Start(reason(options, from, "it does not listen")));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.pid.store(pid, Ordering::Relaxed);
        tracing::info!(pid, listen = %options.listen, "nats-server started");
        Ok(child)
    }

    /// Has nats-server read its users again, and waits until its log says so.
    async fn reload(&self) {
        let pid = self.pid.load(Ordering::Relaxed);
        if pid == 0 {
            // It is being restarted and will read the file then.
            return;
        }
        let log = self.options.log_file();
        let from = log_length(&log);
        if let Err(error) = kill(Pid::from_raw(pid), Signal::SIGHUP) {
            tracing::warn!(%error, "nats-server could not be told to reload its users");
            return;
        }
        let deadline = Instant::now() + RELOAD_TIMEOUT;
        loop {
            let lines = log_since(&log, from);
            if lines.contains("Reloaded server configuration") {
                return;
            }
            if lines.contains("Failed to reload") {
                tracing::error!(log = lines.trim(), "nats-server refused its users");
                return;
            }
            if Instant::now() >= deadline {
                tracing::warn!("nats-server did not say that it has reloaded its users");
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

async fn supervise(shared: Arc<Shared>, mut child: Child) {
    let mut stop = shared.stop.subscribe();
    let mut backoff = Duration::ZERO;
    loop {
        let started = Instant::now();
        tokio::select! {
            status = child.wait() => {
                shared.pid.store(0, Ordering::Relaxed);
                match status {
                    Ok(status) => tracing::error!(%status, "nats-server ended; restarting it"),
                    Err(error) => tracing::error!(%error, "nats-server cannot be waited for; restarting it"),
                }
            }
            () = stopped(&mut stop) => {
                end(&shared, &mut child).await;
                return;
            }
        }
        if started.elapsed() >= HEALTHY_AFTER {
            backoff = Duration::ZERO;
        }
        child = loop {
            tokio::select! {
                () = tokio::time::sleep(backoff) => {}
                () = stopped(&mut stop) => return,
            }
            backoff = (backoff * 2).clamp(Duration::from_millis(100), MAX_BACKOFF);
            match shared.spawn().await {
                Ok(child) => break child,
                Err(error) => tracing::error!(%error, "nats-server"),
            }
        };
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The sender lives as long as what is supervised.
    let _gone = stop.wait_for(|stop| *stop).await.is_err();
}

async fn end(shared: &Shared, child: &mut Child) {
    let pid = shared.pid.swap(0, Ordering::Relaxed);
    // An error means that it is gone already.
    let _gone = kill(Pid::from_raw(pid), Signal::SIGTERM);
    if tokio::time::timeout(STOP_TIMEOUT, child.wait())
        .await
        .is_err()
    {
        tracing::warn!("nats-server did not end; killing it");
        if let Err(error) = child.kill().await {
            tracing::error!(%error, "nats-server cannot be killed");
        }
    }
}

/// Ends a nats-server that a director left behind when it was killed.
/// `directory` is [`Options::directory`].
pub async fn end_left_over(directory: &Path) {
    child::end_left_over(&pid_file(directory), &arguments(directory)).await;
}

fn config_file(directory: &Path) -> PathBuf {
    directory.join("nats.conf")
}

fn pid_file(directory: &Path) -> PathBuf {
    directory.join("nats.pid")
}

fn arguments(directory: &Path) -> [OsString; 2] {
    ["-c".into(), config_file(directory).into()]
}

fn reachable(listen: SocketAddr) -> SocketAddr {
    if listen.ip().is_unspecified() {
        SocketAddr::from((Ipv4Addr::LOCALHOST, listen.port()))
    } else {
        listen
    }
}

fn log_length(log: &Path) -> u64 {
    std::fs::metadata(log).map_or(0, |metadata| metadata.len())
}

fn log_since(log: &Path, from: u64) -> String {
    let mut text = Vec::new();
    if let Ok(mut file) = std::fs::File::open(log)
        && file.seek(SeekFrom::Start(from)).is_ok()
    {
        // What cannot be read is not there yet.
        let _read = file.read_to_end(&mut text);
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn reason(options: &Options, from: u64, otherwise: &str) -> String {
    let lines = log_since(&options.log_file(), from);
    if lines.contains("address already in use") {
        return format!(
            "{} is taken by another program: end it, or choose another port",
            options.listen
        );
    }
    lines
        .lines()
        .rev()
        .find(|line| line.contains("[FTL]") || line.contains("[ERR]"))
        .map_or_else(|| otherwise.to_string(), str::to_string)
}
