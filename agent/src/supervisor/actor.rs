//! The supervisor's hands: feeds the state machine with what happens and does what it says.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bosh_protocol::JobState;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::checks::{self, Facts, Finding, Job, Memory, SystemFacts};
use super::handle::{Error, Handle, MonitAlert, Options, Overview, Request, System, VCAP_GROUP};
use super::monitrc::{self, Find, Kind};
use super::process::{Meter, Table, Watch, bury, is_alive, matching, spawn, system, ticks_now};
use super::service::{Action, Effect, Input, Machine, Policy, Run, RunId, Saved, Snapshot};
use super::state;

/// Alerts that nobody takes: beyond so many the newest are dropped and logged.
const MOST_ALERTS: usize = 256;
/// Requests under way.
const MOST_REQUESTS: usize = 64;
/// Services that are tested at a time.
const MOST_CHECKS: usize = 32;
/// How soon a process that was started is looked for first; the pause doubles up to `SLOWEST_LOOK`.
const FIRST_LOOK: Duration = Duration::from_millis(5);
const SLOWEST_LOOK: Duration = Duration::from_millis(250);

const RFC1123: &[BorrowedFormatItem<'_>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] [offset_hour sign:mandatory][offset_minute]"
);

/// What the tasks that watch processes report.
#[derive(Debug)]
enum Report {
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
}

/// What the tests of a service found.
#[derive(Debug)]
struct Checked {
    name: String,
    definition: Arc<monitrc::Service>,
    pid: Option<i32>,
    findings: Vec<Finding>,
    facts: Facts,
    memory: Memory,
}

/// A process that is watched; dropping it ends the watch.
#[derive(Debug)]
struct Watched {
    pid: i32,
    task: JoinHandle<()>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A program that was started and, as far as we know, runs.
#[derive(Debug)]
struct Started {
    session: i32,
    at: u64,
    what: Run,
}

/// The supervisor. Create it, hand out the [`Handle`], and let [`Service::run`] run.
#[derive(Debug)]
pub struct Service {
    options: Arc<Options>,
    requests: mpsc::Receiver<Request>,
    reports: mpsc::UnboundedReceiver<Report>,
    report: mpsc::UnboundedSender<Report>,
    alerts: mpsc::Sender<MonitAlert>,
    changes: watch::Sender<u64>,
    machine: Machine,
    epoch: Instant,
    watched: HashMap<String, Watched>,
    started: HashMap<RunId, Started>,
    checking: HashSet<String>,
    check_slots: Arc<Semaphore>,
    memories: HashMap<String, Memory>,
    facts: HashMap<String, Facts>,
    system_facts: Option<SystemFacts>,
    measured: Option<Instant>,
    meter: Meter,
    saved: BTreeMap<String, Saved>,
    health: Option<&'static str>,
    look_at: Instant,
    look_pause: Duration,
    cycle_at: Instant,
    cycle: Duration,
    system: System,
    incarnation: u64,
}

impl Service {
    /// A supervisor, the handle to ask it, and the alerts it raises.
    ///
    /// # Errors
    /// `Error::File` when the saved state cannot be read.
    pub fn new(options: Options) -> Result<(Self, Handle, mpsc::Receiver<MonitAlert>), Error> {
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
            saved,
            health: None,
            look_at: now,
            look_pause: FIRST_LOOK,
            cycle_at: now + options.cycle,
            cycle: options.cycle,
            system: system(),
            incarnation: 0,
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
        Ok(())
    }

