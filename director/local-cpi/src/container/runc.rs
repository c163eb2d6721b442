//! The container runtime.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::Error;
use crate::command::{self, Command};
use crate::config::Config;
use crate::error::Context;
use crate::ids::VmCid;
use crate::store::Store;

/// How long process 1 may take to become the stemcell's program.
const PATIENCE: Duration = Duration::from_secs(20);

/// `runc` with its state directory.
pub(crate) struct Runc {
    program: PathBuf,
    state: PathBuf,
}

/// What `runc state` says.
#[derive(Debug, Deserialize)]
struct State {
    pid: i32,
    status: String,
}

impl Runc {
    pub(crate) fn new(config: &Config, store: &Store) -> Self {
        Self {
            program: config.runc.clone(),
            state: store.runc(),
        }
    }

    fn command(&self) -> Command {
        Command::new(&self.program).arg("--root").arg(&self.state)
    }

    /// Makes the container; its process 1 waits for [`Runc::start`]. Returns the process id.
    pub(super) fn create(&self, cid: &VmCid, bundle: &Path, console: &Path) -> Result<i32, Error> {
        let log = bundle.join("runc.log");
        let pid_file = bundle.join("pid");
        let console = open_console(console)?;
        let created = Command::new(&self.program)
            .arg("--root")
            .arg(&self.state)
            .arg("--log")
            .arg(&log)
            .arg("create")
            .arg("--bundle")
            .arg(bundle)
            .arg("--pid-file")
            .arg(&pid_file)
            .arg(cid.as_str())
            .console(console)
            .run();
        if let Err(error) = created {
            return Err(with_log(error, &log).into());
        }
        let text = std::fs::read_to_string(&pid_file)
            .context(|| format!("could not read '{}'", pid_file.display()))?;
        text.trim().parse().map_err(|_| Error::Argument {
            what: pid_file.display().to_string(),
            reason: format!("expected a process id, got '{text}'"),
        })
    }

    /// Lets process 1 go, and waits until it is the program of the stemcell. The runtime itself does not see it fail.
    pub(super) fn start(&self, cid: &VmCid, pid: i32, console: &Path) -> Result<(), Error> {
        let exe = format!("/proc/{pid}/exe");
        let runtime = std::fs::read_link(&exe).ok();
        self.command().arg("start").arg(cid.as_str()).run()?;
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            match std::fs::read_link(&exe) {
                Ok(program) if Some(&program) != runtime.as_ref() => return Ok(()),
                Ok(_) => std::thread::sleep(Duration::from_millis(1)),
                // Gone, or a zombie.
                Err(_) => break,
            }
        }
        Err(Error::NotStarted {
            said: std::fs::read_to_string(console)
                .unwrap_or_default()
                .trim()
                .to_owned(),
        })
    }

    /// The process id of a running VM's process 1.
    pub(crate) fn pid(&self, cid: &VmCid) -> Result<Option<i32>, Error> {
        if !self.knows(cid) {
            return Ok(None);
        }
        let out = match self.command().arg("state").arg(cid.as_str()).run() {
            Ok(out) => out,
            // It may have gone between the look and the question.
            Err(command::Error::Failed { .. }) if !self.knows(cid) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let state: State = serde_json::from_str(&out).map_err(|source| Error::Record {
            path: format!("output of 'runc state {cid}'"),
            source,
        })?;
        Ok((state.status != "stopped" && state.pid > 0).then_some(state.pid))
    }

    /// Kills everything in the VM and forgets it. Nothing to do if it is not known.
    pub(super) fn delete(&self, cid: &VmCid) -> Result<(), Error> {
        if !self.knows(cid) {
            return Ok(());
        }
        match self
            .command()
            .args(["delete", "--force"])
            .arg(cid.as_str())
            .run()
        {
            Ok(_) => Ok(()),
            Err(command::Error::Failed { .. }) if !self.knows(cid) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn knows(&self, cid: &VmCid) -> bool {
        self.state.join(cid.as_str()).exists()
    }
}

/// The VM's own output. It must not hold a pipe of ours, or the director would wait for the VM to end.
fn open_console(path: &Path) -> Result<File, Error> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .context(|| format!("could not open '{}'", path.display()))
}

/// The runtime writes its complaint to its log, because its output is the VM's.
fn with_log(error: command::Error, log: &Path) -> command::Error {
    match error {
        command::Error::Failed { line, status, said } => command::Error::Failed {
            line,
            status,
            said: std::fs::read_to_string(log)
                .map(|text| text.trim().to_owned())
                .unwrap_or(said),
        },
        other => other,
    }
}
