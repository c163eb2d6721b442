//! Files, directories, fifos and filesystems. All of this blocks.

use std::fs::Metadata;
use std::io::{self, BufRead, Read, Seek};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::unistd::{Group, User};
use sha1::{Digest, Sha1};

use super::facts::{FileFacts, FilesystemFacts, filesystem};
use super::regex::Regex;
use crate::supervisor::monitrc::{Account, Check, Condition, HashKind, Kind, Operator, Verb};
use crate::supervisor::service::{Event, Outcome};

/// What must be remembered of a file from cycle to cycle.
#[derive(Clone, Debug, Default)]
pub(super) struct FileMemory {
    timestamp: Option<u64>,
    size: Option<u64>,
    checksum: Option<String>,
    flags: Option<u64>,
    /// Where reading goes on, of which inode.
    position: Option<(u64, u64)>,
}

/// Lines of a file are looked at up to this length.
const LONGEST_LINE: u64 = 64 << 10;
/// And so many bytes of new lines in a cycle.
const MOST_NEW: u64 = 16 << 20;

/// A result and the number of the test it belongs to, `None` for existence.
type Results = Vec<(Option<usize>, Event, Outcome)>;

fn ok(message: impl Into<String>) -> Outcome {
    Outcome::Succeeded(message.into())
}

fn failed(message: impl Into<String>) -> Outcome {
    Outcome::Failed(message.into())
}

/// One result about existence and type first; the other tests only make sense if that is good.
pub(super) fn look(
    kind: &Kind,
    checks: &[Check],
    memory: &mut FileMemory,
) -> (Results, Option<FileFacts>, Option<FilesystemFacts>) {
    let (Kind::File(path) | Kind::Directory(path) | Kind::Fifo(path) | Kind::Filesystem(path)) =
        kind
    else {
        return (Vec::new(), None, None);
    };
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let what = kind.title().to_lowercase();
            return (
                vec![(
                    None,
                    Event::Missing,
                    failed(format!("{what} doesn't exist")),
                )],
                None,
                None,
            );
        }
        Err(error) => {
            let message = format!("cannot look at {}: {error}", path.display());
            return (vec![(None, Event::Data, failed(message))], None, None);
        }
    };
    let mut results = Vec::new();
    let (right, wanted) = match kind {
        Kind::File(_) => (
            metadata.is_file() || metadata.file_type().is_socket(),
            "a regular file",
        ),
        Kind::Directory(_) => (metadata.is_dir(), "a directory"),
        Kind::Fifo(_) => (metadata.file_type().is_fifo(), "a fifo"),
        _ => (true, ""),
    };
    if !right {
        results.push((
            None,
            Event::Invalid,
            failed(format!("{} is not {wanted}", path.display())),
        ));
        return (results, None, None);
    }
    let mut facts = FileFacts {
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        timestamp: u64::try_from(metadata.mtime().max(metadata.ctime())).unwrap_or_default(),
        size: matches!(kind, Kind::File(_)).then_some(metadata.size()),
        checksum: None,
    };
    let space = if matches!(kind, Kind::Filesystem(_)) {
        match mount_point(path, &metadata).and_then(|mount| filesystem(&mount)) {
            Ok(space) => Some(space),
            Err(error) => {
                let message = format!("cannot measure the filesystem {}: {error}", path.display());
                results.push((None, Event::Data, failed(message)));
                return (results, Some(facts), None);
            }
        }
    } else {
        None
    };
    results.push((
        None,
        Event::Missing,
        ok(format!("{} exists", kind.title().to_lowercase())),
    ));
    for (number, check) in checks.iter().enumerate() {
        let tested = match &space {
            Some(space) => test_space(&check.condition, space, memory),
            None => None,
        };
        let tested =
            tested.or_else(|| test_file(path, &check.condition, &mut facts, &metadata, memory));
        if let Some((event, outcome)) = tested {
            results.push((Some(number), event, outcome));
        }
    }
    test_content(path, checks, &metadata, memory, &mut results);
    (results, Some(facts), space)
}

/// The mount point of a block device, or the path itself.
fn mount_point(path: &Path, metadata: &Metadata) -> io::Result<PathBuf> {
    if !metadata.file_type().is_block_device() {
        return Ok(path.to_owned());
    }
    let real = std::fs::canonicalize(path)?;
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    for line in mounts.lines() {
        let mut words = line.split(' ');
        if let (Some(device), Some(mount)) = (words.next(), words.next())
            && std::fs::canonicalize(device).is_ok_and(|device| device == real)
        {
            return Ok(PathBuf::from(mount.replace("\\040", " ")));
        }
    }
    Err(io::Error::new(
        io::ErrorKind::NotFound,
        "the device is not mounted",
    ))
}

