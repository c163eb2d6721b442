//! `bundle_logs`: logs in a tarball on the machine, for a user of `bosh ssh` to copy. `remove_file` removes it.

use std::path::Path;

use bosh_protocol::arguments::{BundleLogs, BundledLogs};
use bosh_protocol::digest::Hasher;
use tokio::io::AsyncReadExt as _;

use super::arguments::Arguments;
use super::{Error, error::Context as _};
use crate::agent::Agent;
use crate::platform::{Owner, logs, user};

pub(super) async fn run(agent: &Agent, mut arguments: Arguments) -> Result<BundledLogs, Error> {
    let request: BundleLogs = arguments.get(0)?;
    let tarball = logs::tarball(agent.dirs(), &request.log_type, &request.filters)
        .await
        .plain()?;
    if !request.owning_user.is_empty() {
        let owner = user(agent.dirs(), &request.owning_user).plain()?;
        Owner::user(&owner).give(tarball.path()).plain()?;
    }
    let sha512 = sha512(tarball.path())
        .await
        .context("calculating digest of the logs")?;
    Ok(BundledLogs {
        logs_tar_path: tarball.keep().display().to_string(),
        sha512: sha512.into(),
    })
}

async fn sha512(path: &Path) -> std::io::Result<bosh_protocol::digest::Digest> {
    let mut file = tokio::fs::File::open(path).await?;
    let mut hasher = Hasher::sha512();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer).await? {
            0 => return Ok(hasher.finish()),
            n => hasher.update(&buffer[..n]),
        }
    }
}
