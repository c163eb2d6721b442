//! `bosh-enable-monit-access`: a job lets itself through to monit's interface, which is root's alone otherwise.
//! Source: upstream platform/firewall/{monit_access,cgroup_linux,nftables_firewall}.go.

use super::{MONIT_JOBS, TABLE, netlink, netlink::Batch, rules::Rule};
use crate::platform::{Dirs, user};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

const CGROUPS: &str = "/sys/fs/cgroup";
const LOG: &str = "bosh-monit-access: ";

/// Why a job is not let through.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An agent that does not protect monit, or not in this way. The words are upstream's.
    #[error("monit_access_jobs chain not found")]
    NoChain,
    /// The kernel refuses.
    #[error("let a job through to monit")]
    Kernel(#[source] io::Error),
    /// The machine has no user for jobs. The words are upstream's.
    #[error("could not find vcap user")]
    NoUser(#[source] crate::platform::Error),
}

/// Lets the caller's control group through if bpm made it, for it can be told from others; else the user that jobs have.
/// Asking again changes nothing. Returns who is let through, for the log.
pub fn enable() -> Result<String, Error> {
    match own_group() {
        Some((job, inode)) => match allow(&job, of_group(inode)) {
            Ok(()) => return Ok(format!("job '{job}'")),
            Err(Error::NoChain) => return Err(Error::NoChain),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "not by control group; by user then");
            }
        },
        None => tracing::info!("not in a control group of bpm; by user then"),
    }
    let vcap = user(&Dirs::new("/var/vcap"), "vcap").map_err(Error::NoUser)?;
    let prefix = format!("{LOG}UID {} match: ", vcap.uid);
    let rule = Rule::default().of_user(vcap.uid).at_monit().log(&prefix);
    allow(&format!("uid-{}", vcap.uid), rule)?;
    Ok(format!("user {}", vcap.uid))
}

fn of_group(inode: u64) -> Rule {
    let prefix = format!("{LOG}cgroup match: ");
    Rule::default().of_cgroup(inode).at_monit().log(&prefix)
}

/// Adds a rule in place of those that the same name had: a control group made anew is another one.
fn allow(name: &str, rule: Rule) -> Result<(), Error> {
    let wrap = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Error::NoChain,
        _ => Error::Kernel(error),
    };
    let comment = format!("bosh-monit-access:{name}");
    let mut batch = Batch::default();
    for old in netlink::rules(TABLE, MONIT_JOBS).map_err(wrap)? {
        if old.comment == comment {
            batch.delete_rule(TABLE, MONIT_JOBS, old.handle);
        }
    }
    batch.add_rule(TABLE, MONIT_JOBS, &rule.accept(), &comment);
    batch.commit().map_err(wrap)
}

/// The job and the inode of this process's control group, if that is one of bpm's.
fn own_group() -> Option<(String, u64)> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    let job = job_of(path)?;
    let is_v2 =
        |path: &Path| statfs(path).is_ok_and(|s| s.filesystem_type() == CGROUP2_SUPER_MAGIC);
    let (unified, hybrid) = (Path::new(CGROUPS), Path::new(CGROUPS).join("unified"));
    let root = if is_v2(unified) {
        unified
    } else if is_v2(&hybrid) {
        &hybrid
    } else {
        return None;
    };
    let inode = fs::metadata(root.join(path.trim_start_matches('/')))
        .ok()?
        .ino();
    Some((job, inode))
}

/// `/system.slice/runc-bpm-JOB.scope`
fn job_of(path: &str) -> Option<String> {
    let mut parts = path.split('/');
    parts.find_map(|part| {
        let job = part.strip_prefix("runc-bpm-")?.strip_suffix(".scope")?;
        // What does not fit into a comment's length is no name.
        (!job.is_empty() && job.len() < 200).then(|| job.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_of_bpm_are_known_by_their_groups() {
        let of = |path| job_of(path);
        assert_eq!(
            of("/system.slice/runc-bpm-galera-agent.scope").as_deref(),
            Some("galera-agent")
        );
        assert_eq!(of("/system.slice/monit.service"), None);
        assert_eq!(of("/runc-bpm-.scope"), None);
        assert_eq!(of("/"), None);
    }
}
