//! The director's temporary directory: what a process that was killed left there goes when the next one starts.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::db::{self, Db};

/// Held as long as a process uses the directory.
#[derive(Debug)]
pub(crate) struct InUse {
    _lock: File,
}

/// Says that this process uses `directory`, after clearing it if no other one does. What tasks in the queue wait for
/// stays.
///
/// # Errors
/// The directory cannot be read or written, or the database fails.
pub(crate) async fn clear(directory: &Path, db: &Db) -> anyhow::Result<InUse> {
    let lock = File::create(directory.join("in-use"))?;
    if lock.try_lock().is_ok() {
        let waiting = db::tasks::bound_jobs(db).await?;
        let needed = |name: &str| waiting.iter().any(|(_, _, handler)| handler.contains(name));
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name == "in-use" || needed(&name) {
                continue;
            }
            tracing::info!(path = %path.display(), "left by a process that was killed; removed");
            let removed = if path.is_dir() {
                std::fs::remove_dir_all(&path)
            } else {
                std::fs::remove_file(&path)
            };
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
    }
    // From now on together with others.
    lock.lock_shared()?;
    Ok(InUse { _lock: lock })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_what_nobody_needs_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let db = Db::sqlite(&directory.path().join("d.db")).await.unwrap();
        let tmp = directory.path().join("tmp");
        std::fs::create_dir_all(tmp.join("task-1/deep")).unwrap();
        for name in ["upload-1", "upload-2"] {
            std::fs::write(tmp.join(name), "archive").unwrap();
        }
        let new = db::tasks::NewTask {
            handler: "{\"source\":\"/tmp/upload-2\"}".to_owned(),
            queue: "normal@here".to_owned(),
            ..db::tasks::NewTask::default()
        };
        db::tasks::create(&db, new).await.unwrap();
        let names = || {
            let mut names: Vec<_> = std::fs::read_dir(&tmp)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        let first = clear(&tmp, &db).await.unwrap();
        assert_eq!(names(), ["in-use", "upload-2"]);
        std::fs::write(tmp.join("upload-3"), "archive").unwrap();
        // Another process beside it takes nothing away.
        let second = clear(&tmp, &db).await.unwrap();
        assert_eq!(names(), ["in-use", "upload-2", "upload-3"]);
        drop((first, second));
        clear(&tmp, &db).await.unwrap();
        assert_eq!(names(), ["in-use", "upload-2"]);
    }
}
