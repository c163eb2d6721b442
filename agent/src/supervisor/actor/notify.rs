//! systemd's notify socket for services with a watchdog: `READY=1`, `WATCHDOG=1|trigger`, `WATCHDOG_USEC=`.
//!
//! Each service has a socket of its own, so that nobody needs to be asked who speaks. It survives the supervisor as a file, and
//! the next one listens on it again: who speaks in between is not heard, and is not harmed.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixDatagram;
use tokio::task::JoinHandle;

use super::service::{Report, Service};
use crate::supervisor::handle::Error;
use crate::supervisor::service::Notice;

/// No message of the protocol is longer.
const LONGEST: usize = 4096;
/// Between two messages: whoever speaks more often has to wait.
const PAUSE: Duration = Duration::from_millis(5);

/// Listens until it is dropped.
#[derive(Debug)]
pub(super) struct Listener {
    path: PathBuf,
    task: JoinHandle<()>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Service {
    /// The socket of a service, which is listened to from now on.
    pub(super) fn notify_socket(&mut self, name: &str) -> Result<PathBuf, Error> {
        let key = name.to_ascii_lowercase();
        if let Some(listener) = self.listeners.get(&key)
            && listener.path.exists()
        {
            return Ok(listener.path.clone());
        }
        let dir = self.options.notify_dir.clone();
        std::fs::create_dir_all(&dir).map_err(Error::file("create", &dir))?;
        let path = dir.join(format!("{}.sock", key.replace('/', "%2f")));
        let socket = bind(&path).map_err(Error::file("listen on", &path))?;
        let (report, name) = (self.report.clone(), name.to_owned());
        let task = tokio::spawn(async move {
            let mut buffer = vec![0; LONGEST];
            while let Ok(length) = socket.recv(&mut buffer).await {
                for notice in notices(&String::from_utf8_lossy(&buffer[..length])) {
                    let name = name.clone();
                    drop(report.send(Report::Notified { name, notice }));
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        self.listeners.insert(
            key,
            Listener {
                path: path.clone(),
                task,
            },
        );
        Ok(path)
    }

    /// Listens to those that may speak, and to no others.
    pub(super) fn listen(&mut self) {
        let mut wanted = Vec::new();
        for name in self.names() {
            if self
                .definition(&name)
                .is_some_and(|definition| definition.watchdog.is_some())
            {
                wanted.push(name);
            }
        }
        self.listeners.retain(|key, listener| {
            let keep = wanted.iter().any(|name| name.eq_ignore_ascii_case(key));
            if !keep {
                // Somebody may have removed it already.
                let _ = std::fs::remove_file(&listener.path);
            }
            keep
        });
        for name in wanted {
            if let Err(error) = self.notify_socket(&name) {
                let source = std::error::Error::source(&error);
                tracing::error!(service = %name, %error, ?source, "cannot listen to a service");
            }
        }
    }
}

/// Jobs run as any user.
fn bind(path: &Path) -> std::io::Result<UnixDatagram> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = UnixDatagram::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
    Ok(socket)
}

/// What a message says, as far as it is of interest.
fn notices(message: &str) -> Vec<Notice> {
    let notice = |line: &str| match line.split_once('=')? {
        ("READY", "1") => Some(Notice::Ready),
        ("WATCHDOG", "1") => Some(Notice::Alive),
        ("WATCHDOG", "trigger") => Some(Notice::Trigger),
        ("WATCHDOG_USEC", text) => {
            let interval = Duration::from_micros(text.parse().ok().filter(|usec| *usec > 0)?);
            Some(Notice::Interval(interval))
        }
        _ => None,
    };
    message.lines().filter_map(notice).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Notice, notices};

    #[test]
    fn messages_are_understood() {
        assert_eq!(
            notices("READY=1\nSTATUS=fine\nWATCHDOG=1\nMAINPID=5"),
            [Notice::Ready, Notice::Alive]
        );
        assert_eq!(
            notices("WATCHDOG_USEC=1500000"),
            [Notice::Interval(Duration::from_millis(1500))]
        );
        assert_eq!(notices("WATCHDOG=trigger\n"), [Notice::Trigger]);
        assert!(notices("WATCHDOG_USEC=0\nREADY=0\nWATCHDOG_USEC=x\nnonsense\0\n=").is_empty());
    }
}
