//! Whether an SQLite database has changed, told without asking it.
//!
//! In WAL mode every commit, of any process, rewrites the header of the WAL index, which begins the file `<database>-shm`; it has
//! a counter of transactions in it. Two reads of that header that are equal mean that nothing was committed between them.
//! Source: sqlite.org/walformat.html, "The WAL-Index Header". A statement that asks (`pragma data_version`) costs as much as a
//! query, and knows only of other connections.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// The part of the header that is one of its two copies.
const HEADER: usize = 48;

/// A state of the database; equal ones have the same content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version([u8; HEADER]);

/// Where to look.
#[derive(Debug, Clone)]
pub(super) struct Index(PathBuf);

impl Index {
    pub(super) fn of(database: &Path) -> Self {
        let mut path = database.as_os_str().to_owned();
        path.push("-shm");
        Self(path.into())
    }

    /// Opened each time: the file is made anew after the last connection was closed.
    pub(super) fn read(&self) -> Option<Version> {
        let mut header = [0; HEADER];
        File::open(&self.0)
            .and_then(|file| file.read_exact_at(&mut header, 0))
            .ok()?;
        Some(Version(header))
    }
}

#[cfg(test)]
mod tests {
    use crate::db::Connection as _;
    use crate::db::Db;

    #[tokio::test]
    async fn every_commit_changes_it_and_reading_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("director.db");
        let db = Db::sqlite(&path).await.unwrap();
        let other = Db::sqlite(&path).await.unwrap();
        let mut seen = vec![db.version().unwrap()];
        for (n, db) in [&db, &other, &db].into_iter().enumerate() {
            let sql = format!("insert into deployments (name) values ('{n}')");
            db.execute(&sql, vec![]).await.unwrap();
            let new = db.version().unwrap();
            assert!(!seen.contains(&new));
            seen.push(new);
            let found = db.rows("select * from deployments", vec![]).await.unwrap();
            assert_eq!(found.len(), n + 1);
            assert_eq!(db.version().unwrap(), new);
        }
    }

    #[tokio::test]
    async fn what_was_rolled_back_never_was() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::sqlite(&dir.path().join("director.db")).await.unwrap();
        let before = db.version().unwrap();
        let tx = db.begin().await.unwrap();
        tx.execute("insert into deployments (name) values ('a')", vec![])
            .await
            .unwrap();
        assert_eq!(db.version().unwrap(), before);
        tx.rollback().await.unwrap();
        assert_eq!(db.version().unwrap(), before);
    }
}
