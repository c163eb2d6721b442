//! Doing things inside a running VM: a thread enters its mount namespace, where paths mean what the VM means by them, so
//! that no link in it leads anywhere else.

use std::fs::File;
use std::io;
use std::path::Path;

use nix::sched::{CloneFlags, setns, unshare};

use crate::Error;
use crate::error::Context;

/// Runs `work` in the mount namespace of process `pid`, with its root.
pub(crate) fn enter<T: Send>(
    pid: i32,
    work: impl FnOnce() -> Result<T, Error> + Send,
) -> Result<T, Error> {
    let path = format!("/proc/{pid}/ns/mnt");
    let namespace = File::open(&path).context(|| format!("could not open '{path}'"))?;
    let entered = std::thread::scope(|scope| {
        scope
            .spawn(move || {
                // A thread that shares its working directory with others cannot change its mount namespace.
                unshare(CloneFlags::CLONE_FS)
                    .context(|| "could not leave the process's directory".to_owned())?;
                setns(namespace, CloneFlags::CLONE_NEWNS)
                    .context(|| format!("could not enter the mount namespace of process {pid}"))?;
                work()
            })
            .join()
    });
    entered.unwrap_or_else(|_| {
        Err(io::Error::other("the thread inside the VM panicked"))
            .context(|| format!("could not work in process {pid}"))
    })
}

/// A line of a mount table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Mounted {
    /// `major:minor` of the file system.
    pub(crate) device: String,
    /// The mounted directory inside it.
    pub(crate) root: String,
    /// Where it is mounted.
    pub(crate) point: String,
}

/// The mount table of process `pid`, in the order of mounting.
pub(crate) fn mount_table(pid: i32) -> Result<Vec<Mounted>, Error> {
    let path = format!("/proc/{pid}/mountinfo");
    let text =
        std::fs::read_to_string(Path::new(&path)).context(|| format!("could not read '{path}'"))?;
    Ok(text.lines().filter_map(parse).collect())
}

/// Source: proc(5), `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`.
fn parse(line: &str) -> Option<Mounted> {
    let mut fields = line.split(' ').skip(2);
    Some(Mounted {
        device: fields.next()?.to_owned(),
        root: unescape(fields.next()?),
        point: unescape(fields.next()?),
    })
}

/// Space, tab, newline and backslash are written as `\040` and so on.
fn unescape(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.as_bytes();
    while let [first, rest @ ..] = bytes {
        bytes = rest;
        let code = match (first, rest) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..]) => {
                Some((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'))
            }
            _ => None,
        };
        match code {
            Some(code) => {
                out.push(code);
                bytes = &rest[3..];
            }
            None => out.push(*first),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let line = r"36 35 7:3 /a\040b /mnt/c\134d rw,noatime master:1 - ext4 /dev/loop3 rw";
        assert_eq!(
            parse(line).unwrap(),
            Mounted {
                device: "7:3".into(),
                root: "/a b".into(),
                point: r"/mnt/c\d".into(),
            }
        );
        assert_eq!(parse("36 35"), None);
    }
}