    fn now(&self) -> Duration {
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
            Report::Ended {
                name,
                run,
                well,
                how,
            } => {
                let Some(started) = self.started.remove(&run) else {
                    return;
                };
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
                        let all = self.names();
                        self.look(&all);
                        self.feed(Input::Act { name, action });
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
                let pids: Vec<i32> = self.watched.values().map(|watched| watched.pid).collect();
                self.meter.refresh(pids.into_iter(), Instant::now());
                drop(reply.send(self.overview()));
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

    fn names(&self) -> Vec<String> {
        self.machine.names().map(str::to_owned).collect()
    }

    fn definition(&self, name: &str) -> Option<Arc<monitrc::Service>> {
        self.machine.definition(name)
    }

    fn snapshots(&self) -> Vec<Snapshot> {
        let collected = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let mut snapshots = self
            .machine
            .snapshots(collected, |pid| self.meter.vitals(pid));
        for snapshot in &mut snapshots {
            if let Some(facts) = self.facts.get(&snapshot.name.to_ascii_lowercase()) {
                snapshot.facts = facts.clone();
            }
        }
        snapshots
    }

    fn overview(&self) -> Overview {
        Overview {
            id: std::fs::read_to_string("/etc/machine-id")
                .map(|id| id.trim().to_owned())
                .unwrap_or_default(),
            incarnation: self.incarnation,
            uptime: self.epoch.elapsed(),
            cycle: self.cycle,
            control_file: self
                .options
                .control_files
                .first()
                .cloned()
                .unwrap_or_default(),
            system: self.system.clone(),
            services: self.snapshots(),
        }
    }

    // The control files.

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
        let definitions = config.services.into_iter().map(Arc::new).collect();
        let stopped = self.options.stopped_file().exists();
        let now = self.now();
        self.machine.load(now, definitions, &self.saved, stopped);
        let seconds = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        self.incarnation = seconds.max(self.incarnation + 1);
        let names = self.names();
        self.watched
            .retain(|name, _| self.machine.definition(name).is_some());
        self.look(&names);
    }

    fn raise_load_error(&self, error: &monitrc::Error) {
        let error = std::error::Error::source(error)
            .map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
        tracing::error!(error, "a control file is not valid");
        self.raise("monit", "Data access error", "alert", error);
    }

    // The state machine.

    fn feed(&mut self, input: Input) {
        let now = self.now();
        let effects = self.machine.step(now, input);
        self.perform(effects);
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        let mut open = VecDeque::from(effects);
        while let Some(effect) = open.pop_front() {
            let input = match effect {
                Effect::Run {
                    name,
                    run,
                    what,
                    program,
                } => self.run_program(name, run, what, &program),
                Effect::KillRun { name, run } => {
                    if let Some(started) = self.started.get(&run) {
                        tracing::warn!(service = %name, what = ?started.what, "a program took too long and is killed with its session");
                        Table::kill_session(started.session, started.at);
                    }
                    None
                }
                Effect::KillProcess { name, pid } => {
                    tracing::warn!(service = %name, pid, "the process did not stop and is killed with its descendants");
                    Table::kill_family(pid);
                    None
                }
                Effect::Check { name } => {
                    self.check(name);
                    None
                }
                Effect::Alert {
                    service,
                    event,
                    action,
                    description,
                } => {
                    self.raise(&service, event, action, description);
                    None
                }
            };
            if let Some(input) = input {
                let now = self.now();
                open.extend(self.machine.step(now, input));
            }
        }
    }

    fn raise(&self, service: &str, event: &str, action: &str, description: String) {
        tracing::info!(service, event, action, description, "alert");
        let date = OffsetDateTime::now_utc()
            .format(RFC1123)
            .unwrap_or_default();
        let alert = MonitAlert {
            id: uuid::Uuid::new_v4().to_string(),
            service: service.to_owned(),
            event: event.to_owned(),
            action: action.to_owned(),
            date,
            description,
        };
        if let Err(error) = self.alerts.try_send(alert) {
            tracing::error!(service, event, %error, "an alert is dropped");
        }
    }

    fn run_program(
        &mut self,
        name: String,
        run: RunId,
        what: Run,
        program: &monitrc::Program,
    ) -> Option<Input> {
        let definition = self.definition(&name)?;
        if what == Run::Start
            && definition.kind.is_process()
            && let Some(pid) = self.find(&definition)
        {
            // It came up behind our back: never two copies.
            self.watch(&name, pid);
            return Some(Input::Found {
                name,
                pid: Some(pid),
            });
        }
        let environment = self.environment(&name, &what);
        let at = ticks_now();
        match spawn(program, &environment) {
            Ok(running) => {
                tracing::info!(service = %name, what = ?what, program = %program.argv.join(" "), pid = running.pid, "started a program");
                self.started.insert(
                    run,
                    Started {
                        session: running.pid,
                        at: at.saturating_sub(1),
                        what: what.clone(),
                    },
                );
                let report = self.report.clone();
                tokio::spawn(async move {
                    let (well, how) = running.ended().await;
                    // The service has ended when nobody receives this.
                    drop(report.send(Report::Ended {
                        name,
                        run,
                        well,
                        how,
                    }));
                });
                if what == Run::Start {
                    self.look_pause = FIRST_LOOK;
                    self.look_at = Instant::now() + FIRST_LOOK;
                }
                None
            }
            Err(error) => {
                tracing::error!(service = %name, what = ?what, %error, "cannot start a program");
                Some(Input::NotRun {
                    name,
                    run,
                    problem: error.to_string(),
                })
            }
        }
    }

    /// monit's variables.
    fn environment(&self, name: &str, what: &Run) -> Vec<(&'static str, String)> {
        let (event, description) = match what {
            Run::Start => ("Started", "Started".to_owned()),
            Run::Stop => ("Stopped", "Stopped".to_owned()),
            Run::Exec { event, description } => (*event, description.clone()),
        };
        let mut environment = vec![
            (
                "MONIT_DATE",
                OffsetDateTime::now_utc()
                    .format(RFC1123)
                    .unwrap_or_default(),
            ),
            ("MONIT_SERVICE", name.to_owned()),
            ("MONIT_HOST", self.system.hostname.clone()),
            ("MONIT_EVENT", event.to_owned()),
            ("MONIT_DESCRIPTION", description),
        ];
        if self
            .definition(name)
            .is_some_and(|definition| definition.kind.is_process())
        {
            let pid = self
                .watched
                .get(&name.to_ascii_lowercase())
                .map_or(0, |watched| watched.pid);
            let vitals = self.meter.vitals(pid).unwrap_or_default();
            environment.push(("MONIT_PROCESS_PID", pid.to_string()));
            environment.push(("MONIT_PROCESS_MEMORY", vitals.memory_kb.to_string()));
            environment.push(("MONIT_PROCESS_CHILDREN", vitals.children.to_string()));
            environment.push((
                "MONIT_PROCESS_CPU_PERCENT",
                format!("{:.0}", vitals.cpu_percent),
            ));
        }
        environment
    }

    // Processes.

    /// Looks for processes that are not known to be alive.
    fn look(&mut self, names: &[String]) {
        for name in names {
            let Some(definition) = self.definition(name) else {
                continue;
            };
            if !definition.kind.is_process() {
                continue;
            }
            let watched = self.watched.get(&name.to_ascii_lowercase());
            if matches!(definition.kind, Kind::Process(Find::Matching(_)))
                && watched.is_some_and(|watched| is_alive(watched.pid))
            {
                // Nothing says that it has changed, and looking through all processes is dear.
                continue;
            }
            let found = self.find(&definition);
            let known = self
                .watched
                .get(&name.to_ascii_lowercase())
                .map(|watched| watched.pid);
            match (known, found) {
                // A live process counts even if its pidfile is gone: a second copy would be worse.
                (Some(known), None) if is_alive(known) => {}
                (Some(known), Some(found)) if known == found => {}
                // Its death is on its way to us.
                (Some(_), None) => {}
                _ => self.seen(name, found),
            }
        }
    }

    fn seen(&mut self, name: &str, pid: Option<i32>) {
        let pid = pid.filter(|pid| self.watch(name, *pid));
        self.feed(Input::Found {
            name: name.to_owned(),
            pid,
        });
    }

    /// Reports the death of a process; false if it is dead already.
    fn watch(&mut self, name: &str, pid: i32) -> bool {
        let key = name.to_ascii_lowercase();
        match Watch::open(pid) {
            Ok(Some(watch)) => {
                let (report, name) = (self.report.clone(), name.to_owned());
                let task = tokio::spawn(async move {
                    watch.ended().await;
                    drop(report.send(Report::Died { name, pid }));
                });
                self.watched.insert(key, Watched { pid, task });
                true
            }
            Ok(None) => false,
            Err(error) => {
                tracing::error!(service = name, pid, %error, "cannot watch a process");
                false
            }
        }
    }

    fn find(&self, definition: &monitrc::Service) -> Option<i32> {
        match &definition.kind {
            Kind::Process(Find::PidFile(path)) => read_pid(path).filter(|pid| is_alive(*pid)),
            Kind::Process(Find::Matching(pattern)) => {
                matching(pattern).ok()?.first().map(|(pid, _)| *pid)
            }
            _ => None,
        }
    }

    // Checks.

    /// Runs the tests of a service in a task of their own, unless the last ones are not done yet.
    fn check(&mut self, name: String) {
        let key = name.to_ascii_lowercase();
        let Some(definition) = self.definition(&name) else {
            return;
        };
        if !self.checking.insert(key.clone()) {
            tracing::debug!(service = %name, "the tests take longer than a cycle");
            return;
        }
        let now = Instant::now();
        if self
            .measured
            .is_none_or(|measured| now - measured >= Duration::from_millis(500))
        {
            self.measured = Some(now);
            self.system_facts = Some(SystemFacts::read(self.system_facts.as_ref()));
            let pids: Vec<i32> = self.watched.values().map(|watched| watched.pid).collect();
            self.meter.refresh(pids.into_iter(), now);
        }
        let job = Job {
            definition: Arc::clone(&definition),
            vitals: self
                .watched
                .get(&key)
                .and_then(|watched| self.meter.vitals(watched.pid)),
            system: self.system_facts.unwrap_or_default(),
            memory: self.memories.remove(&key).unwrap_or_default(),
        };
        let report = self.report.clone();
        let (slots, pid) = (
            Arc::clone(&self.check_slots),
            self.watched.get(&key).map(|watched| watched.pid),
        );
        tokio::spawn(async move {
            // The semaphore is never closed.
            let _slot = slots.acquire_owned().await;
            let (findings, facts, memory) = checks::run(job).await;
            drop(report.send(Report::Checked(Box::new(Checked {
                name,
                definition,
                pid,
                findings,
                facts,
                memory,
            }))));
        });
    }

    fn on_checked(&mut self, checked: Checked) {
        let Checked {
            name,
            definition,
            pid,
            findings,
            facts,
            memory,
        } = checked;
        let key = name.to_ascii_lowercase();
        self.checking.remove(&key);
        // What was found about another process or by other rules says nothing about this one.
        let same_rules = self
            .definition(&name)
            .is_some_and(|now| Arc::ptr_eq(&now, &definition) || *now == *definition);
        if !same_rules || self.watched.get(&key).map(|watched| watched.pid) != pid {
            return;
        }
        self.memories.insert(key.clone(), memory);
        self.facts.insert(key, facts);
        for Finding {
            check,
            event,
            outcome,
        } in findings
        {
            self.feed(Input::Checked {
                name: name.clone(),
                check,
                event,
                outcome,
            });
        }
    }

    // What others see.

    fn status(&self) -> JobState {
        if self.options.stopped_file().exists() {
            return JobState::Stopped;
        }
        let mut state = JobState::Running;
        for snapshot in self.machine.snapshots(Duration::ZERO, |_| None) {
            if !snapshot.in_group(VCAP_GROUP) {
                continue;
            }
            match snapshot.state {
                "starting" => return JobState::Starting,
                "running" => {}
                _ => state = JobState::Failing,
            }
        }
        state
    }

    /// After everything that may have changed something: saves, publishes, tells.
    fn settle(&mut self) {
        if let Err(error) = self.persist() {
            tracing::error!(error = %error, source = ?std::error::Error::source(&error), "cannot save the supervisor's state");
        }
        let revision = self.machine.revision;
        if *self.changes.borrow() != revision {
            self.publish_health();
            self.changes.send_replace(revision);
        }
    }

    fn persist(&mut self) -> Result<(), Error> {
        let saved = self.machine.saved();
        if saved != self.saved {
            state::write(&self.options.state_file, &saved)?;
            self.saved = saved;
        }
        Ok(())
    }

    /// Upstream: jobsupervisor/wrapper_job_supervisor.go, HealthRecorder.
    fn publish_health(&mut self) {
        let Some(path) = self.options.health_file.clone() else {
            return;
        };
        let status = self.status().as_str();
        if self.health == Some(status) || path.parent().is_none_or(|parent| !parent.is_dir()) {
            return;
        }
        match state::write_atomically(
            &path,
            format!("{{\"state\":\"{status}\"}}").as_bytes(),
            0o644,
        ) {
            Ok(()) => self.health = Some(status),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot write the health file")
            }
        }
    }

    fn write_stopped_file(&self) -> Result<(), Error> {
        let path = self.options.stopped_file();
        state::write_atomically(&path, b"", 0o600).map_err(Error::file("write", &path))
    }

    fn remove_stopped_file(&self) -> Result<(), Error> {
        let path = self.options.stopped_file();
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::file("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }
}

/// The number at the beginning of a pidfile.
fn read_pid(path: &PathBuf) -> Option<i32> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path)
        .ok()?
        .take(64)
        .read_to_string(&mut text)
        .ok()?;
    let text = text.trim_start();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text[..digits].parse().ok().filter(|pid| *pid > 0)
}