fn test_space(
    condition: &Condition,
    space: &FilesystemFacts,
    memory: &mut FileMemory,
) -> Option<(Event, Outcome)> {
    let limit = |name: &str, value: f64, operator: Operator, limit: f64, unit: &str| {
        let over = operator.holds(value, limit);
        let verb = if over {
            "matches resource limit"
        } else {
            "is within the limit"
        };
        let sign = operator.symbol();
        let message =
            format!("{name} usage {value:.1}{unit} {verb} [{name} usage{sign}{limit:.1}{unit}]");
        (
            Event::Resource,
            if over { failed(message) } else { ok(message) },
        )
    };
    match condition {
        Condition::Space(operator, number, Verb::Percent) => Some(limit(
            "space",
            space.space_percent(),
            *operator,
            *number,
            "%",
        )),
        Condition::Space(operator, number, Verb::Absolute) => Some(limit(
            "space",
            space.used_bytes() as f64,
            *operator,
            *number,
            "B",
        )),
        Condition::Inodes(operator, number, Verb::Percent) => Some(limit(
            "inode",
            space.inode_percent(),
            *operator,
            *number as f64,
            "%",
        )),
        Condition::Inodes(operator, number, Verb::Absolute) => Some(limit(
            "inode",
            space.inodes_used() as f64,
            *operator,
            *number as f64,
            "",
        )),
        Condition::FlagsChanged => {
            let before = memory.flags.replace(space.flags);
            Some((
                Event::Flags,
                changed("filesystem flags", before, space.flags, |flags| {
                    format!("{flags:#x}")
                }),
            ))
        }
        _ => None,
    }
}

fn changed<T: PartialEq>(
    name: &str,
    before: Option<T>,
    now: T,
    show: impl Fn(&T) -> String,
) -> Outcome {
    match before {
        Some(before) if before != now => Outcome::Changed(format!(
            "{name} changed from {} to {}",
            show(&before),
            show(&now)
        )),
        _ => Outcome::NotChanged,
    }
}

fn test_file(
    path: &Path,
    condition: &Condition,
    facts: &mut FileFacts,
    metadata: &Metadata,
    memory: &mut FileMemory,
) -> Option<(Event, Outcome)> {
    Some(match condition {
        Condition::Permission(wanted) => (
            Event::Permission,
            if facts.mode == *wanted {
                ok(format!("permission is {wanted:04o}"))
            } else {
                failed(format!(
                    "permission of {} is {:04o} instead of {wanted:04o}",
                    path.display(),
                    facts.mode
                ))
            },
        ),
        Condition::Uid(account) => (
            Event::Uid,
            owner("uid", account, uid_of(account), facts.uid),
        ),
        Condition::Gid(account) => (
            Event::Gid,
            owner("gid", account, gid_of(account), facts.gid),
        ),
        Condition::Age(operator, limit) => {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs();
            let age = now.saturating_sub(facts.timestamp);
            let message = format!(
                "age of {} is {age} s, tested against {}{} s",
                path.display(),
                operator.symbol(),
                limit.as_secs()
            );
            (
                Event::Timestamp,
                if operator.holds(age, limit.as_secs()) {
                    failed(message)
                } else {
                    ok(message)
                },
            )
        }
        Condition::TimestampChanged => {
            let before = memory.timestamp.replace(facts.timestamp);
            (
                Event::Timestamp,
                changed("timestamp", before, facts.timestamp, u64::to_string),
            )
        }
        Condition::Size(operator, limit) => {
            let size = metadata.size();
            let message = format!(
                "size of {} is {size} B, tested against {}{limit} B",
                path.display(),
                operator.symbol()
            );
            (
                Event::Size,
                if operator.holds(size, *limit) {
                    failed(message)
                } else {
                    ok(message)
                },
            )
        }
        Condition::SizeChanged => {
            let before = memory.size.replace(metadata.size());
            (
                Event::Size,
                changed("size", before, metadata.size(), u64::to_string),
            )
        }
        Condition::Checksum(kind, expected) => match checksum(path, *kind) {
            Err(error) => (
                Event::Data,
                failed(format!("cannot sum up {}: {error}", path.display())),
            ),
            Ok(sum) => {
                facts.checksum = Some(sum.clone());
                let wanted = expected
                    .clone()
                    .or_else(|| memory.checksum.clone())
                    .unwrap_or_else(|| sum.clone());
                memory.checksum.get_or_insert_with(|| sum.clone());
                if wanted == sum {
                    (
                        Event::Checksum,
                        ok(format!("checksum of {} is as expected", path.display())),
                    )
                } else {
                    (
                        Event::Checksum,
                        failed(format!(
                            "checksum of {} is {sum} instead of {wanted}",
                            path.display()
                        )),
                    )
                }
            }
        },
        Condition::ChecksumChanged(kind) => match checksum(path, *kind) {
            Err(error) => (
                Event::Data,
                failed(format!("cannot sum up {}: {error}", path.display())),
            ),
            Ok(sum) => {
                facts.checksum = Some(sum.clone());
                let before = memory.checksum.replace(sum.clone());
                (
                    Event::Checksum,
                    changed("checksum", before, sum, String::clone),
                )
            }
        },
        _ => return None,
    })
}

