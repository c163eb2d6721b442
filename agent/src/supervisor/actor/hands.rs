//! Programs and processes: run, look for, watch and kill.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use tokio::time::Instant;

use super::service::{FIRST_LOOK, Report, Service, Started, Watched};
use crate::supervisor::handle::MonitAlert;
use crate::supervisor::monitrc::{self, Find, Kind};
use crate::supervisor::process::{
    MARK, Table, Watch, is_alive, marked, matching, spawn, ticks_now, ticks_per_second,
};
use crate::supervisor::service::{Effect, Input, Run, RunId};

const RFC1123: &[BorrowedFormatItem<'_>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] [offset_hour sign:mandatory][offset_minute]"
);

impl Service {
    pub(super) fn raise_load_error(&self, error: &monitrc::Error) {
        let error = std::error::Error::source(error)
            .map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
        tracing::error!(error, "a control file is not valid");
        self.raise("monit", "Data access error", "alert", error);
    }

    pub(super) fn perform(&mut self, effects: Vec<Effect>) {
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
                        let spared = self.watched.values().map(|watched| watched.pid).collect();
                        Table::kill_run(started.session, started.at, &started.mark, &spared);
                        if matches!(started.what, Run::Start) {
                            self.kill_leftovers(&name);
                        }
                    }
                    None
                }
                Effect::KillProcess { name, pid } => {
                    tracing::warn!(service = %name, pid, "the process did not stop and is killed with its descendants");
                    Table::kill_family(pid);
                    self.kill_leftovers(&name);
                    None
                }
                Effect::Sweep { name } => self.sweep(name),
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

    pub(super) fn raise(&self, service: &str, event: &str, action: &str, description: String) {
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

    pub(super) fn run_program(
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
            && self.watch(&name, pid)
        {
            // It came up behind our back: never two copies.
            return Some(Input::Found {
                name,
                pid: Some(pid),
            });
        }
        let mut environment = self.environment(&name, &what);
        let mut door = None;
        if matches!(what, Run::Start | Run::Restart) {
            door = self.cgroups.door(&name);
            if let Some(watchdog) = &definition.watchdog {
                let socket = match self.notify_socket(&name) {
                    Ok(socket) => socket,
                    Err(error) => {
                        let problem = error.to_string();
                        return Some(Input::NotRun { name, run, problem });
                    }
                };
                environment.push(("NOTIFY_SOCKET", socket.display().to_string()));
                if let Some(interval) = watchdog.interval {
                    environment.push(("WATCHDOG_USEC", interval.as_micros().to_string()));
                }
            }
        }
        let mark = self.mark(&name, &what);
        environment.push((MARK, mark.clone()));
        self.started
            .retain(|_, started| !(started.ended && started.service == name));
        let (at, since) = (ticks_now(), Some(SystemTime::now()));
        match spawn(program, &environment, door) {
            Ok(running) => {
                tracing::info!(service = %name, what = ?what, program = %program.argv[0], pid = running.pid, "started a program");
                self.started.insert(
                    run,
                    Started {
                        since,
                        session: running.pid,
                        at: at.saturating_sub(1),
                        what: what.clone(),
                        mark,
                        service: name.clone(),
                        ended: false,
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
                if matches!(what, Run::Start | Run::Restart) {
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

    /// `STATE_FILE|SERVICE|start|UNIQUE`: found again by an agent that comes after this one.
    fn mark(&self, name: &str, what: &Run) -> String {
        let what = match what {
            Run::Start => "start",
            Run::Stop => "stop",
            Run::Restart => "restart",
            Run::Exec { .. } => "exec",
        };
        format!(
            "{}{name}|{what}|{}",
            self.mark_beginning(),
            uuid::Uuid::new_v4().simple()
        )
    }

    pub(super) fn mark_beginning(&self) -> String {
        format!("{}|", self.options.state_file.display())
    }

    /// Start and stop programs that an earlier agent left running are waited for, so that nothing is started twice.
    pub(super) fn adopt_programs(&mut self) {
        let beginning = self.mark_beginning();
        let table = Table::read();
        let mut programs: BTreeMap<String, Vec<i32>> = BTreeMap::new();
        for (pid, mark) in marked(&beginning) {
            programs.entry(mark).or_default().push(pid);
        }
        for (mark, pids) in programs {
            let mut words = mark[beginning.len()..].split('|');
            let (Some(name), Some(what)) = (words.next(), words.next()) else {
                continue;
            };
            let what = match what {
                "start" => Run::Start,
                "stop" => Run::Stop,
                "restart" => Run::Restart,
                _ => continue,
            };
            let Some(definition) = self.definition(name) else {
                continue;
            };
            if what == Run::Start && self.find(&definition).is_some() {
                continue;
            }
            let processes = pids.iter().filter_map(|pid| table.get(*pid));
            let Some(oldest) = processes
                .filter(|process| !process.is_zombie())
                .min_by_key(|process| process.started)
            else {
                continue;
            };
            let ticks = ticks_now().saturating_sub(oldest.started);
            let elapsed = Duration::from_secs_f64(ticks as f64 / ticks_per_second() as f64);
            let now = self.now();
            let Some(run) = self.machine.adopt(now, name, &what, elapsed) else {
                continue;
            };
            tracing::info!(service = name, what = ?what, pid = oldest.pid, "waiting for a program of an earlier agent");
            let (session, at, pid, name) =
                (oldest.session, oldest.started, oldest.pid, name.to_owned());
            let started = Started {
                since: None,
                session,
                at,
                what,
                mark: mark.clone(),
                service: name.clone(),
                ended: false,
            };
            self.started.insert(run, started);
            let report = self.report.clone();
            tokio::spawn(async move {
                if let Ok(Some(watch)) = Watch::open(pid) {
                    watch.ended().await;
                }
                // It is not our child, so that nobody knows how it ended.
                let how = "ended".to_owned();
                drop(report.send(Report::Ended {
                    name,
                    run,
                    well: true,
                    how,
                }));
            });
        }
    }

    /// monit's variables.
    pub(super) fn environment(&self, name: &str, what: &Run) -> Vec<(&'static str, String)> {
        let (event, description) = match what {
            Run::Start => ("Started", "Started".to_owned()),
            Run::Stop => ("Stopped", "Stopped".to_owned()),
            Run::Restart => ("Restarted", "Restarted".to_owned()),
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

    /// Looks for processes that are not known to be alive.
    pub(super) fn look(&mut self, names: &[String]) {
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
            if known.is_none() && found.is_none() {
                self.bury_stillborn(name, &definition);
            }
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

    /// A process that was started just now, wrote its pidfile and is dead already is not waited for any longer than one whose
    /// start program failed.
    fn bury_stillborn(&mut self, name: &str, definition: &monitrc::Service) {
        let Kind::Process(Find::PidFile(path)) = &definition.kind else {
            return;
        };
        let run = self.started.iter().find_map(|(run, started)| {
            let ended = started.ended && started.what != Run::Stop && started.service == name;
            let since = started.since.filter(|_| ended)?;
            let written = std::fs::metadata(path).and_then(|metadata| metadata.modified());
            let fresh = written.is_ok_and(|at| at >= since);
            (fresh && read_pid(path).is_some()).then_some(*run)
        });
        if let Some(run) = run {
            let (name, well) = (name.to_owned(), false);
            self.feed(Input::Ended { name, run, well });
        }
    }

    pub(super) fn seen(&mut self, name: &str, pid: Option<i32>) {
        let pid = pid.filter(|pid| self.watch(name, *pid));
        self.feed(Input::Found {
            name: name.to_owned(),
            pid,
        });
    }

    /// Reports the death of a process; false if it is dead already.
    pub(super) fn watch(&mut self, name: &str, pid: i32) -> bool {
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

    pub(super) fn find(&self, definition: &monitrc::Service) -> Option<i32> {
        match &definition.kind {
            Kind::Process(Find::PidFile(path)) => read_pid(path).filter(|pid| is_alive(*pid)),
            Kind::Process(Find::Matching(pattern)) => {
                matching(pattern).ok()?.first().map(|(pid, _)| *pid)
            }
            _ => None,
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
