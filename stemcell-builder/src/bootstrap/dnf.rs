//! CentOS Stream.

use std::path::Path;

use super::Origin;
use crate::command::{self, Command};
use crate::plan::Bootstrap;

const MIRROR: &str = "https://mirror.stream.centos.org/9-stream";
const KEY: &str = "https://www.centos.org/keys/RPM-GPG-KEY-CentOS-Official";
/// `CRB` has the headers of libraries.
const REPOSITORIES: [&str; 3] = ["BaseOS", "AppStream", "CRB"];

/// Base URLs of the repositories.
pub(super) fn repositories(mirror: Option<&str>) -> Vec<String> {
    let mirror = mirror.unwrap_or(MIRROR).trim_end_matches('/');
    REPOSITORIES
        .map(|repository| format!("{mirror}/{repository}/x86_64/os"))
        .to_vec()
}

pub(super) fn install(
    bootstrap: &Bootstrap,
    origin: &Origin,
    target: &Path,
    epoch: u64,
    progress: &mut dyn FnMut(&str),
) -> Result<(), command::Error> {
    command(bootstrap, origin, target)
        .env("SOURCE_DATE_EPOCH", epoch.to_string())
        .watch(|line| {
            let step = line.trim_start();
            if step.starts_with("Downloading Packages") || step.starts_with("Running transaction") {
                progress(step);
            }
        })
        .map(drop)
}

fn command(bootstrap: &Bootstrap, origin: &Origin, target: &Path) -> Command {
    let mut command = Command::new("dnf")
        .args([
            "--assumeyes",
            "--releasever=9",
            "--setopt=install_weak_deps=False",
            "--setopt=tsflags=nodocs",
        ])
        .arg(format!("--installroot={}", target.display()))
        // Nothing from this machine's own repositories.
        .args(["--setopt=reposdir=/dev/null", "--setopt=retries=3"]);
    for (index, url) in origin.sources.iter().enumerate() {
        let name = format!("stemcell{index}");
        command = command
            .arg(format!("--repofrompath={name},{url}"))
            .arg(format!("--setopt={name}.gpgcheck=1"))
            .arg(format!("--setopt={name}.gpgkey={KEY}"));
    }
    command.arg("install").args(&bootstrap.packages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_replaces_the_default() {
        assert_eq!(
            repositories(Some("http://m.example/9-stream/"))[0],
            "http://m.example/9-stream/BaseOS/x86_64/os"
        );
        assert!(repositories(None)[2].starts_with(MIRROR));
    }
}
