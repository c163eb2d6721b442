//! Where the programs under test, the fixtures and the caches are.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

/// The root of the checkout.
pub fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests crate is a folder of the checkout")
}

/// A file or folder of tests/fixtures.
pub fn fixture(name: &str) -> PathBuf {
    checkout().join("tests/fixtures").join(name)
}

/// A folder for what is slow to make and may be kept between runs; made if missing.
pub fn cache(name: &str) -> anyhow::Result<PathBuf> {
    let dir = checkout().join(".cache").join(name);
    std::fs::create_dir_all(&dir).with_context(|| format!("making the cache {}", dir.display()))?;
    Ok(dir)
}

/// The folder with the programs under test: `BOSH_TEST_BIN`, else the debug build's.
pub fn bin_dir() -> PathBuf {
    std::env::var_os("BOSH_TEST_BIN").map_or_else(|| checkout().join("target/debug"), PathBuf::from)
}

/// One of the programs under test.
pub fn bin(name: &str) -> anyhow::Result<PathBuf> {
    built(bin_dir().join(name))
}

/// The static agent that goes into stemcells: `BOSH_TEST_AGENT`, else the debug build for musl.
pub fn static_agent() -> anyhow::Result<PathBuf> {
    built(std::env::var_os("BOSH_TEST_AGENT").map_or_else(
        || checkout().join("target/x86_64-unknown-linux-musl/debug/bosh-agent"),
        PathBuf::from,
    ))
}

/// What is monit in that stemcell where the agent is not ours: `BOSH_TEST_MONIT`, our static agent then.
pub fn static_monit() -> anyhow::Result<Option<PathBuf>> {
    std::env::var_os("BOSH_TEST_MONIT")
        .map(|path| built(PathBuf::from(path)))
        .transpose()
}

fn built(path: PathBuf) -> anyhow::Result<PathBuf> {
    ensure!(
        path.is_file(),
        "{} is not built; `make debug` builds what the tests run",
        path.display()
    );
    Ok(path)
}
