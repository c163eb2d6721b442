//! The supervisor's loop: reports of watchers, requests of handles, deadlines and cycles.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::notify::Listener;
use crate::supervisor::checks::{Facts, Finding, Memory, SystemFacts};
use crate::supervisor::handle::{Error, Handle, MonitAlert, Options, Request, System, VCAP_GROUP};
use crate::supervisor::process::{Cgroups, Meter, bury, raise, system};
use crate::supervisor::service::{Action, Input, Machine, Notice, Policy, Run, RunId, Saved};
use crate::supervisor::{monitrc, state};

/// Alerts that nobody takes: beyond so many the newest are dropped and logged.
const MOST_ALERTS: usize = 256;
/// Requests under way.
const MOST_REQUESTS: usize = 64;
/// Services that are tested at a time.
const MOST_CHECKS: usize = 32;
/// How soon a process that was started is looked for first; the pause doubles up to `SLOWEST_LOOK`.
pub(super) const FIRST_LOOK: Duration = Duration::from_millis(5);
pub(super) const SLOWEST_LOOK: Duration = Duration::from_millis(250);

/// What the tasks that watch processes report.
#[derive(Debug)]
pub(super) enum Report {
    Died {
        name: String,
        pid: i32,
    },
    Ended {
        name: String,
        run: RunId,
        well: bool,
        how: String,
    },
    Checked(Box<Checked>),
    Notified {
        name: String,
        notice: Notice,
    },
    Swept {
        name: String,
    },
}

/// What the tests of a service found.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) name: String,
    pub(super) definition: Arc<monitrc::Service>,
    pub(super) pid: Option<i32>,
    pub(super) findings: Vec<Finding>,
    pub(super) facts: Facts,
    pub(super) memory: Memory,
}

/// A process that is watched; dropping it ends the watch.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) pid: i32,
    pub(super) task: JoinHandle<()>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A program that was started and, as far as we know, runs.
#[derive(Debug)]
pub(super) struct Started {
    /// By us, not by an earlier agent.
    pub(super) since: Option<SystemTime>,
    pub(super) session: i32,
    pub(super) at: u64,
    pub(super) what: Run,
    /// In the environment of whatever comes out of it.
    pub(super) mark: String,
    pub(super) service: String,
    pub(super) ended: bool,
}

/// The supervisor. Create it, hand out the [`Handle`], and let [`Service::run`] run.
#[derive(Debug)]
pub struct Service {
    pub(super) options: Arc<Options>,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) reports: mpsc::UnboundedReceiver<Report>,
    pub(super) report: mpsc::UnboundedSender<Report>,
    pub(super) alerts: mpsc::Sender<MonitAlert>,
    pub(super) changes: watch::Sender<u64>,
    pub(super) machine: Machine,
    pub(super) epoch: Instant,
    pub(super) watched: HashMap<String, Watched>,
    pub(super) started: HashMap<RunId, Started>,
    pub(super) checking: HashSet<String>,
    pub(super) check_slots: Arc<Semaphore>,
    pub(super) memories: HashMap<String, Memory>,
    pub(super) facts: HashMap<String, Facts>,
    pub(super) system_facts: Option<SystemFacts>,
    pub(super) measured: Option<Instant>,
    pub(super) meter: Meter,
    pub(super) cgroups: Cgroups,
    pub(super) listeners: HashMap<String, Listener>,
    pub(super) saved: BTreeMap<String, Saved>,
    /// At which revision it was looked at last.
    pub(super) saved_at: Option<u64>,
    pub(super) health: Option<&'static str>,
    pub(super) look_at: Instant,
    pub(super) look_pause: Duration,
    pub(super) cycle_at: Instant,
    pub(super) cycle: Duration,
    pub(super) system: System,
    /// Where the HTTP interface is, by the control files.
    pub(super) address: (String, u16),
    pub(super) incarnation: u64,
    /// How often the control files were taken.
    pub(super) incarnations: u64,
}

