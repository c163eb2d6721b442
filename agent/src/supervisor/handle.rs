//! What the rest of the agent sees of the supervisor: its options, its cloneable handle, its alerts and its errors.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bosh_protocol::{JobState, Process};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use super::monitrc;
use super::service::{Action, Snapshot};

/// How long `stop_and_wait` waits in all, as upstream does (jobsupervisor/monit_job_supervisor.go).
pub const STOP_DEADLINE: Duration = Duration::from_secs(5 * 60);

/// The group that releases put their services in, and the only one that counts for the state of an instance.
pub const VCAP_GROUP: &str = "vcap";

/// Where the supervisor keeps its files and how often it looks.
#[derive(Clone, Debug)]
pub struct Options {
    /// `/var/vcap/monit`: `*.monitrc`, `job/*.monitrc`, `monit.user` and the `stopped` marker live here.
    pub monit_dir: PathBuf,
    /// Control files; `*`, `?` and `[...]` are expanded, and of one pattern the last file is read first, as monit does.
    pub control_files: Vec<PathBuf>,
    /// Which services are monitored, kept over restarts of the agent.
    pub state_file: PathBuf,
    /// Where the state is published for the jobs of the instance: `/var/vcap/instance/health.json`.
    pub health_file: Option<PathBuf>,
    /// Where the notify sockets of services with a watchdog are: `/var/vcap/sys/run/notify`.
    pub notify_dir: PathBuf,
    /// One poll cycle: the unit of `every`, `for N cycles` and `N restarts within M cycles`. 10 s as upstream's monitrc.
    pub cycle: Duration,
    /// After this much time a service that is asked to stop is killed with all its descendants.
    pub kill_after: Duration,
}

impl Options {
    /// The layout of a BOSH VM below `base_dir` (`/var/vcap`).
    pub fn new(base_dir: &Path) -> Self {
        let monit_dir = base_dir.join("monit");
        Self {
            control_files: vec![monit_dir.join("*.monitrc"), monit_dir.join("job/*.monitrc")],
            state_file: monit_dir.join("supervisor.json"),
            health_file: Some(base_dir.join("instance/health.json")),
            notify_dir: base_dir.join("sys/run/notify"),
            monit_dir,
            cycle: Duration::from_secs(10),
            kill_after: STOP_DEADLINE,
        }
    }

    /// The directory `add_job` copies control files to.
    pub fn jobs_dir(&self) -> PathBuf {
        self.monit_dir.join("job")
    }

    /// The marker of an instance that was stopped on purpose.
    pub fn stopped_file(&self) -> PathBuf {
        self.monit_dir.join("stopped")
    }

    /// `user:password` of the HTTP interface.
    pub fn credentials_file(&self) -> PathBuf {
        self.monit_dir.join("monit.user")
    }
}

/// What monit would have mailed to the agent about a service.
///
/// Upstream: agent/alert/monit_alert.go; `event` is one of the names in agent/alert/monit_adapter.go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MonitAlert {
    /// Unique per alert.
    pub id: String,
    /// The service's name.
    pub service: String,
    /// For example `Does not exist` or `Resource limit matched`.
    pub event: String,
    /// What is done about it: `alert`, `restart`, `start`, `stop`, `exec`, `unmonitor`.
    pub action: String,
    /// RFC 1123 with a numeric zone: `Mon, 02 Jan 2006 15:04:05 +0000`.
    pub date: String,
    /// One sentence.
    pub description: String,
}

/// The supervisor, the machine and the services.
#[derive(Clone, Debug)]
pub struct Overview {
    /// Tells this machine's supervisor from others'.
    pub id: String,
    /// Changes with every reload; seconds since the epoch.
    pub incarnation: u64,
    /// Of the supervisor.
    pub uptime: Duration,
    /// Length of a poll cycle.
    pub cycle: Duration,
    /// Where the HTTP interface is.
    pub address: (String, u16),
    /// The first control file.
    pub control_file: PathBuf,
    /// The machine.
    pub system: System,
    /// In the order of the control files.
    pub services: Vec<Snapshot>,
}

/// What monit's interface says about the machine.
#[derive(Clone, Debug, Default)]
pub struct System {
    /// `Linux`.
    pub name: String,
    /// Of the kernel.
    pub release: String,
    /// Of the kernel.
    pub version: String,
    /// `x86_64`.
    pub machine: String,
    /// Its name.
    pub hostname: String,
    /// Number of CPUs.
    pub cpus: u64,
    /// Main memory.
    pub memory_kb: u64,
    /// Swap space.
    pub swap_kb: u64,
}

