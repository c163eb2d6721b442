//! What was decided when the directory was new, and is kept: DIR/micro.json.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};

use super::Options;
use super::options::Subnet;

/// The contents of DIR/micro.json. It holds passwords, and only its owner may read it.
#[derive(Clone, Serialize, Deserialize)]
pub struct State {
    pub(super) director_name: String,
    pub(super) subnet: Subnet,
    pub(super) bridge: String,
    pub(super) admin_password: String,
    pub(super) monitor_password: String,
    pub(super) blobstore_director_password: String,
    pub(super) blobstore_agent_password: String,
    pub(super) blobstore_secret: String,
}

fn secret() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

impl State {
    /// What is kept in the directory; decided now if it is new.
    pub fn load_or_decide(options: &Options) -> anyhow::Result<Self> {
        let path = path(&options.dir);
        if !path.exists() {
            let state = Self {
                director_name: options.director_name.clone(),
                subnet: options.subnet,
                bridge: options.bridge.clone(),
                admin_password: secret(),
                monitor_password: secret(),
                blobstore_director_password: secret(),
                blobstore_agent_password: secret(),
                blobstore_secret: secret(),
            };
            super::files::write_secret(&path, &serde_json::to_string_pretty(&state)?)?;
            return Ok(state);
        }
        let mut state = Self::load(&options.dir)?;
        // VMs know the gateway's address, and the CPI the bridge.
        if state.subnet != options.subnet {
            bail!(
                "{} is a director of subnet {}: give --subnet {}, or another --dir",
                options.dir.display(),
                state.subnet,
                state.subnet
            );
        }
        ensure!(
            state.bridge == options.bridge,
            "{} is a director of bridge {}: give --bridge {}, or another --dir",
            options.dir.display(),
            state.bridge,
            state.bridge
        );
        state.director_name.clone_from(&options.director_name);
        Ok(state)
    }

    /// What is kept in the directory.
    pub fn load(dir: &Path) -> anyhow::Result<Self> {
        let path = path(dir);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("{} is no directory of a micro director", dir.display()))?;
        serde_json::from_str(&text).with_context(|| format!("parse {}", path.display()))
    }
}

pub(super) fn path(dir: &Path) -> PathBuf {
    dir.join("micro.json")
}
