//! The one way this crate runs other programs: logged, with a deadline, with their complaint in the error.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a program may take unless told otherwise.
const DEADLINE: Duration = Duration::from_secs(60);
/// How much of what a program said is kept for the error.
const KEPT: usize = 2000;

/// A program that could not be run or failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such program.
    #[error("'{program}' is not installed or not in PATH ({})", std::env::var("PATH").unwrap_or_default())]
    Missing {
        /// Its name.
        program: String,
    },
    /// It could not be started, or talking to it failed.
    #[error("could not run '{line}'")]
    Run {
        /// The command line.
        line: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It ended with something else than 0.
    #[error("'{line}' failed with {status}: {said}")]
    Failed {
        /// The command line.
        line: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of its standard error, or of its output if that is empty.
        said: String,
    },
    /// It was killed at its deadline.
    #[error("'{line}' did not end within {} seconds", after.as_secs())]
    TimedOut {
        /// The command line.
        line: String,
        /// The deadline.
        after: Duration,
    },
}

/// A command to be run.
pub(crate) struct Command {
    program: OsString,
    args: Vec<OsString>,
    input: Option<String>,
    console: Option<File>,
    deadline: Duration,
}

impl Command {
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            input: None,
            console: None,
            deadline: DEADLINE,
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

    /// Text for its standard input.
    pub(crate) fn input(mut self, text: String) -> Self {
        self.input = Some(text);
        self
    }

    /// Sends standard output and error to `file`: whatever the program leaves running must not hold our own.
    pub(crate) fn console(mut self, file: File) -> Self {
        self.console = Some(file);
        self
    }

    pub(crate) fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs it to its end and returns its standard output.
    pub(crate) fn run(mut self) -> Result<String, Error> {
        let line = self.line();
        let started = Instant::now();
        let mut child = self.spawn(&line)?;
        let failed = |source| Error::Run {
            line: line.clone(),
            source,
        };
        let input = self.input.take();
        let stdin = child.stdin.take();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (status, out, err) = std::thread::scope(|scope| {
            if let (Some(mut stdin), Some(input)) = (stdin, input) {
                // A program that ends without reading its input says why by its status.
                scope.spawn(move || stdin.write_all(input.as_bytes()));
            }
            let out = scope.spawn(move || drain(stdout));
            let err = scope.spawn(move || drain(stderr));
            let status = wait(&mut child, self.deadline);
            (status, out.join(), err.join())
        });
        let Some(status) = status.map_err(failed)? else {
            return Err(Error::TimedOut {
                line,
                after: self.deadline,
            });
        };
        let out = out.unwrap_or_default();
        let err = err.unwrap_or_default();
        tracing::debug!(command = %line, %status, ms = started.elapsed().as_millis() as u64, "ran");
        if !status.success() {
            let said = if err.trim().is_empty() { &out } else { &err };
            return Err(Error::Failed {
                line,
                status,
                said: tail(said),
            });
        }
        Ok(out)
    }

    fn spawn(&mut self, line: &str) -> Result<Child, Error> {
        let mut command = std::process::Command::new(&self.program);
        command.args(&self.args);
        command.stdin(if self.input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        });
        let run = |source| Error::Run {
            line: line.to_owned(),
            source,
        };
        match self.console.take() {
            Some(file) => {
                command.stdout(file.try_clone().map_err(run)?);
                command.stderr(file);
            }
            None => {
                command.stdout(Stdio::piped()).stderr(Stdio::piped());
            }
        }
        command.spawn().map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::Missing {
                program: self.program.to_string_lossy().into_owned(),
            },
            _ => run(source),
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

/// None: killed at the deadline.
fn wait(child: &mut Child, deadline: Duration) -> io::Result<Option<ExitStatus>> {
    let until = Instant::now() + deadline;
    let mut pause = Duration::from_micros(200);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= until {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(5));
    }
}

fn drain(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        // What was read before an error is still worth showing.
        let _ = pipe.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn tail(text: &str) -> String {
    let text = text.trim();
    let skip = text.chars().count().saturating_sub(KEPT);
    text.chars().skip(skip).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_goes_in_and_output_comes_back() {
        let out = Command::new("cat").input("hello".into()).run().unwrap();
        assert_eq!(out, "hello");
    }

    #[test]
    fn a_failure_says_what_the_program_said() {
        let error = Command::new("sh")
            .args(["-c", "echo oops >&2; exit 3"])
            .run()
            .unwrap_err();
        let text = error.to_string();
        assert!(text.contains("oops") && text.contains('3'), "{text}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = Command::new("no-such-program-here").run().unwrap_err();
        assert!(
            matches!(error, Error::Missing { ref program } if program == "no-such-program-here")
        );
    }

    #[test]
    fn a_program_that_hangs_is_killed() {
        let error = Command::new("sleep")
            .arg("1000")
            .deadline(Duration::from_millis(50))
            .run()
            .unwrap_err();
        assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    }
}
