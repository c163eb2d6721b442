//! Patterns and `include` to files, files to one configuration, and what can only be checked once all are read.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use nix::unistd::{Group, User};

use super::Error;
use super::model::{Account, Config, Effect, Program, Service};
use super::parse::{Statement, statements};

/// How deep files may include each other.
const DEEPEST: usize = 16;

/// No control file is larger, in bytes.
const LARGEST: u64 = 4 << 20;

/// A configuration, and what is wrong with it. With errors, `config` holds what could still be made out of the rest.
#[derive(Debug, Default)]
pub struct LoadResult {
    /// What was understood.
    pub config: Config,
    /// All problems, in the order of the files.
    pub errors: Vec<Error>,
    /// What is strange but not wrong, a line each.
    pub warnings: Vec<String>,
}

/// Reads the files that match the patterns. A pattern without matches is no error, a missing plain path is. As monit does with
/// `include`, the files of one pattern are read from the last to the first: the agent numbers its jobs accordingly.
pub fn load(patterns: &[PathBuf]) -> LoadResult {
    let mut result = LoadResult::default();
    let mut names = HashMap::new();
    for pattern in patterns {
        for file in expand(pattern).into_iter().rev() {
            read(&file, 0, &mut result, &mut names);
        }
    }
    check_dependencies(&mut result);
    check_accounts(&mut result);
    result
}

/// One text as if it were a control file of that name, with what it includes.
pub fn load_text(file: &Path, text: &str) -> LoadResult {
    let mut result = LoadResult::default();
    take(file, text, 0, &mut result, &mut HashMap::new());
    check_dependencies(&mut result);
    check_accounts(&mut result);
    result
}

