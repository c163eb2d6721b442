//! What others see of the supervisor, and what it writes to files.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bosh_protocol::JobState;

use super::service::Service;
use crate::supervisor::handle::{Error, Overview, VCAP_GROUP};
use crate::supervisor::monitrc::Kind;
use crate::supervisor::service::{Saved, Snapshot};
use crate::supervisor::state;

impl Service {
    pub(super) fn snapshots(&self) -> Vec<Snapshot> {
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
            if snapshot.definition.kind == Kind::System {
                snapshot.facts.system = self.system_facts;
            }
        }
        snapshots
    }

    pub(super) fn overview(&self) -> Overview {
        Overview {
            id: std::fs::read_to_string("/etc/machine-id")
                .map(|id| id.trim().to_owned())
                .unwrap_or_default(),
            incarnation: self.incarnation,
            uptime: self.epoch.elapsed(),
            cycle: self.cycle,
            address: self.address.clone(),
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

    pub(super) fn status(&self) -> JobState {
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
    pub(super) fn settle(&mut self) {
        if let Err(error) = self.persist() {
            tracing::error!(error = %error, source = ?std::error::Error::source(&error), "cannot save the supervisor's state");
        }
        let revision = self.machine.revision;
        if *self.changes.borrow() != revision {
            self.publish_health();
            self.changes.send_replace(revision);
        }
    }

    pub(super) fn persist(&mut self) -> Result<(), Error> {
        // Whatever is saved changes with the revision; most of what happens changes nothing.
        if self.saved_at == Some(self.machine.revision) {
            return Ok(());
        }
        let saved = self.machine.saved();
        if saved != self.saved {
            // What is under way does not matter to a machine that starts anew; who is looked after does.
            let flags = |all: &BTreeMap<String, Saved>| -> Vec<(String, bool)> {
                let flag = |(name, saved): (&String, &Saved)| (name.clone(), saved.monitored);
                all.iter().map(flag).collect()
            };
            let sync = flags(&saved) != flags(&self.saved);
            state::write(&self.options.state_file, &saved, sync)?;
            self.saved = saved;
        }
        self.saved_at = Some(self.machine.revision);
        Ok(())
    }

    /// Upstream: jobsupervisor/wrapper_job_supervisor.go, HealthRecorder.
    pub(super) fn publish_health(&mut self) {
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

    pub(super) fn write_stopped_file(&self) -> Result<(), Error> {
        let path = self.options.stopped_file();
        state::write_atomically(&path, b"", 0o600).map_err(Error::file("write", &path))
    }

    pub(super) fn remove_stopped_file(&self) -> Result<(), Error> {
        let path = self.options.stopped_file();
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::file("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }
}
