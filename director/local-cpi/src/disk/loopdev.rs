//! Loop devices. Source: linux/loop.h.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use crate::Error;
use crate::error::Context;

const CONTROL: &str = "/dev/loop-control";
const GET_FREE: libc::Ioctl = 0x4C82;
const CONFIGURE: libc::Ioctl = 0x4C0A;
const GET_STATUS: libc::Ioctl = 0x4C05;
/// The device lets go of its file when the last user closes or unmounts it.
const AUTOCLEAR: u32 = 4;
const MAJOR: u64 = 7;
/// How long to wait for the mount of a VM that was just ended to go.
const PATIENCE: Duration = Duration::from_secs(10);

/// `struct loop_info64`
#[repr(C)]
struct Info {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

impl Info {
    fn new(flags: u32) -> Self {
        Self {
            device: 0,
            inode: 0,
            rdevice: 0,
            offset: 0,
            size_limit: 0,
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags,
            file_name: [0; 64],
            crypt_name: [0; 64],
            encrypt_key: [0; 32],
            init: [0; 2],
        }
    }
}

/// `struct loop_config`
#[repr(C)]
struct Setup {
    fd: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

/// A device with a file behind it, for as long as this or a mount of it lives.
pub(crate) struct LoopDevice {
    path: PathBuf,
    _device: File,
}

/// Whether this machine gives us loop devices.
pub(crate) fn has_loop_devices() -> bool {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(CONTROL)
        .is_ok()
}

impl LoopDevice {
    /// Puts `image` behind a free device. An image that is behind one already is waited for: two mounts of one image
    /// would destroy it.
    pub(crate) fn attach(image: &Path) -> Result<Self, Error> {
        let operation = || format!("could not put '{}' behind a loop device", image.display());
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(image)
            .context(operation)?;
        wait_until_unused(image, &file)?;
        let control = OpenOptions::new()
            .read(true)
            .write(true)
            .open(CONTROL)
            .context(operation)?;
        // Another process may take the free device first; each try that fails means that one of them got on.
        for _ in 0..256 {
            // SAFETY: GET_FREE takes no argument and returns a number or -1.
            let number = unsafe { libc::ioctl(control.as_raw_fd(), GET_FREE) };
            let number = Errno::result(number).context(operation)?;
            let path = node(number as u64).context(operation)?;
            let device = OpenOptions::new()
                .read(true)
                .write(true)
                .open(&path)
                .context(operation)?;
            let setup = Setup {
                fd: file.as_raw_fd() as u32,
                block_size: 0,
                info: Info::new(AUTOCLEAR),
                reserved: [0; 8],
            };
            // SAFETY: CONFIGURE reads a loop_config, which `setup` is laid out as, and keeps no pointer to it.
            let done = unsafe { libc::ioctl(device.as_raw_fd(), CONFIGURE, &raw const setup) };
            match Errno::result(done) {
                Ok(_) => {
                    return Ok(Self {
                        path,
                        _device: device,
                    });
                }
                Err(Errno::EBUSY) => {}
                Err(errno) => return Err(errno).context(operation),
            }
        }
        Err(Errno::EBUSY).context(operation)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// The device's node, made if nobody did: not every /dev follows the kernel.
fn node(number: u64) -> io::Result<PathBuf> {
    let path = PathBuf::from(format!("/dev/loop{number}"));
    match mknod(
        &path,
        SFlag::S_IFBLK,
        Mode::from_bits_truncate(0o660),
        makedev(MAJOR, number),
    ) {
        Ok(()) | Err(Errno::EEXIST) => Ok(path),
        Err(errno) => Err(errno.into()),
    }
}

fn wait_until_unused(image: &Path, file: &File) -> Result<(), Error> {
    let metadata = file
        .metadata()
        .context(|| format!("could not look at '{}'", image.display()))?;
    let until = Instant::now() + PATIENCE;
    let mut pause = Duration::from_millis(1);
    while let Some(device) = user_of(metadata.dev(), metadata.ino()) {
        if Instant::now() >= until {
            return Err(Errno::EBUSY).context(|| {
                format!(
                    "'{}' is still mounted through '{}'",
                    image.display(),
                    device.display()
                )
            });
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
    Ok(())
}

/// The device that has this file behind it.
fn user_of(device: u64, inode: u64) -> Option<PathBuf> {
    let entries = std::fs::read_dir("/sys/block").ok()?;
    entries.flatten().find_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let number: u64 = name.strip_prefix("loop")?.parse().ok()?;
        if !entry.path().join("loop/backing_file").exists() {
            return None;
        }
        let path = node(number).ok()?;
        let file = File::open(&path).ok()?;
        let mut info = Info::new(0);
        // SAFETY: GET_STATUS fills a loop_info64, which `info` is laid out as.
        let done = unsafe { libc::ioctl(file.as_raw_fd(), GET_STATUS, &raw mut info) };
        (done == 0 && info.device == device && info.inode == inode).then_some(path)
    })
}
