//! The stemcell that scenarios and the demo deploy on: this machine's own distribution, baked once and cached for as long as
//! the agent in it is the one that is built now.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use sha1::{Digest, Sha1};

use crate::{paths, release::hex};

/// Where the baked stemcell is, and whether it had to be baked.
pub struct Baked {
    /// The stemcell tarball.
    pub tarball: PathBuf,
    /// False where an earlier one was taken from the cache.
    pub fresh: bool,
}

/// The operating system that manifests name, `debian-bookworm` or like it, from /etc/os-release.
pub fn os() -> anyhow::Result<String> {
    let release = fs::read_to_string("/etc/os-release").context("reading /etc/os-release")?;
    let field = |key: &str| {
        let line = release
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.map(|value| value.trim_matches('"').to_owned())
            .with_context(|| format!("/etc/os-release has no {key}"))
    };
    Ok(format!("{}-{}", field("ID")?, field("VERSION_CODENAME")?))
}

/// Bakes the stemcell, or finds it baked. The builder's progress goes to this process's standard output.
pub fn baked() -> anyhow::Result<Baked> {
    let cache = paths::cache("stemcell")?;
    let (builder, agent) = (paths::bin("bosh-stemcell-builder")?, paths::static_agent()?);
    let monit = paths::static_monit()?;
    let programs = [Some(&builder), Some(&agent), monit.as_ref()];
    let key = key(programs.into_iter().flatten())?;
    let dir = cache.join(&key);
    if let Some(tarball) = tarball_in(&dir)? {
        return Ok(Baked {
            tarball,
            fresh: false,
        });
    }
    let mut bake = Command::new(&builder);
    bake.arg("build");
    if let Some(monit) = monit {
        bake.arg("--monit").arg(monit);
    }
    let status = bake
        .args([
            "--os",
            &os()?,
            "--infrastructure",
            "warden",
            "--version",
            "0.1",
            "--agent",
        ])
        .arg(&agent)
        .arg("--output")
        .arg(&dir)
        .arg("--work")
        .arg(cache.join("work"))
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("running {}", builder.display()))?;
    ensure!(status.success(), "bosh-stemcell-builder: {status}");
    forget_all_but(&cache, &key)?;
    let tarball = tarball_in(&dir)?
        .with_context(|| format!("bosh-stemcell-builder left no .tgz in {}", dir.display()))?;
    Ok(Baked {
        tarball,
        fresh: true,
    })
}

/// A name for what a bake depends on.
fn key<'a>(programs: impl Iterator<Item = &'a PathBuf>) -> anyhow::Result<String> {
    let mut sha1 = Sha1::new();
    for program in programs {
        sha1.update(fs::read(program)?);
    }
    Ok(hex(&sha1.finalize()))
}

fn tarball_in(dir: &Path) -> anyhow::Result<Option<PathBuf>> {
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "tgz") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Stemcells of agents that are no longer built are only large.
fn forget_all_but(cache: &Path, key: &str) -> anyhow::Result<()> {
    for entry in fs::read_dir(cache)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != key && name != "work" {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
