//! What has to be on this machine, checked before anything is written.

use std::path::PathBuf;

use anyhow::bail;

use crate::{child, nats};

/// Programs a micro director runs.
pub(super) struct Programs {
    pub(super) nats_server: PathBuf,
    pub(super) monitor: PathBuf,
    pub(super) cpi: PathBuf,
}

pub(super) fn check() -> anyhow::Result<Programs> {
    need_root("micro")?;
    for (program, package) in [("ruby", "ruby"), ("runc", "runc"), ("ip", "iproute2")] {
        if child::find(program, None).is_err() {
            bail!("{program} not found: install it (Debian, Ubuntu: apt-get install {package})");
        }
    }
    Ok(Programs {
        nats_server: nats::find(None)?,
        monitor: own("bosh-monitor")?,
        cpi: own("bosh-local-cpi")?,
    })
}

pub(super) fn need_root(command: &str) -> anyhow::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("bosh-director {command} makes containers and networks: run it as root");
    }
    Ok(())
}

pub(super) fn own(program: &str) -> anyhow::Result<PathBuf> {
    child::find(program, None).map_err(|_| {
        anyhow::anyhow!("{program} not found: put it beside bosh-director, or on the PATH")
    })
}
