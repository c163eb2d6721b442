//! Removes what a micro director left on this machine: processes, VMs, disks, the network, and its directory.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use super::files::Files;
use super::{State, machine};
use crate::{child, nats};

/// Takes down the director of a directory, which must not run any more, and removes the directory. Nothing is left;
/// a second time does nothing.
pub async fn down(dir: &Path) -> anyhow::Result<()> {
    machine::need_root("micro-down")?;
    let Ok(dir) = dir.canonicalize() else {
        return Ok(());
    };
    // Only ever remove what is a micro director's.
    State::load(&dir)?;
    let _lock = super::run::lock(&dir)?;
    let files = Files::new(dir.clone());
    child::end_left_over(
        &files.monitor_pid(),
        &["-c".into(), files.monitor_yml().into()],
    )
    .await;
    nats::end_left_over(&files.nats_dir()).await;
    clean_up(&files)?;
    std::fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))
}

fn clean_up(files: &Files) -> anyhow::Result<()> {
    if !files.cpi_json().exists() {
        return Ok(());
    }
    let cpi = machine::own("bosh-local-cpi")?;
    let output = Command::new(&cpi)
        .arg("--config")
        .arg(files.cpi_json())
        .arg("cleanup")
        .output()
        .with_context(|| format!("run {}", cpi.display()))?;
    if !output.status.success() {
        bail!(
            "remove VMs, disks and network: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
