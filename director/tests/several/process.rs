//! A process of the director that runs tasks, as the operator starts it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bosh_protocol::AgentId;
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use crate::agents::list;
use crate::{Fixture, database};

/// `bosh-director worker`, killed when dropped.
pub(crate) struct Worker {
    child: Child,
    pub(crate) log: PathBuf,
}

impl Worker {
    /// With the director.yml of a fixture, under a name of its own. `elsewhere` gives it another directory, as on another
    /// machine.
    pub(crate) fn start(fixture: &Path, name: &str, elsewhere: Option<&Path>) -> Self {
        let text = std::fs::read_to_string(fixture.join("director.json")).unwrap();
        let mut config: Value = serde_json::from_str(&text).unwrap();
        config["db"] = json!({
            "adapter": "postgres", "user": "postgres", "database": "postgres",
            "host": database::socket(), "connection_options": { "max_connections": 8 },
        });
        config["workers"] = json!(2);
        config["uuid"] = json!("2b7e7d0e-0000-4000-8000-000000000000");
        config["agent"] = json!({ "agent_wait_timeout": 10 });
        config["encryption_key_path"] = json!(fixture.join("encryption.key"));
        if let Some(directory) = elsewhere {
            config["dir"] = json!(directory);
        }
        let file = fixture.join(format!("{name}.yml"));
        std::fs::write(&file, config.to_string()).unwrap();
        let log = fixture.join(format!("{name}.log"));
        let output = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_bosh-director"))
            .arg("worker")
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .unwrap();
        Self { child, log }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// As `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// As `kill` does; whether it ended well.
    pub(crate) fn stop(&mut self) -> bool {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.pid()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        self.child.wait().unwrap().success()
    }

    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Admits the agents of all VMs to the message bus, as `bosh-director nats-sync` does beside such processes.
pub(crate) fn admit(fixture: &Fixture) -> AbortOnDropHandle<()> {
    let (users, vms) = (
        fixture.director.nats_users.clone(),
        fixture.path().join("vms"),
    );
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut admitted = BTreeSet::new();
        loop {
            for id in list(&vms) {
                if admitted.insert(id.clone()) {
                    users.admit(&AgentId::new(id)).await;
                }
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }))
}
