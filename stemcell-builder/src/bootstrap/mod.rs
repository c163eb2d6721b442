//! Getting the distribution's packages into an empty directory.
//!
//! - `apt` reads this machine's own sources and proxy, so that a Debian or Ubuntu host needs no configuration
//! - `mmdebstrap` is for Debian and Ubuntu, `dnf` for CentOS

mod apt;
mod dnf;
mod mmdebstrap;

use std::path::Path;

use crate::command;
use crate::plan::Bootstrap;
use crate::recipe::{Family, Os};

/// Where packages come from, fixed before anything is downloaded: it is part of the layer's key.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
pub(crate) struct Origin {
    /// One-line apt sources, or base URLs of dnf repositories.
    pub(crate) sources: Vec<String>,
    /// `Acquire::...` options of this machine: proxies. Not part of the key.
    #[serde(skip)]
    pub(crate) options: Vec<String>,
}

impl Origin {
    /// For a recipe's operating system and mirror, on this machine.
    pub(crate) fn find(os: Os, mirror: Option<&str>) -> Self {
        match os.family() {
            Family::Debian => Self {
                sources: apt::sources(os, mirror),
                options: apt::proxies(),
            },
            Family::RedHat => Self {
                sources: dnf::repositories(mirror),
                options: Vec::new(),
            },
        }
    }
}

/// Installs into `target`, which exists and is empty. `progress` gets a line now and then.
pub(crate) fn install(
    os: Os,
    bootstrap: &Bootstrap,
    origin: &Origin,
    target: &Path,
    epoch: u64,
    progress: &mut dyn FnMut(&str),
) -> Result<(), command::Error> {
    match os.family() {
        Family::Debian => mmdebstrap::install(os, bootstrap, origin, target, epoch, progress),
        Family::RedHat => dnf::install(bootstrap, origin, target, epoch, progress),
    }
}
