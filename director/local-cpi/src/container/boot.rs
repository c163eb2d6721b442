//! Puts a VM together from its record, starts it, and ends it.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::bundle::{Bundle, Device};
use super::{Runc, capabilities, enter, mount_image, mounts};
use crate::config::Config;
use crate::disk;
use crate::error::Context;
use crate::ids::VmCid;
use crate::store::{Store, VmRecord, read_json, write_json};
use crate::{Error, network, settings};

/// Starts the VM that its record describes and attaches its disks, whose entries in the record it brings up to date. The
/// caller holds the VM's lock, has a mount namespace of its own, and undoes with [`destroy`] if this fails.
pub(crate) fn boot(
    config: &Config,
    store: &Store,
    cid: &VmCid,
    record: &mut VmRecord,
) -> Result<(), Error> {
    let dir = store.dir(cid);
    let stemcell = store.read(&record.stemcell)?;
    let rootfs = dir.join("rootfs");
    for folder in ["upper", "work", "rootfs", "data"] {
        make_dir(&dir.join(folder))?;
    }
    let lower = store.dir(&record.stemcell).join("rootfs");
    mounts::overlay(&lower, &dir.join("upper"), &dir.join("work"), &rootfs)?;
    let data = ephemeral(&dir, record.ephemeral)?;
    let modules = Some(Path::new("/lib/modules")).filter(|path| path.is_dir());
    let bundle = Bundle {
        cid: cid.as_str(),
        init: &stemcell.init,
        rootfs: &rootfs,
        data: &data,
        limits: record.limits,
        capabilities: &capabilities::own()?,
        devices: &devices(),
        modules,
    };
    write_json(&dir.join("config.json"), &bundle.config())?;

    let runc = Runc::new(config, store);
    let console = dir.join("console.log");
    let pid = runc.create(cid, &dir, &console)?;
    network::connect(cid, pid, &record.interfaces, &config.network)?;
    let document: Value = read_json(&dir.join("settings.json"))?.unwrap_or_default();
    enter(pid, || prepare(cid, record, &document))?;
    for (disk, attached) in &mut record.disks {
        *attached = disk::plug(store, disk, pid)?;
    }
    runc.start(cid, pid, &console)
}

/// Kills everything in the VM and takes its interfaces away. Its directory stays. Idempotent.
pub(crate) fn destroy(
    config: &Config,
    store: &Store,
    cid: &VmCid,
    interfaces: usize,
) -> Result<(), Error> {
    Runc::new(config, store).delete(cid)?;
    let dir = store.dir(cid);
    for point in ["rootfs", "data"] {
        mounts::release(&dir.join(point))?;
    }
    network::disconnect(cid, interfaces)
}

fn make_dir(path: &Path) -> Result<(), Error> {
    match fs::create_dir(path) {
        Ok(()) => {
            // The root of a file system is everybody's to enter, whatever the umask of the caller.
            fs::set_permissions(path, fs::Permissions::from_mode(0o755))
                .context(|| format!("could not set the mode of '{}'", path.display()))
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error).context(|| format!("could not make '{}'", path.display())),
    }
}

/// What becomes /var/vcap/data: a directory, or an image if it has a size and there are loop devices.
fn ephemeral(dir: &Path, size: Option<u64>) -> Result<PathBuf, Error> {
    let data = dir.join("data");
    let Some(size) = size.filter(|_| disk::has_loop_devices()) else {
        return Ok(data);
    };
    let image = dir.join("data.img");
    if !image.exists() {
        disk::format_image(&image, size)?;
    }
    mount_image(&image, &data)?;
    Ok(data)
}

/// What a VM sees of this machine's devices, as far as they exist.
fn devices() -> Vec<Device> {
    let mut paths: Vec<PathBuf> = ["loop-control", "fuse", "net/tun", "kvm"]
        .iter()
        .map(|name| Path::new("/dev").join(name))
        .collect();
    paths.extend((0..8).map(|number| PathBuf::from(format!("/dev/loop{number}"))));
    paths.into_iter().filter_map(|path| device(&path)).collect()
}

fn device(path: &Path) -> Option<Device> {
    let metadata = fs::symlink_metadata(path).ok()?;
    let kind = metadata.file_type();
    (kind.is_char_device() || kind.is_block_device()).then(|| Device {
        path: path.to_owned(),
        block: kind.is_block_device(),
        major: nix::sys::stat::major(metadata.rdev()),
        minor: nix::sys::stat::minor(metadata.rdev()),
        mode: metadata.permissions().mode() & 0o777,
    })
}

/// The files a VM needs before its first process starts. Runs inside it.
fn prepare(cid: &VmCid, record: &VmRecord, document: &Value) -> Result<(), Error> {
    // What processes of an earlier boot left to be found by those of this one: pid files and sockets.
    match fs::remove_dir_all("/var/vcap/data/sys") {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error)
                .context(|| "could not remove '/var/vcap/data/sys' in the VM".to_owned());
        }
        _ => {}
    }
    for folder in [
        "/var/vcap/bosh",
        "/var/vcap/data/sys",
        "/var/vcap/store",
        "/etc",
    ] {
        fs::create_dir_all(folder).context(|| format!("could not make '{folder}' in the VM"))?;
    }
    write_settings(document)?;
    let servers: String = record
        .name_servers
        .iter()
        .map(|server| format!("nameserver {server}\n"))
        .collect();
    replace("/etc/resolv.conf", &servers, 0o644)?;
    replace("/etc/hostname", &format!("{cid}\n"), 0o644)?;
    replace(
        "/etc/hosts",
        &format!("127.0.0.1 localhost {cid}\n::1 localhost\n"),
        0o644,
    )
}

/// Writes the agent's settings. Runs inside the VM.
pub(crate) fn write_settings(document: &Value) -> Result<(), Error> {
    replace(settings::PATH, &format!("{document:#}\n"), 0o600)
}

/// A new file in the place of whatever was there; a link is replaced, not followed.
fn replace(path: &str, text: &str, mode: u32) -> Result<(), Error> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let operation = || format!("could not write '{path}' in the VM");
    let temporary = format!("{path}.new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&temporary)
        .context(operation)?;
    file.set_permissions(fs::Permissions::from_mode(mode))
        .context(operation)?;
    file.write_all(text.as_bytes()).context(operation)?;
    fs::rename(&temporary, path).context(operation)
}