/// Errors of the supervisor's operations.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The supervisor's task has ended.
    #[error("ask the supervisor: it has stopped")]
    Gone,
    /// A control file cannot be read or is not valid.
    #[error("load the control files")]
    ControlFile(#[from] monitrc::Error),
    /// A file could not be read or written.
    #[error("{operation} {}", path.display())]
    File {
        /// Verb, for example `write`.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// There is no service of that name.
    #[error("there is no service by that name: '{0}'")]
    NoSuchService(String),
    /// The service is busy with another action.
    #[error("other action already in progress for service '{0}'")]
    Busy(String),
    /// Services that could not be stopped.
    #[error("stop services: '{0}' errored")]
    StopErrored(String),
    /// Services that did not stop in time.
    #[error("timed out waiting for services '{0}' to stop after {1:?}")]
    StopTimedOut(String, Duration),
    /// The HTTP interface or another part of the operating system failed.
    #[error("{0}")]
    System(String, #[source] std::io::Error),
}

impl Error {
    pub(crate) fn file(
        operation: &'static str,
        path: &Path,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            operation,
            path,
            source,
        }
    }

    /// Whether asking again later may succeed.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Busy(_))
    }
}

/// What the handle asks of the service task.
#[derive(Debug)]
pub(crate) enum Request {
    Reload(oneshot::Sender<Result<(), Error>>),
    Act {
        name: String,
        action: Action,
        reply: oneshot::Sender<Result<(), Error>>,
    },
    ActOnAll {
        names: Vec<String>,
        action: Action,
        reply: oneshot::Sender<Result<(), Error>>,
    },
    ActOnGroup {
        group: Option<String>,
        action: Action,
        reply: oneshot::Sender<Result<(), Error>>,
    },
    Start(oneshot::Sender<Result<(), Error>>),
    Stop(oneshot::Sender<Result<(), Error>>),
    Status(oneshot::Sender<JobState>),
    Overview(oneshot::Sender<Overview>),
    Service {
        name: String,
        reply: oneshot::Sender<Option<Snapshot>>,
    },
    Validate(oneshot::Sender<()>),
}

/// Asks the supervisor. Cheap to clone; every method may be called from any task.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) requests: mpsc::Sender<Request>,
    pub(crate) changes: watch::Receiver<u64>,
    pub(crate) options: std::sync::Arc<Options>,
}

impl Handle {
    async fn ask<T>(&self, make: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.requests
            .send(make(reply))
            .await
            .map_err(|_| Error::Gone)?;
        answer.await.map_err(|_| Error::Gone)
    }

    /// The options it runs with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Reads the control files again. Services that did not change go on as they are, services that are gone are forgotten,
    /// new ones are monitored from now on. A control file that is not valid leaves everything as it was.
    ///
    /// # Errors
    /// `Error::ControlFile` with file, line and what was expected.
    pub async fn reload(&self) -> Result<(), Error> {
        self.ask(Request::Reload).await?
    }

    /// Copies a job's `monit` file to `monit/job/NNNN_NAME.monitrc`; takes effect with the next `reload`. Several monit files
    /// of one job are told apart by names such as `JOB_LABEL`.
    ///
    /// # Errors
    /// `Error::File`.
    pub async fn add_job(&self, name: &str, index: usize, monit_file: &Path) -> Result<(), Error> {
        let content = tokio::fs::read(monit_file)
            .await
            .map_err(Error::file("read", monit_file))?;
        let jobs_dir = self.options.jobs_dir();
        tokio::fs::create_dir_all(&jobs_dir)
            .await
            .map_err(Error::file("create", &jobs_dir))?;
        let target = jobs_dir.join(format!("{index:04}_{name}.monitrc"));
        super::state::write_atomically(&target, &content, 0o600)
            .map_err(Error::file("write", &target))
    }