impl Service {
    /// A supervisor, the handle to ask it, and the alerts it raises.
    ///
    /// # Errors
    /// `Error::File` when the saved state cannot be read.
    pub fn new(options: Options) -> Result<(Self, Handle, mpsc::Receiver<MonitAlert>), Error> {
        raise();
        let saved = state::read(&options.state_file)?;
        let options = Arc::new(options);
        let (request, requests) = mpsc::channel(MOST_REQUESTS);
        let (report, reports) = mpsc::unbounded_channel();
        let (alerts, alerts_out) = mpsc::channel(MOST_ALERTS);
        let (changes, changes_out) = watch::channel(0);
        let handle = Handle {
            requests: request,
            changes: changes_out,
            options: Arc::clone(&options),
        };
        let policy = Policy {
            kill_after: options.kill_after,
            ..Policy::default()
        };
        let now = Instant::now();
        let service = Self {
            requests,
            reports,
            report,
            alerts,
            changes,
            machine: Machine::new(policy),
            epoch: now,
            watched: HashMap::new(),
            started: HashMap::new(),
            checking: HashSet::new(),
            check_slots: Arc::new(Semaphore::new(MOST_CHECKS)),
            memories: HashMap::new(),
            facts: HashMap::new(),
            system_facts: None,
            measured: None,
            meter: Meter::new(),
            cgroups: Cgroups::find(&options.state_file),
            listeners: HashMap::new(),
            saved,
            saved_at: None,
            health: None,
            look_at: now,
            look_pause: FIRST_LOOK,
            cycle_at: now + options.cycle,
            cycle: options.cycle,
            system: system(),
            address: ("127.0.0.1".to_owned(), 2822),
            incarnation: 0,
            incarnations: 0,
            options,
        };
        Ok((service, handle, alerts_out))
    }

