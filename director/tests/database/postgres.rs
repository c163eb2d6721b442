//! A real PostgreSQL for tests.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bosh_director::db::Db;

/// A PostgreSQL server of this test's own, on a socket in a temporary directory.
pub(crate) struct Postgres {
    pub(crate) server: Child,
    pub(crate) directory: tempfile::TempDir,
}

impl Postgres {
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let bin = binaries();
        // It refuses to run as root.
        let owner = nix::unistd::User::from_name("postgres").unwrap();
        if let Some(owner) = &owner {
            nix::unistd::chown(directory.path(), Some(owner.uid), Some(owner.gid)).unwrap();
        }
        let command = |name: &str| {
            let mut command = Command::new(bin.join(name));
            if let (Some(owner), true) = (&owner, nix::unistd::geteuid().is_root()) {
                use std::os::unix::process::CommandExt as _;
                command.uid(owner.uid.as_raw()).gid(owner.gid.as_raw());
            }
            command
                .current_dir(directory.path())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            command
        };
        let data = directory.path().join("data");
        let made = command("initdb")
            .args(["--no-sync", "-U", "postgres", "-A", "trust", "-D"])
            .arg(&data)
            .status()
            .unwrap();
        assert!(made.success(), "initdb: {made}");
        let server = command("postgres")
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(directory.path())
            .args(["-c", "listen_addresses=", "-c", "fsync=off"])
            .spawn()
            .unwrap();
        Self { server, directory }
    }

    pub(crate) async fn connect(&self) -> Db {
        let socket = self
            .directory
            .path()
            .display()
            .to_string()
            .replace('/', "%2F");
        let url = format!("postgres://postgres@localhost/postgres?host={socket}");
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            match Db::postgres(&url, 4).await {
                Ok(db) => return db,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.server.id()).unwrap());
        // SIGINT is its fast shutdown: sessions are ended.
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT);
        let _ = self.server.wait();
    }
}

fn binaries() -> PathBuf {
    let newest = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|bin| bin.join("initdb").exists())
        .max();
    newest.expect("PostgreSQL is not installed (Debian, Ubuntu: apt-get install postgresql)")
}
