//! Running a package's `packaging` script. Upstream: agent/compiler/concrete_compiler_unix.go, agent/cmdrunner.

use crate::platform::{Error as FileError, files};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use std::{
    fs,
    io::{Read, Seek, SeekFrom},
    os::unix::{fs::OpenOptionsExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::Stdio,
};

/// How much of each output an error shows. Upstream: app/app.go.
const SHOWN: u64 = 10 * 1024;

/// How a script ended if not well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It exited with another status than 0. The words are upstream's: people search task logs for them.
    #[error(
        "Command exited with {code}; {}: {}, {}: {}",
        title(.stdout, "stdout"), .stdout.text, title(.stderr, "stderr"), .stderr.text
    )]
    Exited {
        /// The exit status; -1 if a signal ended it.
        code: i32,
        /// The end of its output.
        stdout: Tail,
        /// The end of its complaints: every line it ran, for it runs with `-x`.
        stderr: Tail,
    },
    /// It could not be started.
    #[error("starting bash")]
    Start(#[source] std::io::Error),
    /// Its log files.
    #[error(transparent)]
    Log(#[from] FileError),
}

/// The end of an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    /// What is left of it.
    pub text: String,
    /// Whether there was more.
    pub truncated: bool,
}

fn title(tail: &Tail, name: &'static str) -> String {
    if tail.truncated {
        format!("Truncated {name}")
    } else {
        format!("{}{}", name[..1].to_uppercase(), &name[1..])
    }
}

/// A script to run.
#[derive(Debug, Clone)]
pub struct Script<'a> {
    /// The directory it is in and runs in: `BOSH_COMPILE_TARGET`.
    pub source: &'a Path,
    /// Where it puts its result: `BOSH_INSTALL_TARGET`.
    pub install: &'a Path,
    /// `BOSH_PACKAGE_NAME`
    pub name: &'a str,
    /// `BOSH_PACKAGE_VERSION`
    pub version: &'a str,
    /// Temporary files: `TMPDIR`.
    pub tmp: &'a Path,
    /// Its output is kept here, in `packaging.stdout.log` and `packaging.stderr.log`.
    pub logs: &'a Path,
}

/// Runs `packaging` to its end. Dropping the future kills it and all it has started.
pub async fn run(script: &Script<'_>) -> Result<(), Error> {
    files::remove(script.logs)?;
    files::mkdir(script.logs, 0o750)?;
    let (out_path, err_path) = (
        script.logs.join("packaging.stdout.log"),
        script.logs.join("packaging.stderr.log"),
    );
    let (mut stdout, mut stderr) = (open(&out_path)?, open(&err_path)?);
    let duplicate = |file: &fs::File, path: &PathBuf| {
        file.try_clone()
            .map_err(|e| FileError::file("opening", path, e))
    };

    let mut command = tokio::process::Command::new("bash");
    command
        .args(["-x", "packaging"])
        .current_dir(script.source)
        .env_clear()
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .env("HOME", "/root")
        .env("TMPDIR", script.tmp)
        .env("BOSH_COMPILE_TARGET", script.source)
        .env("BOSH_INSTALL_TARGET", script.install)
        .env("BOSH_PACKAGE_NAME", script.name)
        .env("BOSH_PACKAGE_VERSION", script.version)
        .stdin(Stdio::null())
        .stdout(duplicate(&stdout, &out_path)?)
        .stderr(duplicate(&stderr, &err_path)?)
        .process_group(0);
    let mut child = command.spawn().map_err(Error::Start)?;
    drop(command);
    let group = Group(
        child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .map(Pid::from_raw),
    );
    let status = child.wait().await.map_err(Error::Start)?;
    group.forget();
    if status.success() {
        return Ok(());
    }
    if let Some(signal) = status.signal() {
        tracing::warn!(
            package = script.name,
            signal,
            "a packaging script was ended by a signal"
        );
    }
    let stdout = tail(&mut stdout).map_err(|e| FileError::file("reading", &out_path, e))?;
    let stderr = tail(&mut stderr).map_err(|e| FileError::file("reading", &err_path, e))?;
    Err(Error::Exited {
        code: status.code().unwrap_or(-1),
        stdout,
        stderr,
    })
}

/// Kills the script's process group unless told that the script has ended.
struct Group(Option<Pid>);

impl Group {
    fn forget(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // Gone already is fine.
            let _ = killpg(pid, Signal::SIGKILL);
        }
    }
}

fn open(path: &Path) -> Result<fs::File, FileError> {
    let mut options = fs::OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o640);
    options
        .open(path)
        .map_err(|e| FileError::file("opening", path, e))
}

