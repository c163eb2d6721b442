//! A network of its own for a test process.

use anyhow::Context;
use nix::sched::{CloneFlags, unshare};
use std::process::Command;

/// Moves the calling thread, and with it every thread and process it starts from now on, into a new network
/// namespace with only a loopback device. The namespace ends with the last process in it.
pub fn enter() -> anyhow::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).context("making a network namespace (are you root?)")?;
    let status = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .status()
        .context("running ip")?;
    anyhow::ensure!(status.success(), "ip link set lo up: {status}");
    Ok(())
}
