//! Where things are. Upstream: settings/directories/directories_provider.go.

use std::path::{Path, PathBuf};

/// The directories below the base directory, /var/vcap (`-b` on the command line), and the root of the machine, `/` but
/// in tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dirs {
    base: PathBuf,
    root: PathBuf,
}

macro_rules! below_base {
    ($($(#[$doc:meta])* $name:ident => $path:literal),* $(,)?) => {
        impl Dirs {
            $($(#[$doc])* pub fn $name(&self) -> PathBuf { self.base.join($path) })*
        }
    };
}

below_base! {
    /// /var/vcap/bosh: the agent's own.
    bosh => "bosh",
    /// /var/vcap/bosh/bin: the stemcell's helper programs.
    bosh_bin => "bosh/bin",
    /// /var/vcap/bosh/etc
    etc => "bosh/etc",
    /// /var/vcap/bosh/settings: a tmpfs if settings must not touch a disk.
    settings => "bosh/settings",
    /// /var/vcap/bosh/log: the agent's own logs.
    agent_logs => "bosh/log",
    /// /var/vcap/bosh/canrestart
    can_restart => "bosh/canrestart",
    /// /var/vcap/store: the persistent disk.
    store => "store",
    /// /var/vcap/store_migration_target: the persistent disk that is to replace it.
    store_migration => "store_migration_target",
    /// /var/vcap/data: the ephemeral disk.
    data => "data",
    /// /var/vcap/data/packages: installed packages by version.
    data_packages => "data/packages",
    /// /var/vcap/data/jobs: installed jobs by version.
    data_jobs => "data/jobs",
    /// /var/vcap/data/compile
    compile => "data/compile",
    /// /var/vcap/data/tmp
    tmp => "data/tmp",
    /// /var/vcap/data/blobs
    blobs => "data/blobs",
    /// /var/vcap/data/sensitive_blobs
    sensitive_blobs => "data/sensitive_blobs",
    /// /var/vcap/data/dynamic_disks
    dynamic_disks => "data/dynamic_disks",
    /// /var/vcap/data/sys
    data_sys => "data/sys",
    /// /var/vcap/packages: links to the enabled versions.
    packages => "packages",
    /// /var/vcap/jobs: links to the enabled versions.
    jobs => "jobs",
    /// /var/vcap/monit
    monit => "monit",
    /// /var/vcap/monit/job: the configuration of supervised processes.
    monit_jobs => "monit/job",
    /// /var/vcap/sys/log
    logs => "sys/log",
    /// /var/vcap/sys: a link to data/sys.
    sys => "sys",
    /// /var/vcap/instance
    instance => "instance",
    /// /var/vcap/instance/disks
    disks => "instance/disks",
    /// /var/vcap/instance/dns
    instance_dns => "instance/dns",
    /// /var/vcap/bosh_ssh: homes of `bosh ssh` users.
    bosh_ssh => "bosh_ssh",
}

impl Dirs {
    /// The directories of this machine below `base`.
    pub fn new(base: impl Into<PathBuf>) -> Self {
        Self {
            base: base.into(),
            root: PathBuf::from("/"),
        }
    }

    /// As on a machine whose root is `root`: /etc and the like are looked for there. For tests.
    pub fn below(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        Self {
            base: root.join("var/vcap"),
            root,
        }
    }

    /// /var/vcap
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// A path of the operating system, given absolute: /etc/hosts.
    pub fn system(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Whether this is the whole machine and not a test's directory.
    pub fn is_machine(&self) -> bool {
        self.root == Path::new("/")
    }

    /// /var/vcap/data/sys/log/`job`
    pub fn job_log(&self, job: &str) -> PathBuf {
        self.data_sys().join("log").join(job)
    }

    /// /var/vcap/data/sys/run/`job`
    pub fn job_run(&self, job: &str) -> PathBuf {
        self.data_sys().join("run").join(job)
    }

    /// /var/vcap/data/`job`
    pub fn job_data(&self, job: &str) -> PathBuf {
        self.data().join(job)
    }

    /// /var/vcap/jobs/`job`/bin
    pub fn job_bin(&self, job: &str) -> PathBuf {
        self.jobs().join(job).join("bin")
    }
}
