//! What a task says, in the database besides: other machines that share it have no such files
//! (upstream: task_db_writer.rb).

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::error::Error;
use crate::db::{self, Db, TaskId};

/// How often.
const PAUSE: Duration = Duration::from_secs(1);
/// Most that is taken from one file at once.
const PIECE: u64 = 4 * 1024 * 1024;

/// Copies `event` and `result` of a task's directory to its row while they grow.
pub(super) struct Outputs {
    db: Db,
    id: TaskId,
    event: Growing,
    result: Growing,
}

struct Growing {
    path: PathBuf,
    read: u64,
}

impl Outputs {
    pub(super) fn new(db: Db, id: TaskId, directory: &Path) -> Self {
        let growing = |name: &str| Growing {
            path: directory.join(name),
            read: 0,
        };
        Self {
            db,
            id,
            event: growing("event"),
            result: growing("result"),
        }
    }

    /// Copies until the task has ended and all is there.
    pub(super) async fn follow(mut self, ended: CancellationToken) {
        loop {
            let last = tokio::select! {
                () = ended.cancelled() => true,
                () = tokio::time::sleep(PAUSE) => false,
            };
            loop {
                match self.copy().await {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => {
                        tracing::warn!(task = %self.id, error = %error.chain(), "task output not kept");
                        break;
                    }
                }
            }
            if last {
                return;
            }
        }
    }

    /// Whether there was anything.
    async fn copy(&mut self) -> Result<bool, Error> {
        let (event, event_end) = self.event.next()?;
        let (result, result_end) = self.result.next()?;
        if event.is_empty() && result.is_empty() {
            return Ok(false);
        }
        db::tasks::append_outputs(&self.db, self.id, &event, &result).await?;
        (self.event.read, self.result.read) = (event_end, result_end);
        Ok(true)
    }
}

impl Growing {
    /// What came since, in whole characters, and where it ends.
    fn next(&self) -> std::io::Result<(String, u64)> {
        let mut file = match std::fs::File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok((String::new(), self.read));
            }
            Err(error) => return Err(error),
        };
        file.seek(SeekFrom::Start(self.read))?;
        let mut bytes = Vec::new();
        file.take(PIECE).read_to_end(&mut bytes)?;
        let whole = match std::str::from_utf8(&bytes) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => bytes.len(),
        };
        let text = String::from_utf8_lossy(&bytes[..whole]).replace('\0', "\u{fffd}");
        Ok((text, self.read + whole as u64))
    }
}
