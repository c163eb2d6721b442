//! What a service leaves behind when it is stopped.

use std::collections::HashSet;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::service::{Report, Service};
use crate::supervisor::process::{Cgroups, Table, is_alive, marked, signal_all};
use crate::supervisor::service::Input;

/// After SIGTERM, before SIGKILL.
const GRACE: Duration = Duration::from_secs(2);
/// After SIGKILL; what is not gone then cannot be killed.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);

/// How leftovers of a service are known.
struct Traces {
    cgroups: Cgroups,
    service: String,
    mark: String,
    /// They belong to other services, whoever started them.
    spared: HashSet<i32>,
}

impl Traces {
    fn leftovers(&self) -> Vec<i32> {
        let mut pids = if self.cgroups.exist() {
            self.cgroups.members(&self.service)
        } else {
            marked(&self.mark).into_iter().map(|(pid, _)| pid).collect()
        };
        pids.retain(|pid| !self.spared.contains(pid) && is_alive(*pid));
        pids
    }

    async fn signal(&self, signal: Signal, limit: Duration) -> bool {
        let deadline = tokio::time::Instant::now() + limit;
        let mut told = HashSet::new();
        loop {
            let pids = self.leftovers();
            if pids.is_empty() {
                return true;
            }
            if tokio::time::Instant::now() >= deadline {
                return false;
            }
            // Each is told once, unless it is to die.
            let new = pids
                .iter()
                .filter(|pid| told.insert(**pid) || signal == Signal::SIGKILL);
            signal_all(new, signal);
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl Service {
    fn traces(&self, name: &str) -> Traces {
        let key = name.to_ascii_lowercase();
        let table = Table::read();
        let others = self.watched.iter().filter(|(other, _)| **other != key);
        let spared = others
            .flat_map(|(_, watched)| table.family(watched.pid))
            .map(|process| process.pid)
            .collect();
        Traces {
            cgroups: self.cgroups.clone(),
            service: name.to_owned(),
            mark: format!("{}{name}|start|", self.mark_beginning()),
            spared,
        }
    }

    /// Ends what is left of a service; at once if that is nothing.
    pub(super) fn sweep(&mut self, name: String) -> Option<Input> {
        if self.cgroups.exist() && self.cgroups.members(&name).is_empty() {
            self.cgroups.remove(&name);
            return Some(Input::Swept { name });
        }
        let traces = self.traces(&name);
        let leftovers = traces.leftovers();
        if leftovers.is_empty() {
            return Some(Input::Swept { name });
        }
        tracing::info!(service = %name, ?leftovers, "ending what a service left behind");
        let report = self.report.clone();
        tokio::spawn(async move {
            if !traces.signal(Signal::SIGTERM, GRACE).await
                && !traces.signal(Signal::SIGKILL, PATIENCE).await
            {
                tracing::error!(service = %name, pids = ?traces.leftovers(), "what a service left behind cannot be killed");
            }
            traces.cgroups.remove(&name);
            drop(report.send(Report::Swept { name }));
        });
        None
    }

    /// Kills whatever is left of a service, now.
    pub(super) fn kill_leftovers(&self, name: &str) {
        if self.cgroups.exist() {
            signal_all(self.traces(name).leftovers().iter(), Signal::SIGKILL);
        }
    }
}