fn uid_of(account: &Account) -> Option<u32> {
    match account {
        Account::Id(id) => Some(*id),
        Account::Name(name) => User::from_name(name)
            .ok()
            .flatten()
            .map(|user| user.uid.as_raw()),
    }
}

fn gid_of(account: &Account) -> Option<u32> {
    match account {
        Account::Id(id) => Some(*id),
        Account::Name(name) => Group::from_name(name)
            .ok()
            .flatten()
            .map(|group| group.gid.as_raw()),
    }
}

fn owner(what: &str, account: &Account, wanted: Option<u32>, is: u32) -> Outcome {
    match wanted {
        Some(wanted) if wanted == is => ok(format!("{what} is {is}")),
        Some(wanted) => failed(format!("{what} is {is} instead of {wanted}")),
        None => failed(format!("{what} is {is}; there is no account {account:?}")),
    }
}

fn checksum(path: &Path, kind: HashKind) -> io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let mut buffer = vec![0; 64 << 10];
    let (mut sha1_sum, mut md5_sum) = (Sha1::new(), md5::Md5::new());
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        if kind == HashKind::Md5 {
            md5_sum.update(&buffer[..length]);
        } else {
            sha1_sum.update(&buffer[..length]);
        }
    }
    let bytes: Vec<u8> = if kind == HashKind::Md5 {
        md5_sum.finalize().to_vec()
    } else {
        sha1_sum.finalize().to_vec()
    };
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// `match` and `ignore match` on the lines that are new since the last cycle, from the end of the file at first.
fn test_content(
    path: &Path,
    checks: &[Check],
    metadata: &Metadata,
    memory: &mut FileMemory,
    results: &mut Results,
) {
    let mut tests = Vec::new();
    let mut ignored = Vec::new();
    for (number, check) in checks.iter().enumerate() {
        let Condition::Match {
            not,
            patterns,
            ignore,
        } = &check.condition
        else {
            continue;
        };
        let mut compiled = Vec::new();
        for pattern in patterns {
            match Regex::new(pattern) {
                Ok(regex) => compiled.push(regex),
                Err(problem) => results.push((Some(number), Event::Data, failed(problem))),
            }
        }
        if *ignore {
            ignored.push((*not, compiled));
        } else {
            tests.push((number, *not, compiled));
        }
    }
    if tests.is_empty() {
        return;
    }
    let (inode, size) = (metadata.ino(), metadata.size());
    // A new file is read from its beginning, the one that was there at first from its end.
    let start = match memory.position {
        Some((own, at)) if own == inode && at <= size => at,
        Some(_) => 0,
        None => size,
    };
    let mut lines = Vec::new();
    let end = match new_lines(path, start, &mut lines) {
        Ok(end) => end,
        Err(error) => {
            for (number, ..) in &tests {
                results.push((
                    Some(*number),
                    Event::Data,
                    failed(format!("cannot read {}: {error}", path.display())),
                ));
            }
            return;
        }
    };
    memory.position = Some((inode, end));
    let hit = |not: bool, patterns: &[Regex], line: &[u8]| {
        patterns.iter().any(|regex| regex.is_match(line)) != not
    };
    lines.retain(|line| {
        !ignored
            .iter()
            .any(|(not, patterns)| hit(*not, patterns, line))
    });
    for (number, not, patterns) in &tests {
        let outcome = match lines.iter().find(|line| hit(*not, patterns, line)) {
            Some(line) => {
                let line: String = String::from_utf8_lossy(line).chars().take(200).collect();
                Outcome::Changed(format!(
                    "a new line of {} {}matches: {line}",
                    path.display(),
                    if *not { "mis" } else { "" }
                ))
            }
            None => Outcome::NotChanged,
        };
        results.push((Some(*number), Event::Content, outcome));
    }
}

