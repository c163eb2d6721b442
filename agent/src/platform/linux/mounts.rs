//! What is mounted where, and mounting.
//!
//! Read from /proc/thread-self/mountinfo: unlike /proc/mounts, which upstream reads, it also says which directory of a
//! filesystem a bind mount shows, so that persistent disks that are directories are found again without an /etc/mtab.
//! Upstream: platform/disk/{linux_mounter,linux_bind_mounter,proc_mounts_searcher,cmd_mounts_searcher}.go.

use super::super::{
    Error,
    command::{self, Command},
};
use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
};
use std::{
    fs,
    os::unix::{
        ffi::OsStringExt,
        fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
    time::Duration,
};

/// How often and after how long a busy filesystem is tried again. Upstream: NewLinuxMounter.
const BUSY_TRIES: u32 = 600;
const BUSY_PAUSE: Duration = Duration::from_secs(1);

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// The filesystem: `8:1`.
    pub(crate) device: String,
    /// The directory of the filesystem that is shown.
    pub(crate) root: PathBuf,
    /// Where.
    pub(crate) point: PathBuf,
    /// What this mount restricts: `rw,nosuid,relatime`.
    pub(crate) options: String,
    /// `ext4`, `tmpfs`
    pub(crate) kind: String,
    /// `/dev/sda1`, `tmpfs`
    pub(crate) source: String,
}

/// All mounts, those that cover others last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mounts(Vec<Mount>);

impl Mounts {
    pub(crate) fn read() -> Result<Self, Error> {
        let path = Path::new("/proc/thread-self/mountinfo");
        let text = fs::read(path).map_err(|e| Error::file("reading", path, e))?;
        Ok(Self::parse(&text))
    }

    fn parse(text: &[u8]) -> Self {
        Self(
            text.split(|byte| *byte == b'\n')
                .filter_map(parse_line)
                .collect(),
        )
    }

    /// What is mounted at a path, if anything.
    pub(crate) fn at(&self, point: &Path) -> Option<&Mount> {
        self.0.iter().rev().find(|mount| mount.point == point)
    }

    /// The mounts of a device, by its path, or of a directory that is bound elsewhere.
    pub(crate) fn of(&self, source: &Path) -> Vec<&Mount> {
        let real = source.canonicalize().unwrap_or_else(|_| source.to_owned());
        // A device may have several names, and be mounted by another than it is known by.
        let number = device_number(&real);
        let is_device = |mount: &&Mount| {
            Path::new(&mount.source) == source
                || Path::new(&mount.source) == real
                || number.as_ref() == Some(&mount.device)
        };
        let by_device: Vec<&Mount> = self.0.iter().filter(is_device).collect();
        if !by_device.is_empty() || !real.is_dir() {
            return by_device;
        }
        let Some((device, root)) = self.place(&real) else {
            return Vec::new();
        };
        self.0
            .iter()
            .filter(|mount| mount.device == device && mount.root == root && mount.point != real)
            .collect()
    }

    /// Where a directory lies: its filesystem and its path in that.
    fn place(&self, dir: &Path) -> Option<(String, PathBuf)> {
        let around = self.0.iter().filter(|mount| dir.starts_with(&mount.point));
        // The last of those mounted deepest is the one that is seen.
        let mount = around.max_by_key(|mount| mount.point.components().count())?;
        let below = dir.strip_prefix(&mount.point).ok()?;
        let root = if below.as_os_str().is_empty() {
            mount.root.clone()
        } else {
            mount.root.join(below)
        };
        Some((mount.device.clone(), root))
    }
}

impl Mount {
    /// Whether nothing can be changed through it.
    pub(crate) fn is_read_only(&self) -> bool {
        self.options.split(',').any(|option| option == "ro")
    }

    /// What of the mount's restrictions a remount would forget.
    fn restrictions(&self) -> MsFlags {
        let mut flags = MsFlags::empty();
        for option in self.options.split(',') {
            flags |= match option {
                "nosuid" => MsFlags::MS_NOSUID,
                "nodev" => MsFlags::MS_NODEV,
                "noexec" => MsFlags::MS_NOEXEC,
                _ => MsFlags::empty(),
            };
        }
        flags
    }
}

/// `8:1` of a block device.
fn device_number(path: &Path) -> Option<String> {
    let meta = fs::metadata(path).ok()?;
    let device = meta.rdev();
    meta.file_type().is_block_device().then(|| {
        let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
        format!("{major}:{minor}")
    })
}

fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let device = String::from_utf8_lossy(fields.nth(2)?).into_owned();
    let (root, point) = (path(fields.next()?), path(fields.next()?));
    let options = String::from_utf8_lossy(fields.next()?).into_owned();
    fields.find(|field| *field == b"-")?;
    let kind = String::from_utf8_lossy(fields.next()?).into_owned();
    let source = path(fields.next()?).to_string_lossy().into_owned();
    Some(Mount {
        device,
        root,
        point,
        options,
        kind,
        source,
    })
}

