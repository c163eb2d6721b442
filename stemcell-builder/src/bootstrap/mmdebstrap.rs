//! Debian and Ubuntu.

use std::path::Path;

use super::Origin;
use crate::command::{self, Command};
use crate::plan::Bootstrap;
use crate::recipe::Os;

/// Manuals and translations are for machines with people on them; licences stay.
const LEFT_OUT: [&str; 7] = [
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/lintian/*",
    "path-exclude=/usr/share/locale/*",
    "path-include=/usr/share/locale/locale.alias",
];

pub(super) fn install(
    os: Os,
    bootstrap: &Bootstrap,
    origin: &Origin,
    target: &Path,
    epoch: u64,
    progress: &mut dyn FnMut(&str),
) -> Result<(), command::Error> {
    let mut command = Command::new("mmdebstrap")
        .args(["--mode=root", "--variant=minbase", "--format=directory"])
        .arg(format!("--include={}", bootstrap.packages.join(",")))
        .arg("--aptopt=APT::Install-Recommends \"false\"")
        .arg("--aptopt=Acquire::Retries \"3\"")
        .args(
            origin
                .options
                .iter()
                .map(|option| format!("--aptopt={option}")),
        )
        .args(LEFT_OUT.map(|path| format!("--dpkgopt={path}")))
        // A half-written tree is thrown away: nothing is gained by waiting for the disk at each file.
        .arg("--dpkgopt=force-unsafe-io")
        .env("SOURCE_DATE_EPOCH", epoch.to_string())
        .arg(os.release())
        .arg(target);
    command = command.args(&origin.sources);
    command
        .watch(|line| {
            if let Some(step) = line.strip_prefix("I: ") {
                progress(step);
            }
        })
        .map(drop)
}