/// The text of a regular file that is not larger than any that makes sense.
pub(super) fn text_of(file: &Path) -> std::io::Result<String> {
    use std::io::{Error, Read};
    let metadata = std::fs::metadata(file)?;
    if !metadata.is_file() {
        return Err(Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(file)?
        .take(LARGEST + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(Error::other(format!("it is larger than {LARGEST} bytes")));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn read(file: &Path, depth: usize, result: &mut LoadResult, names: &mut HashMap<String, String>) {
    match text_of(file) {
        Ok(text) => take(file, &text, depth, result, names),
        Err(source) => result.errors.push(Error::Read {
            file: file.to_owned(),
            source,
        }),
    }
}

fn take(
    file: &Path,
    text: &str,
    depth: usize,
    result: &mut LoadResult,
    names: &mut HashMap<String, String>,
) {
    let statements = match statements(file, text, &mut result.warnings) {
        Ok(statements) => statements,
        Err(error) => return result.errors.push(error),
    };
    for statement in statements {
        match statement {
            Statement::Set(apply) => apply(&mut result.config.settings),
            Statement::Include { pattern, line } => {
                if depth == DEEPEST {
                    let problem = format!("includes are nested deeper than {DEEPEST}");
                    result.errors.push(Error::Invalid {
                        file: file.to_owned(),
                        line,
                        problem,
                    });
                    continue;
                }
                let mut files = expand(Path::new(&pattern));
                files.retain(|file| file.is_file());
                if files.is_empty() {
                    let place = file.display();
                    result.warnings.push(format!(
                        "{place}:{line}: Warning: include files not found '{pattern}'"
                    ));
                }
                // Editors leave copies behind.
                files.retain(|file| !file.to_string_lossy().ends_with('~'));
                for included in files.into_iter().rev() {
                    read(&included, depth + 1, result, names);
                }
            }
            Statement::Check(service) => {
                let place = format!(
                    "{}:{}",
                    service.location.file.display(),
                    service.location.line
                );
                if let Some(other) = names.insert(service.name.to_ascii_lowercase(), place) {
                    let problem = format!(
                        "the service '{}' is already defined at {other}",
                        service.name
                    );
                    result.errors.push(invalid(&service, problem));
                } else {
                    result.config.services.push(*service);
                }
            }
        }
    }
}

fn invalid(service: &Service, problem: String) -> Error {
    Error::Invalid {
        file: service.location.file.clone(),
        line: service.location.line,
        problem,
    }
}

/// Dependencies must exist and must not go in circles; the services of which that is not true are left out.
fn check_dependencies(result: &mut LoadResult) {
    let services = std::mem::take(&mut result.config.services);
    let places: HashMap<String, usize> = services
        .iter()
        .enumerate()
        .map(|(at, service)| (service.name.to_ascii_lowercase(), at))
        .collect();
    // Whom each waits for that is not taken yet, and who waits for each.
    let mut open = vec![0_usize; services.len()];
    let mut waiting = vec![Vec::new(); services.len()];
    let mut broken = vec![false; services.len()];
    for (at, service) in services.iter().enumerate() {
        for name in &service.depends {
            match places.get(&name.to_ascii_lowercase()) {
                Some(parent) => {
                    open[at] += 1;
                    waiting[*parent].push(at);
                }
                None => broken[at] = true,
            }
        }
    }
    // What depends on something that is left out is left out, too.
    let mut next: Vec<usize> = (0..services.len()).filter(|at| broken[*at]).collect();
    while let Some(at) = next.pop() {
        for child in &waiting[at] {
            if !std::mem::replace(&mut broken[*child], true) {
                next.push(*child);
            }
        }
    }
    // What never gets rid of those it waits for is part of a circle or hangs on one.
    let mut good = vec![false; services.len()];
    next = (0..services.len())
        .filter(|at| open[*at] == 0 && !broken[*at])
        .collect();
    while let Some(at) = next.pop() {
        good[at] = true;
        for child in &waiting[at] {
            open[*child] -= 1;
            if open[*child] == 0 && !broken[*child] {
                next.push(*child);
            }
        }
    }
    let mut circular: Vec<Service> = Vec::new();
    for (at, service) in services.into_iter().enumerate() {
        if good[at] {
            result.config.services.push(service);
        } else if broken[at] {
            let missing: Vec<&str> = service
                .depends
                .iter()
                .filter(|name| {
                    places
                        .get(&name.to_ascii_lowercase())
                        .is_none_or(|parent| broken[*parent])
                })
                .map(String::as_str)
                .collect();
            let problem = format!(
                "the service '{}' depends on '{}', which is not defined",
                service.name,
                missing.join("', '")
            );
            result.errors.push(invalid(&service, problem));
        } else {
            circular.push(service);
        }
    }
    if let Some(first) = circular.first() {
        let names: Vec<&str> = circular
            .iter()
            .map(|service| service.name.as_str())
            .collect();
        result.errors.push(invalid(
            first,
            format!("the dependencies of '{}' go in circles", names.join("', '")),
        ));
    }
}

fn check_accounts(result: &mut LoadResult) {
    let mut errors = Vec::new();
    for service in &result.config.services {
        for program in programs(service) {
            if let Some(Account::Name(name)) = &program.uid
                && !matches!(User::from_name(name), Ok(Some(_)))
            {
                errors.push(invalid(service, format!("there is no user '{name}'")));
            }
            if let Some(Account::Name(name)) = &program.gid
                && !matches!(Group::from_name(name), Ok(Some(_)))
            {
                errors.push(invalid(service, format!("there is no group '{name}'")));
            }
        }
    }
    result.errors.extend(errors);
}

fn programs(service: &Service) -> impl Iterator<Item = &Program> {
    let effects = service.checks.iter().flat_map(|check| {
        [
            &check.reaction.failed.effect,
            &check.reaction.recovered.effect,
        ]
    });
    let more = [
        &service.missing.failed.effect,
        &service.missing.recovered.effect,
        &service.pid_changed.effect,
    ];
    let watchdog = service.watchdog.iter().map(|watchdog| &watchdog.effect);
    let limits = service.restart_limits.iter().map(|limit| &limit.effect);
    let execs = effects
        .chain(more)
        .chain(limits)
        .chain(watchdog)
        .filter_map(|effect| match effect {
            Effect::Exec(program) => Some(program),
            _ => None,
        });
    [&service.start, &service.stop, &service.restart]
        .into_iter()
        .flatten()
        .chain(execs)
}

/// The files a pattern stands for, sorted; directories are left out. `*` does not match a leading dot.
pub(super) fn expand(pattern: &Path) -> Vec<PathBuf> {
    let text = pattern.to_string_lossy();
    if !text.contains(['*', '?', '[']) {
        return vec![pattern.to_owned()];
    }
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        let part_text = part.as_os_str().to_string_lossy().into_owned();
        let mut next = Vec::new();
        for base in found {
            if !part_text.contains(['*', '?', '[']) {
                next.push(base.join(part.as_os_str()));
                continue;
            }
            let directory = if base.as_os_str().is_empty() {
                Path::new(".")
            } else {
                &base
            };
            let Ok(entries) = std::fs::read_dir(directory) else {
                continue;
            };
            let glob: Vec<char> = part_text.chars().collect();
            for entry in entries.flatten() {
                let name = entry.file_name();
                let text: Vec<char> = name.to_string_lossy().chars().collect();
                if (text.first() != Some(&'.') || glob.first() == Some(&'.'))
                    && matches(&glob, &text)
                {
                    next.push(base.join(name));
                }
            }
        }
        found = next;
    }
    found.retain(|path| path.is_file());
    found.sort();
    found
}

fn matches(glob: &[char], text: &[char]) -> bool {
    match glob.split_first() {
        None => text.is_empty(),
        Some((&'*', rest)) => (0..=text.len()).any(|skip| matches(rest, &text[skip..])),
        Some((&'?', rest)) => !text.is_empty() && matches(rest, &text[1..]),
        Some((&'[', rest)) => {
            let Some(end) = rest.iter().skip(1).position(|c| *c == ']').map(|at| at + 1) else {
                return text.first() == Some(&'[') && matches(rest, &text[1..]);
            };
            let Some((&c, text)) = text.split_first() else {
                return false;
            };
            let (set, negated) = match rest[..end].split_first() {
                Some((&('!' | '^'), set)) => (set, true),
                _ => (&rest[..end], false),
            };
            let mut hit = false;
            let mut at = 0;
            while at < set.len() {
                if at + 2 < set.len() && set[at + 1] == '-' {
                    hit |= (set[at]..=set[at + 2]).contains(&c);
                    at += 3;
                } else {
                    hit |= set[at] == c;
                    at += 1;
                }
            }
            hit != negated && matches(&rest[end + 1..], text)
        }
        Some((c, rest)) => text.first() == Some(c) && matches(rest, &text[1..]),
    }
}