/// Undoes the kernel's `\040` for a space.
fn path(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let octal = tail
            .get(..3)
            .and_then(|d| u8::from_str_radix(std::str::from_utf8(d).ok()?, 8).ok());
        match (first, octal) {
            (b'\\', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

/// Shows a directory at another place too.
pub(crate) fn bind(source: &Path, point: &Path) -> Result<(), Error> {
    mount(
        Some(source),
        point,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )
    .map_err(|e| Error::file("bind-mounting on", point, e.into()))
}

/// Restricts what can be done through a mount.
pub(crate) fn restrict(point: &Path, flags: MsFlags) -> Result<(), Error> {
    mount(
        None::<&str>,
        point,
        None::<&str>,
        MsFlags::MS_REMOUNT | MsFlags::MS_BIND | flags,
        None::<&str>,
    )
    .map_err(|e| Error::file("remounting", point, e.into()))
}

/// Mounts a filesystem in memory, unless there is something already. `size` as mount takes it: `16m`.
pub(crate) fn tmpfs(point: &Path, size: &str) -> Result<(), Error> {
    if Mounts::read()?.at(point).is_some() {
        return Ok(());
    }
    let options = format!("size={size}");
    mount(
        Some("tmpfs"),
        point,
        Some("tmpfs"),
        MsFlags::empty(),
        Some(options.as_str()),
    )
    .map_err(|e| Error::file("mounting tmpfs on", point, e.into()))
}

/// Mounts a device with the options of a manifest. Mounted there already is fine; elsewhere, or with something else
/// there, is not.
pub(crate) async fn device(device: &Path, point: &Path, options: &[String]) -> Result<(), Error> {
    let mounts = Mounts::read()?;
    if let Some(there) = mounts.at(point) {
        if mounts.of(device).iter().any(|mount| mount.point == point) {
            return Ok(());
        }
        let (there, device, point) = (&there.source, device.display(), point.display());
        return Err(Error::Device(format!(
            "device {there} is already mounted to {point}, can't mount {device}"
        )));
    }
    if let Some(elsewhere) = mounts.of(device).first() {
        let (device, elsewhere, point) =
            (device.display(), elsewhere.point.display(), point.display());
        return Err(Error::Device(format!(
            "device {device} is already mounted to {elsewhere}, can't mount to {point}"
        )));
    }
    let mut command = Command::new("mount").arg(device).arg(point);
    for option in options {
        command = command.arg("-o").arg(option);
    }
    command
        .run()
        .await
        .map_err(|e: command::Error| Error::command(format!("mounting {}", device.display()), e))?;
    Ok(())
}

/// Unmounts what is at a path, waiting for it while it is busy; `false` if nothing is there.
pub(crate) async fn unmount(point: &Path) -> Result<bool, Error> {
    if Mounts::read()?.at(point).is_none() {
        return Ok(false);
    }
    let umount = || umount2(point, MntFlags::empty());
    until_idle("unmounting", point, umount).await?;
    Ok(true)
}

/// Forbids or allows changes through a mount, waiting for those who write while it is busy. Its other restrictions stay.
pub(crate) async fn read_only(point: &Path, read_only: bool) -> Result<(), Error> {
    let mounts = Mounts::read()?;
    let there = mounts.at(point).ok_or_else(|| {
        let point = point.display();
        Error::Device(format!("nothing is mounted at {point}"))
    })?;
    let mut flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | there.restrictions();
    flags.set(MsFlags::MS_RDONLY, read_only);
    let remount = || mount(None::<&str>, point, None::<&str>, flags, None::<&str>);
    until_idle("remounting", point, remount).await
}

async fn until_idle(
    operation: &'static str,
    point: &Path,
    act: impl Fn() -> nix::Result<()>,
) -> Result<(), Error> {
    let mut tries = 1;
    loop {
        match act() {
            Err(Errno::EBUSY) if tries < BUSY_TRIES => {
                tracing::info!(point = %point.display(), tries, operation, "a filesystem is busy, trying again");
                tokio::time::sleep(BUSY_PAUSE).await;
                tries += 1;
            }
            other => return other.map_err(|e| Error::file(operation, point, e.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Mounts {
        Mounts::parse(
            b"22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
              30 22 0:24 / /run rw - tmpfs tmpfs rw,size=1k\n\
              31 22 8:1 /disks/one /warden-cpi-dev/disk-1 rw master:2 propagate_from:1 - ext4 /dev/sda1 rw\n\
              32 22 8:1 /disks/one /var/vcap/store rw - ext4 /dev/sda1 rw\n\
              33 22 8:16 / /mnt/with\\040space rw - xfs /dev/sdb rw\n\
              nonsense\n\n",
        )
    }

    #[test]
    fn mountinfo_is_understood() {
        let mounts = sample();
        assert_eq!(mounts.0.len(), 5);
        assert_eq!(
            mounts.at(Path::new("/var/vcap/store")).unwrap().root,
            Path::new("/disks/one")
        );
        assert_eq!(mounts.at(Path::new("/mnt/with space")).unwrap().kind, "xfs");
        assert!(mounts.at(Path::new("/mnt")).is_none());
    }

    #[test]
    fn a_device_and_a_directory_are_found_where_they_are_mounted() {
        let mounts = sample();
        assert_eq!(
            mounts.of(Path::new("/dev/sdb"))[0].point,
            Path::new("/mnt/with space")
        );
        assert_eq!(
            mounts.place(Path::new("/warden-cpi-dev/disk-1")),
            Some(("8:1".into(), "/disks/one".into()))
        );
        assert_eq!(
            mounts.place(Path::new("/etc/x")),
            Some(("8:1".into(), "/etc/x".into()))
        );
        assert_eq!(
            mounts.place(Path::new("/run/x")),
            Some(("0:24".into(), "/x".into()))
        );
    }
}