/// The end of a file, starting with a whole line if that does not cost more than a quarter of it.
fn tail(file: &mut fs::File) -> std::io::Result<Tail> {
    let size = file.metadata()?.len();
    let truncated = size > SHOWN;
    file.seek(SeekFrom::Start(size.saturating_sub(SHOWN)))?;
    let mut bytes = Vec::new();
    file.take(SHOWN).read_to_end(&mut bytes)?;
    if truncated {
        let quarter = bytes.len() / 4;
        let start = match bytes.iter().position(|byte| *byte == b'\n') {
            Some(newline) if newline <= quarter => newline + 1,
            // In the middle of a long line: at least not in the middle of a character.
            _ => bytes
                .iter()
                .take(4)
                .position(|byte| byte & 0xc0 != 0x80)
                .unwrap_or(0),
        };
        bytes.drain(..start);
    }
    Ok(Tail {
        text: String::from_utf8_lossy(&bytes).into_owned(),
        truncated,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    struct Place(tempfile::TempDir);

    impl Place {
        fn new(script: &str) -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir(dir.path().join("src")).unwrap();
            fs::write(dir.path().join("src/packaging"), script).unwrap();
            Self(dir)
        }

        async fn run(&self) -> Result<(), Error> {
            let root = self.0.path();
            let (source, install, logs) =
                (root.join("src"), root.join("install"), root.join("logs"));
            run(&Script {
                source: &source,
                install: &install,
                name: "pkg",
                version: "1.2",
                tmp: root,
                logs: &logs,
            })
            .await
        }

        fn read(&self, name: &str) -> String {
            fs::read_to_string(self.0.path().join(name)).unwrap_or_default()
        }
    }

    #[tokio::test]
    async fn the_environment_is_upstreams_and_nothing_else() {
        // `make bench` and the like would leak through otherwise.
        let place = Place::new("env | sort > ../env; pwd > ../pwd; echo done");
        place.run().await.unwrap();
        let root = place.0.path().canonicalize().unwrap();
        let names: Vec<String> = place
            .read("env")
            .lines()
            .filter_map(|l| Some(l.split_once('=')?.0.to_owned()))
            .collect();
        let expected = [
            "BOSH_COMPILE_TARGET",
            "BOSH_INSTALL_TARGET",
            "BOSH_PACKAGE_NAME",
            "BOSH_PACKAGE_VERSION",
            "HOME",
            "PATH",
            "PWD",
            "SHLVL",
            "TMPDIR",
            "_",
        ];
        assert_eq!(names, expected);
        assert!(
            place
                .read("env")
                .contains("BOSH_PACKAGE_NAME=pkg\nBOSH_PACKAGE_VERSION=1.2\n")
        );
        assert_eq!(
            Path::new(place.read("pwd").trim()).canonicalize().unwrap(),
            root.join("src")
        );
        assert_eq!(place.read("logs/packaging.stdout.log"), "done\n");
        assert!(
            place
                .read("logs/packaging.stderr.log")
                .contains("+ echo done"),
            "runs with -x"
        );
    }

    #[tokio::test]
    async fn a_failure_shows_the_end_of_both_outputs() {
        let place = Place::new("echo hello; exit 7");
        let text = place.run().await.unwrap_err().to_string();
        assert_eq!(
            text,
            "Command exited with 7; Stdout: hello\n, Stderr: + echo hello\n+ exit 7\n"
        );

        let place = Place::new("set +x; for i in $(seq 1 5000); do echo line $i; done; exit 1");
        let text = place.run().await.unwrap_err().to_string();
        let shown = text.split_once("Truncated stdout: ").unwrap().1;
        assert!(
            shown.starts_with("line "),
            "a whole line: {:?}",
            &shown[..20]
        );
        assert!(shown.contains("line 5000\n") && text.len() < 12 * 1024);
    }

    #[tokio::test]
    async fn cancelling_kills_everything_it_started() {
        let place = Place::new("sleep 600 & echo $! > ../child; echo $$ > ../self; wait");
        let deadline = Instant::now() + Duration::from_secs(10);
        {
            let running = place.run();
            tokio::pin!(running);
            while place.read("self").trim().is_empty() {
                assert!(Instant::now() < deadline, "the script did not start");
                tokio::select! {
                    ended = &mut running => panic!("ended early: {ended:?}"),
                    () = tokio::time::sleep(Duration::from_millis(5)) => {}
                }
            }
        }
        let child: i32 = place.read("child").trim().parse().unwrap();
        // Killed, and a zombie at most: whoever is its parent now reaps it.
        let state = || fs::read_to_string(format!("/proc/{child}/stat")).ok();
        while state().is_some_and(|stat| !stat.contains(") Z")) {
            assert!(Instant::now() < deadline, "the child survived");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
