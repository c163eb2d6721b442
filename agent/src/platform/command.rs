//! The one way to run a program: logged, with a deadline, its output kept for the error.

use std::{
    ffi::{OsStr, OsString},
    fmt, io,
    path::Path,
    process::Stdio,
    time::Duration,
};
use tokio::io::AsyncWriteExt;

/// Longer than any mkfs of a large disk takes.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// How much of the output an error shows.
const SHOWN: usize = 2048;

/// Why a program did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It could not be started.
    #[error("running '{program}'")]
    Start {
        /// Its name.
        program: String,
        /// The cause; `NotFound` if it is not installed.
        #[source]
        source: io::Error,
    },
    /// It ended with another status than 0.
    #[error("'{program}' failed with {status}{}", show(.stdout, .stderr))]
    Failed {
        /// Its name.
        program: String,
        /// `exit status: 1`, `signal: 9 (SIGKILL)`.
        status: std::process::ExitStatus,
        /// What it printed.
        stdout: String,
        /// What it complained.
        stderr: String,
    },
    /// It did not end in time and was killed.
    #[error("'{program}' did not end within {timeout:?}")]
    Timeout {
        /// Its name.
        program: String,
        /// The time it had.
        timeout: Duration,
    },
}

impl Error {
    /// Whether the program is not there at all.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Start { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// The exit code, if it ended by itself.
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Failed { status, .. } => status.code(),
            _ => None,
        }
    }

    /// Everything it printed, standard output first.
    pub fn output(&self) -> String {
        match self {
            Self::Failed { stdout, stderr, .. } => format!("{stdout}{stderr}"),
            _ => String::new(),
        }
    }
}

fn show(stdout: &str, stderr: &str) -> String {
    let tail = |text: &str| {
        let text = text.trim();
        let start = text.len().saturating_sub(SHOWN);
        let start = (start..=text.len())
            .find(|i| text.is_char_boundary(*i))
            .unwrap_or(0);
        text[start..].to_owned()
    };
    match (tail(stdout), tail(stderr)) {
        (out, err) if out.is_empty() && err.is_empty() => String::new(),
        (out, err) if err.is_empty() => format!(": {out}"),
        (out, err) if out.is_empty() => format!(": {err}"),
        (out, err) => format!(": {err}: {out}"),
    }
}

/// A program and its arguments.
pub struct Command {
    program: OsString,
    args: Vec<OsString>,
    secret: bool,
    input: Option<Vec<u8>>,
    timeout: Duration,
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line())
    }
}

/// What a program that succeeded printed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Command {
    /// A program, looked for in PATH and the sbin directories.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            secret: false,
            input: None,
            timeout: DEFAULT_TIMEOUT,
        }
    }

    /// Adds one argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds several arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Keeps the arguments out of the log.
    pub fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// Writes this to its standard input.
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = Some(input.into());
        self
    }

    /// Kills it after this time instead of half an hour.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    fn name(&self) -> String {
        Path::new(&self.program)
            .file_name()
            .unwrap_or(&self.program)
            .to_string_lossy()
            .into_owned()
    }

    fn line(&self) -> String {
        let mut line = self.program.to_string_lossy().into_owned();
        if self.secret && !self.args.is_empty() {
            line.push_str(" <redacted>");
        } else {
            for arg in &self.args {
                line.push(' ');
                line.push_str(&arg.to_string_lossy());
            }
        }
        line
    }

    /// Runs it to its end. Dropping the future kills it.
    pub async fn run(self) -> Result<Output, Error> {
        let (line, program, timeout) = (self.line(), self.name(), self.timeout);
        let started = std::time::Instant::now();
        let result = match tokio::time::timeout(timeout, self.run_to_end(&program)).await {
            Ok(result) => result,
            Err(_) => Err(Error::Timeout { program, timeout }),
        };
        let took = started.elapsed().as_millis() as u64;
        match &result {
            Ok(_) => tracing::debug!(command = %line, took_ms = took, "ran a program"),
            Err(error) => {
                tracing::debug!(command = %line, took_ms = took, %error, "a program failed")
            }
        }
        result
    }

    async fn run_to_end(self, program: &str) -> Result<Output, Error> {
        let start = |source| Error::Start {
            program: program.to_owned(),
            source,
        };
        let mut child = tokio::process::Command::new(&self.program)
            .args(&self.args)
            .env("PATH", search_path())
            .env("LC_ALL", "C")
            .stdin(if self.input.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(start)?;
        if let (Some(input), Some(mut stdin)) = (self.input, child.stdin.take()) {
            // A program that does not read its input says why by its exit status.
            let _ = stdin.write_all(&input).await;
        }
        let output = child.wait_with_output().await.map_err(start)?;
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            return Ok(Output { stdout, stderr });
        }
        Err(Error::Failed {
            program: program.to_owned(),
            status: output.status,
            stdout,
            stderr,
        })
    }

    /// Whether there is such a program.
    pub fn exists(program: &str) -> bool {
        let search = search_path();
        std::env::split_paths(&search).any(|dir| dir.join(program).is_file())
    }
}

/// PATH with the directories of system programs, which a service manager may leave out.
fn search_path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    if !path.is_empty() {
        path.push(":");
    }
    path.push("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/var/vcap/bosh/bin");
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn output_of_a_failed_program_is_in_its_error() {
        let error = Command::new("sh")
            .args(["-c", "echo out; echo bad >&2; exit 3"])
            .run()
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "'sh' failed with exit status: 3: bad: out"
        );
        assert_eq!(error.code(), Some(3));
    }

    #[tokio::test]
    async fn a_missing_program_is_told_from_a_failing_one() {
        let error = Command::new("no-such-program").run().await.unwrap_err();
        assert!(error.is_missing(), "{error}");
        assert!(Command::exists("sh") && !Command::exists("no-such-program"));
    }

    #[tokio::test]
    async fn input_is_read_and_secrets_are_not_shown() {
        let command = Command::new("cat").input("hello");
        assert_eq!(command.run().await.unwrap().stdout, "hello");
        let shown = format!(
            "{:?}",
            Command::new("usermod").args(["-p", "hash"]).secret()
        );
        assert_eq!(shown, "usermod <redacted>");
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_killed() {
        let error = Command::new("sleep")
            .arg("600")
            .timeout(Duration::from_millis(50))
            .run()
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Timeout { .. }), "{error}");
    }
}