/// Whole lines only; returns where to go on.
fn new_lines(path: &Path, start: u64, lines: &mut Vec<Vec<u8>>) -> io::Result<u64> {
    let mut file = std::fs::File::open(path)?;
    file.seek(io::SeekFrom::Start(start))?;
    let mut reader = io::BufReader::new(file.take(MOST_NEW));
    let mut end = start;
    loop {
        let mut line = Vec::new();
        let length = reader
            .by_ref()
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line)?;
        let whole = line.ends_with(b"\n");
        if length == 0 || (!whole && u64::try_from(length).unwrap_or(u64::MAX) < LONGEST_LINE) {
            return Ok(end);
        }
        end += u64::try_from(length).unwrap_or_default();
        if whole {
            line.pop();
        }
        lines.push(line);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::{FileMemory, look};
    use crate::supervisor::monitrc::{self, Kind};
    use crate::supervisor::service::{Event, Outcome};

    fn file_service(path: &std::path::Path, tests: &str) -> monitrc::Service {
        let dir = tempfile::tempdir().unwrap();
        let rc = dir.path().join("rc");
        std::fs::write(
            &rc,
            format!("check file f with path {}\n{tests}", path.display()),
        )
        .unwrap();
        let result = monitrc::load(&[rc]);
        assert!(result.errors.is_empty(), "{:?}", result.errors);
        result.config.services.into_iter().next().unwrap()
    }

    fn outcomes(service: &monitrc::Service, memory: &mut FileMemory) -> Vec<(Event, Outcome)> {
        let (results, ..) = look(&service.kind, &service.checks, memory);
        results
            .into_iter()
            .filter(|(number, ..)| number.is_some())
            .map(|(_, event, outcome)| (event, outcome))
            .collect()
    }

    #[test]
    fn a_missing_file_is_missing_and_nothing_else() {
        let kind = Kind::File("/nonexistent/file".into());
        let (results, facts, _) = look(&kind, &[], &mut FileMemory::default());
        assert_eq!(
            results,
            [(
                None,
                Event::Missing,
                Outcome::Failed("file doesn't exist".to_owned())
            )]
        );
        assert_eq!(facts, None);
        let (results, ..) = look(
            &Kind::Directory("/proc/version".into()),
            &[],
            &mut FileMemory::default(),
        );
        assert!(matches!(
            &results[..],
            [(None, Event::Invalid, Outcome::Failed(_))]
        ));
    }

    #[test]
    fn tests_of_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hello\n").unwrap();
        let service = file_service(
            file.path(),
            "if failed permission 0644 then alert\nif failed uid 0 then alert\nif size > 3 b then alert\n\
             if failed checksum expect b1946ac92492d2347c6235b4d2611184 then alert\n\
             if failed sha1 checksum expect f572d396fae9206628714fb2ce00f72e94f2258f then alert\nif timestamp > 1 day then alert",
        );
        let got = outcomes(&service, &mut FileMemory::default());
        let failed: Vec<bool> = got
            .iter()
            .map(|(_, outcome)| matches!(outcome, Outcome::Failed(_)))
            .collect();
        assert_eq!(failed, [true, false, true, false, false, false], "{got:?}");
    }

    #[test]
    fn changes_are_reported_once() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let service = file_service(
            file.path(),
            "if changed size then alert\nif changed checksum then alert",
        );
        let mut memory = FileMemory::default();
        assert!(
            outcomes(&service, &mut memory)
                .iter()
                .all(|(_, outcome)| *outcome == Outcome::NotChanged)
        );
        file.write_all(b"more").unwrap();
        assert!(
            outcomes(&service, &mut memory)
                .iter()
                .all(|(_, outcome)| matches!(outcome, Outcome::Changed(_)))
        );
        assert!(
            outcomes(&service, &mut memory)
                .iter()
                .all(|(_, outcome)| *outcome == Outcome::NotChanged)
        );
    }

    #[test]
    fn new_lines_are_matched_also_after_a_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "error: old\n").unwrap();
        let service = file_service(
            &path,
            "ignore match \"harmless\"\nif match \"error\" then alert",
        );
        let mut memory = FileMemory::default();
        let mut next = || outcomes(&service, &mut memory).pop().unwrap().1;
        assert_eq!(next(), Outcome::NotChanged);
        let append = |text: &str| {
            let mut file = std::fs::OpenOptions::new()
                .append(true)
                .create(true)
                .open(&path)
                .unwrap();
            file.write_all(text.as_bytes()).unwrap();
        };
        append("harmless error\nerr");
        assert_eq!(next(), Outcome::NotChanged);
        append("or: new\n");
        assert!(matches!(next(), Outcome::Changed(message) if message.ends_with("error: new")));
        assert_eq!(next(), Outcome::NotChanged);
        std::fs::rename(&path, dir.path().join("log.1")).unwrap();
        append("error: rotated\n");
        assert!(matches!(next(), Outcome::Changed(_)));
    }
}