    /// Removes every job's control file; takes effect with the next `reload`.
    ///
    /// # Errors
    /// `Error::File`.
    pub async fn remove_all_jobs(&self) -> Result<(), Error> {
        let jobs_dir = self.options.jobs_dir();
        match tokio::fs::remove_dir_all(&jobs_dir).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::file("remove", &jobs_dir)(error))
            }
            _ => Ok(()),
        }
    }

    /// Starts and monitors every service of the group `vcap`, prerequisites first. Returns when that is under way, as upstream.
    ///
    /// # Errors
    /// `Error::Gone`, `Error::File` for the `stopped` marker.
    pub async fn start(&self) -> Result<(), Error> {
        self.ask(Request::Start).await?
    }

    /// Unmonitors and stops every service of the group `vcap`, dependants first. Returns when that is under way, as upstream.
    ///
    /// # Errors
    /// `Error::Gone`, `Error::File` for the `stopped` marker.
    pub async fn stop(&self) -> Result<(), Error> {
        self.ask(Request::Stop).await?
    }

    /// Like `stop`, and waits until everything is down. A process that outlives its stop program is killed with all its
    /// descendants after `Options::kill_after`.
    ///
    /// # Errors
    /// `Error::StopTimedOut` names the services that could not be stopped.
    pub async fn stop_and_wait(&self) -> Result<(), Error> {
        let mut changes = self.changes.clone();
        self.stop().await?;
        let limit = self.options.kill_after + Duration::from_secs(15);
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            changes.mark_unchanged();
            let pending: Vec<String> = self
                .services()
                .await?
                .into_iter()
                .filter(|service| service.in_group(VCAP_GROUP) && !service.is_down())
                .map(|service| service.name)
                .collect();
            if pending.is_empty() {
                return Ok(());
            }
            match tokio::time::timeout_at(deadline, changes.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(Error::Gone),
                Err(_) => return Err(Error::StopTimedOut(pending.join(", "), limit)),
            }
        }
    }

    /// Lets every service of the group `vcap` run but no longer looks after it.
    ///
    /// # Errors
    /// `Error::Gone`.
    pub async fn unmonitor(&self) -> Result<(), Error> {
        let group = Some(VCAP_GROUP.to_owned());
        self.ask(|reply| Request::ActOnGroup {
            group,
            action: Action::Unmonitor,
            reply,
        })
        .await?
    }

    /// The state of the instance: `stopped` after `stop`; else `starting` while a service starts; else `failing` if one is
    /// not monitored or not well; else `running`, also if there is none. `unknown` when the supervisor has ended.
    pub async fn status(&self) -> JobState {
        self.ask(Request::Status).await.unwrap_or(JobState::Unknown)
    }

    /// The services of the group `vcap` with their vitals, as `get_state` and heartbeats carry them.
    ///
    /// # Errors
    /// `Error::Gone`.
    pub async fn processes(&self) -> Result<Vec<Process>, Error> {
        let services = self.services().await?;
        Ok(services
            .iter()
            .filter(|service| service.in_group(VCAP_GROUP))
            .map(Snapshot::to_process)
            .collect())
    }

    /// Everything known about every service, in the order of the control files.
    ///
    /// # Errors
    /// `Error::Gone`.
    pub async fn services(&self) -> Result<Vec<Snapshot>, Error> {
        Ok(self.overview().await?.services)
    }

    /// One service, with what was measured of it last.
    ///
    /// # Errors
    /// `Error::NoSuchService`.
    pub async fn service(&self, name: &str) -> Result<Snapshot, Error> {
        let name = name.to_owned();
        let asked = name.clone();
        self.ask(|reply| Request::Service { name, reply })
            .await?
            .ok_or(Error::NoSuchService(asked))
    }

    /// Every service, the supervisor itself and the machine.
    ///
    /// # Errors
    /// `Error::Gone`.
    pub async fn overview(&self) -> Result<Overview, Error> {
        self.ask(Request::Overview).await
    }

    /// One action on one service.
    ///
    /// # Errors
    /// `Error::NoSuchService`, or `Error::Busy` while another action is under way.
    pub async fn act(&self, name: &str, action: Action) -> Result<(), Error> {
        let name = name.to_owned();
        self.ask(|reply| Request::Act {
            name,
            action,
            reply,
        })
        .await?
    }

    /// One action on several services; on none if there is one that does not exist.
    ///
    /// # Errors
    /// `Error::NoSuchService`.
    pub async fn act_on_all(&self, names: Vec<String>, action: Action) -> Result<(), Error> {
        self.ask(|reply| Request::ActOnAll {
            names,
            action,
            reply,
        })
        .await?
    }

    /// One action on every service of a group, or on every service.
    ///
    /// # Errors
    /// `Error::Gone`.
    pub async fn act_on_group(&self, group: Option<&str>, action: Action) -> Result<(), Error> {
        let group = group.map(str::to_owned);
        self.ask(|reply| Request::ActOnGroup {
            group,
            action,
            reply,
        })
        .await?
    }

    /// Runs every check now instead of at the next cycle.
    ///
    /// # Errors
    /// `Error::Gone`.
    pub async fn validate(&self) -> Result<(), Error> {
        self.ask(Request::Validate).await
    }

    /// Changes whenever the state of a service changes: a process came up, died, was stopped, a check failed or recovered.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }
}