    /// Supervises until `shutdown` is cancelled or every handle is gone. Processes run on; the next supervisor adopts them.
    ///
    /// # Errors
    /// Control files that are not valid do not end it; they raise an alert each.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), Error> {
        let result = self.load();
        for error in &result {
            self.raise_load_error(error);
        }
        self.settle();
        loop {
            let wake = self.next_wake();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(report) = self.reports.recv() => self.on_report(report),
                request = self.requests.recv() => match request {
                    Some(request) => self.on_request(request),
                    None => break,
                },
                () = tokio::time::sleep_until(wake) => self.on_time(),
            }
            self.settle();
        }
        self.settle();
        self.cgroups.tidy();
        Ok(())
    }

    pub(super) fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    fn next_wake(&self) -> Instant {
        let mut wake = self.cycle_at;
        if let Some(deadline) = self.machine.next_deadline(self.now()) {
            wake = wake.min(self.epoch + deadline);
        }
        if self.machine.expected().next().is_some() {
            wake = wake.min(self.look_at);
        }
        wake
    }

    fn on_time(&mut self) {
        let now = Instant::now();
        if now >= self.look_at {
            let expected: Vec<String> = self.machine.expected().map(str::to_owned).collect();
            if !expected.is_empty() {
                self.look_pause = (self.look_pause * 2).min(SLOWEST_LOOK);
                self.look_at = now + self.look_pause;
                self.look(&expected);
            }
        }
        if now >= self.cycle_at {
            self.cycle_at = now + self.cycle;
            let all = self.names();
            self.look(&all);
            self.feed(Input::Cycle);
        }
        self.feed(Input::Tick);
    }

    fn on_report(&mut self, report: Report) {
        match report {
            Report::Died { name, pid } => {
                bury(pid);
                self.watched.remove(&name.to_ascii_lowercase());
                // A daemon that hands over to a new process has not died.
                match self
                    .definition(&name)
                    .and_then(|definition| self.find(&definition))
                {
                    Some(new) if new != pid => self.seen(&name, Some(new)),
                    _ => {
                        tracing::info!(service = %name, pid, "the process ended");
                        self.feed(Input::Died { name, pid });
                    }
                }
            }
            Report::Checked(checked) => self.on_checked(*checked),
            Report::Notified { name, notice } => self.feed(Input::Notified { name, notice }),
            Report::Swept { name } => self.feed(Input::Swept { name }),
            Report::Ended {
                name,
                run,
                well,
                how,
            } => {
                let Some(started) = self.started.get_mut(&run) else {
                    return;
                };
                started.ended = true;
                if !well {
                    tracing::warn!(service = %name, what = ?started.what, %how, "a program failed");
                }
                // Usually the process is there when its start program ends.
                self.look(std::slice::from_ref(&name));
                self.feed(Input::Ended { name, run, well });
            }
        }
    }

    fn on_request(&mut self, request: Request) {
        // A receiver that is gone has lost interest in the answer; what it asked for is done anyway.
        match request {
            Request::Reload(reply) => {
                let errors = self.try_load();
                self.settle();
                drop(reply.send(errors));
            }
            Request::Act {
                name,
                action,
                reply,
            } => {
                let result = match self.definition(&name) {
                    None => Err(Error::NoSuchService(name)),
                    Some(_) => {
                        // Those that it can have to do with.
                        let related = self.machine.related(&name);
                        self.look(&related);
                        self.feed(Input::Act { name, action });
                        self.persist()
                    }
                };
                drop(reply.send(result));
            }
            Request::ActOnAll {
                names,
                action,
                reply,
            } => {
                let unknown = names.iter().find(|name| self.definition(name).is_none());
                let result = match unknown {
                    Some(name) => Err(Error::NoSuchService(name.clone())),
                    None => {
                        let all = self.names();
                        self.look(&all);
                        for name in names {
                            self.feed(Input::Act { name, action });
                        }
                        self.persist()
                    }
                };
                drop(reply.send(result));
            }
            Request::ActOnGroup {
                group,
                action,
                reply,
            } => {
                let result = self.act_on_group(group.as_deref(), action);
                drop(reply.send(result));
            }
            Request::Start(reply) => {
                let result = self
                    .act_on_group(Some(VCAP_GROUP), Action::Start)
                    .and_then(|()| self.remove_stopped_file());
                self.settle();
                drop(reply.send(result));
            }
            Request::Stop(reply) => {
                let result = self
                    .write_stopped_file()
                    .and_then(|()| self.act_on_group(Some(VCAP_GROUP), Action::Stop));
                self.settle();
                drop(reply.send(result));
            }
            Request::Status(reply) => drop(reply.send(self.status())),
            Request::Overview(reply) => {
                self.measure(Instant::now());
                self.system_facts = Some(SystemFacts::read(self.system_facts.as_ref()));
                drop(reply.send(self.overview()));
            }
            Request::Service { name, reply } => {
                let mut snapshots = self.snapshots();
                snapshots.retain(|snapshot| snapshot.name.eq_ignore_ascii_case(&name));
                drop(reply.send(snapshots.pop()));
            }
            Request::Validate(reply) => {
                self.cycle_at = Instant::now();
                self.on_time();
                let _ = reply.send(());
            }
        }
    }

    fn act_on_group(&mut self, group: Option<&str>, action: Action) -> Result<(), Error> {
        let all = self.names();
        self.look(&all);
        for snapshot in self.snapshots() {
            if group.is_none_or(|group| snapshot.in_group(group)) {
                self.feed(Input::Act {
                    name: snapshot.name,
                    action,
                });
            }
        }
        self.persist()
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.machine.names().map(str::to_owned).collect()
    }

    pub(super) fn definition(&self, name: &str) -> Option<Arc<monitrc::Service>> {
        self.machine.definition(name)
    }

    /// All or nothing.
    fn try_load(&mut self) -> Result<(), Error> {
        let result = monitrc::load(&self.options.control_files);
        match result.errors.into_iter().next() {
            None => {
                self.take(result.config);
                Ok(())
            }
            Some(error) => {
                self.raise_load_error(&error);
                Err(error.into())
            }
        }
    }

    /// As much as is valid.
    fn load(&mut self) -> Vec<monitrc::Error> {
        let result = monitrc::load(&self.options.control_files);
        self.take(result.config);
        result.errors
    }

    fn take(&mut self, config: monitrc::Config) {
        if let Some(cycle) = config.settings.cycle {
            self.cycle = cycle;
        }
        if let Some(httpd) = &config.settings.httpd {
            self.address = (httpd.address.clone().unwrap_or_default(), httpd.port);
        }
        self.system = system();
        let mut services = config.services;
        let default = monitrc::Service::system(format!("system_{}", self.system.hostname));
        // As monit does, unless there is one already.
        if services.iter().all(|service| {
            service.kind != monitrc::Kind::System
                && !service.name.eq_ignore_ascii_case(&default.name)
        }) {
            services.push(default);
        }
        let definitions = services.into_iter().map(Arc::new).collect();
        let stopped = self.options.stopped_file().exists();
        let now = self.now();
        self.machine.load(now, definitions, &self.saved, stopped);
        let seconds = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        self.incarnation = seconds.max(self.incarnation + 1);
        let names = self.names();
        let machine = &self.machine;
        self.watched
            .retain(|name, watched| machine.pid(name) == Some(watched.pid));
        self.listen();
        if self.incarnations == 0 {
            self.adopt_programs();
        }
        self.incarnations += 1;
        self.look(&names);
    }

    pub(super) fn feed(&mut self, input: Input) {
        let now = self.now();
        let effects = self.machine.step(now, input);
        self.perform(effects);
    }
}
