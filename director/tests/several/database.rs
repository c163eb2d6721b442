//! Always PostgreSQL: one server for all tests of this process.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bosh_director::db::Db;

use crate::postgres::Postgres;

static SERVER: OnceLock<Postgres> = OnceLock::new();

/// The directory of the server's socket.
pub(crate) fn socket() -> PathBuf {
    let server = SERVER.get_or_init(Postgres::start);
    server.directory.path().to_owned()
}

/// The database; there is one, so each test is to have a process of its own.
pub(crate) async fn open(_: &Path) -> Db {
    SERVER.get_or_init(Postgres::start).connect().await
}

/// Ends the server with the test: what is static is never dropped.
pub(crate) struct Guard;

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(server) = SERVER.get() else { return };
        let pid = nix::unistd::Pid::from_raw(i32::try_from(server.server.id()).unwrap());
        // SIGINT is its fast shutdown: sessions are ended.
        let _gone = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT);
        let _gone = nix::sys::wait::waitpid(pid, None);
        let _gone = std::fs::remove_dir_all(server.directory.path());
    }
}
