//! What a VM of the container backend looks like from its host: processes, told apart by the instance whose root they
//! see.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::Context;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The processes named `comm` inside the VM of the instance `id` (a UUID), read from /proc.
pub fn processes(id: &str, comm: &str) -> anyhow::Result<Vec<Pid>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<i32>() else {
            continue;
        };
        let proc = Path::new("/proc").join(pid.to_string());
        let is = |file: &str, text: &str| {
            std::fs::read_to_string(proc.join(file)).is_ok_and(|read| read.trim() == text)
        };
        if is("comm", comm) && is("root/var/vcap/instance/id", id) {
            found.push(Pid::from_raw(pid));
        }
    }
    Ok(found)
}

/// Kills one process with SIGKILL.
pub fn kill_hard(pid: Pid) -> anyhow::Result<()> {
    Ok(kill(pid, Signal::SIGKILL)?)
}

/// A file inside the VM of the instance `id`, read through one of its processes.
pub fn read(id: &str, comm: &str, path: &str) -> anyhow::Result<String> {
    let pid = *processes(id, comm)?
        .first()
        .with_context(|| format!("no {comm} runs in the VM of {id}"))?;
    let root = File::open(format!("/proc/{pid}/root")).context("opening the VM's root")?;
    // Links inside the VM, such as jobs/redis, are absolute: they start at its root, not at ours.
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT);
    let file =
        openat2(&root, path, how).with_context(|| format!("opening {path} in the VM of {id}"))?;
    let mut text = String::new();
    File::from(file).read_to_string(&mut text)?;
    Ok(text)
}
