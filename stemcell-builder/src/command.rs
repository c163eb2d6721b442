//! The one way this crate runs other programs: logged, with what they said in the error.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, BufReader};
use std::process::{ExitStatus, Stdio};

/// How many lines of a failed program's output are shown.
const SHOWN: usize = 25;

/// A program that could not be run or failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such program.
    #[error("'{program}' is not installed: try 'apt-get install {package}'")]
    Missing {
        /// Its name.
        program: String,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// It could not be started.
    #[error("could not run '{line}'")]
    Run {
        /// The command line.
        line: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It ended with something else than 0.
    #[error("'{line}' failed with {status}:\n{said}")]
    Failed {
        /// The command line.
        line: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of its output.
        said: String,
    },
}

/// A command to be run.
pub(crate) struct Command {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(String, String)>,
}

impl Command {
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
        }
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    pub(crate) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    pub(crate) fn env(mut self, key: &str, value: String) -> Self {
        self.env.push((key.to_owned(), value));
        self
    }

    /// Runs it to its end and returns its output. There is no deadline: downloads take as long as they take, and a person
    /// watches.
    pub(crate) fn run(&self) -> Result<String, Error> {
        self.watch(|_| {})
    }

    /// As [`Command::run`], with each line of its output and complaints as it comes.
    pub(crate) fn watch(&self, mut seen: impl FnMut(&str)) -> Result<String, Error> {
        let line = self.line();
        tracing::debug!(command = %line, "running");
        let failed = |source| Error::Run {
            line: line.clone(),
            source,
        };
        let (reader, writer) = io::pipe().map_err(failed)?;
        let spawned = std::process::Command::new(&self.program)
            .args(&self.args)
            .envs(self.env.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(writer.try_clone().map_err(failed)?)
            .stderr(writer)
            .spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let program = self.program.to_string_lossy().into_owned();
                let package = package_of(&program);
                return Err(Error::Missing { program, package });
            }
            Err(error) => return Err(failed(error)),
        };
        let mut output = String::new();
        let mut lines = BufReader::new(reader);
        let mut bytes = Vec::new();
        while lines.read_until(b'\n', &mut bytes).map_err(failed)? > 0 {
            let text = String::from_utf8_lossy(&bytes);
            seen(text.trim_end());
            output.push_str(&text);
            bytes.clear();
        }
        let status = child.wait().map_err(failed)?;
        if status.success() {
            return Ok(output);
        }
        let shown: Vec<&str> = output.lines().collect();
        Err(Error::Failed {
            line,
            status,
            said: shown[shown.len().saturating_sub(SHOWN)..].join("\n"),
        })
    }

    fn line(&self) -> String {
        let mut line = self.program.to_string_lossy().into_owned();
        for arg in &self.args {
            line.push(' ');
            line.push_str(&arg.to_string_lossy());
        }
        line
    }
}

fn package_of(program: &str) -> &'static str {
    match program {
        "mmdebstrap" => "mmdebstrap",
        "dnf" => "dnf",
        "apt-config" => "apt",
        _ => "coreutils",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_seen_as_they_come_and_kept() {
        let mut seen = Vec::new();
        let out = Command::new("sh")
            .args(["-c", "echo a; echo b >&2"])
            .watch(|line| seen.push(line.to_owned()))
            .unwrap();
        assert_eq!(out, "a\nb\n");
        assert_eq!(seen, ["a", "b"]);
    }

    #[test]
    fn failures_show_the_end_of_the_output() {
        let error = Command::new("sh")
            .args(["-c", "seq 100; exit 4"])
            .run()
            .unwrap_err()
            .to_string();
        assert!(
            error.ends_with("99\n100") && !error.contains("\n70\n"),
            "{error}"
        );
    }

    #[test]
    fn a_missing_program_says_what_to_install() {
        let error = Command::new("mmdebstrap-none").run().unwrap_err();
        assert!(matches!(error, Error::Missing { .. }));
        assert_eq!(package_of("mmdebstrap"), "mmdebstrap");
    }
}
