//! The `monit` command: what operators type on a VM, what upstream's agent runs, and a supervisor without an agent.
//!
//! - `arguments.rs`: monit's options, in any order;
//! - `client.rs`: `summary`, `status`, `start`, `stop`, ... over the HTTP interface;
//! - `daemon.rs`: `monit -I`: supervises by itself, for images with upstream's agent.

mod arguments;
mod client;
mod daemon;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use self::arguments::Arguments;
use super::api::VERSION;
use super::monitrc;

const HELP: &str = "\
Usage: monit [options] {arguments}
Options:
 -c file       Use this control file
 -d n          Run as a daemon with cycles of n seconds
 -g name       Start, stop, restart, monitor and unmonitor the services of this group
 -l logfile    Write the log to this file
 -p pidfile    Write the daemon's pid to this file
 -s statefile  Keep the state in this file
 -I            Stay in the foreground
 -t            Check the control file and exit
 -v            Log more
 -V            Print the version
 -h            Print this text
Arguments:
 start|stop|restart|monitor|unmonitor all|NAME   Do that to all services or to one
 summary       Print a line per service
 status        Print everything about each service
 validate      Run all checks now
 reload        Read the control files again
 quit          End the daemon
 procmatch PATTERN   Print the processes whose command line matches
";

/// Where stemcells and distributions keep the control file.
const CONTROL_FILES: &[&str] = &[
    "/var/vcap/bosh/etc/monitrc",
    "/etc/monit/monitrc",
    "/etc/monitrc",
    "/usr/local/etc/monitrc",
];

/// Runs the command with these arguments, without its name. Status 0, or 1 with a line on standard error.
pub fn main(arguments: impl IntoIterator<Item = String>) -> ExitCode {
    let arguments = match Arguments::parse(arguments) {
        Ok(arguments) => arguments,
        Err(problem) => return fail(&format!("{problem}  (-h will show valid options)")),
    };
    if arguments.help {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    if arguments.version {
        println!(
            "This is Monit version {VERSION} (bosh-agent {})",
            env!("CARGO_PKG_VERSION")
        );
        return ExitCode::SUCCESS;
    }
    let control_files = match control_files(&arguments) {
        Ok(control_files) => control_files,
        Err(problem) => return fail(&problem),
    };
    if arguments.test {
        return test(&control_files);
    }
    let result = match arguments.words.first().map(String::as_str) {
        None => daemon::run(&arguments, control_files),
        Some("procmatch") => return procmatch(arguments.words.get(1)),
        Some(_) => client::run(&arguments, &control_files),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => fail(&problem),
    }
}

fn fail(problem: &str) -> ExitCode {
    eprintln!("monit: {problem}");
    ExitCode::FAILURE
}

/// The control file asked for, else the first that exists, else those of a BOSH VM: the agent's own supervisor needs none.
fn control_files(arguments: &Arguments) -> Result<Vec<PathBuf>, String> {
    if let Some(file) = &arguments.control_file {
        return match std::fs::metadata(file) {
            Ok(_) => Ok(vec![file.clone()]),
            Err(error) => Err(format!(
                "cannot read the control file {}: {error}",
                file.display()
            )),
        };
    }
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".monitrc"));
    let found = home
        .into_iter()
        .chain(CONTROL_FILES.iter().map(PathBuf::from))
        .find(|path| path.is_file());
    Ok(found.map_or_else(
        || super::Options::new(Path::new("/var/vcap")).control_files,
        |path| vec![path],
    ))
}

fn test(control_files: &[PathBuf]) -> ExitCode {
    let result = monitrc::load(control_files);
    for warning in &result.warnings {
        eprintln!("{warning}");
    }
    for error in &result.errors {
        match std::error::Error::source(error) {
            Some(source) => eprintln!("{error}: {source}"),
            None => eprintln!("{error}"),
        }
    }
    if result.errors.is_empty() {
        println!("Control file syntax OK");
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn procmatch(pattern: Option<&String>) -> ExitCode {
    let Some(pattern) = pattern else {
        return fail("procmatch needs a pattern");
    };
    let found = match super::process::matching(pattern) {
        Ok(found) => found,
        Err(problem) => return fail(&problem),
    };
    println!(
        "{} of the processes match \"{pattern}\"; the oldest is taken",
        found.len()
    );
    for (pid, line) in found {
        println!("{pid:>8}  {line}");
    }
    ExitCode::SUCCESS
}
