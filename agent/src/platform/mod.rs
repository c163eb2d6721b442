//! Everything the agent does to the machine it runs on, behind one trait.
//!
//! | module | what |
//! |---|---|
//! | [`Platform`] | the trait; the boot sequence and the RPC methods know nothing else |
//! | [`linux`] | the machine, for real |
//! | [`dummy`] | a platform that remembers what was asked of it: tests, and `-P dummy` |
//! | [`Dirs`] | where things are below /var/vcap |
//! | [`Options`] | `Platform.Linux` of agent.json |
//! | [`logs`] | tarballs of log files |
//! | [`command`] | the one way to run a program |
//!
//! Upstream: platform/platform_interface.go. Where upstream's monit is started and reloaded through the platform, ours is
//! not: the supervisor is part of the agent.

pub mod command;
mod dirs;
pub mod dummy;
mod error;
pub(crate) mod files;
mod glob;
pub mod linux;
pub mod logs;
mod options;
mod owner;

pub use dirs::Dirs;
pub use error::Error;
pub use options::Options;
pub use owner::{Owner, User, group, user, users};

use async_trait::async_trait;
use bosh_protocol::{
    Secret,
    disk::DiskSettings,
    network::{Network, Networks},
    settings::{JobDir, RunDir},
};
use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

/// The groups a `bosh ssh` user gets. Upstream: agent/action/ssh.go.
pub const SSH_GROUPS: [&str; 4] = ["vcap", "admin", "bosh_sudoers", "bosh_sshers"];
/// Users of `bosh ssh` start with this; no other user is ever deleted. Upstream: settings/settings.go.
pub const EPHEMERAL_USER_PREFIX: &str = "bosh_";

/// What the kernel says about a network of the VM. Upstream: platform/net/default_network_resolver.go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultNetwork {
    /// The address of the interface that has the default route.
    pub ip: IpAddr,
    /// Its netmask.
    pub netmask: IpAddr,
    /// The gateway of the default route.
    pub gateway: IpAddr,
}

/// The machine. Every method may be called again after it has succeeded, or failed half-way.
#[async_trait]
pub trait Platform: Send + Sync {
    // Boot, in the order of upstream's agent/bootstrap.go.

    /// Gives a user exactly these authorized keys.
    async fn setup_ssh(&self, public_keys: &[String], user: &str) -> Result<(), Error>;
    /// Sets a user's password to this crypt(3) hash; an empty one locks it.
    async fn set_user_password(&self, user: &str, encrypted: &str) -> Result<(), Error>;
    /// Enables IPv6 if asked to; it may need a reboot, which then happens.
    async fn setup_ipv6(&self, enable: bool) -> Result<(), Error>;
    /// Sets the host name and a default /etc/hosts, once per VM.
    async fn setup_hostname(&self, hostname: &str) -> Result<(), Error>;
    /// Configures the interfaces, routes and resolvers. `mbus` are the URLs that must be reachable afterwards.
    async fn setup_networking(&self, networks: &Networks, mbus: &[String]) -> Result<(), Error>;
    /// Gives each of these disks one named partition without a filesystem.
    async fn setup_raw_ephemeral_disks(&self, disks: &[DiskSettings]) -> Result<(), Error>;
    /// The device of the ephemeral disk; `None` if the CPI gave none or it does not appear.
    async fn ephemeral_disk_path(&self, disk: &DiskSettings) -> Option<PathBuf>;
    /// Partitions, formats and mounts the ephemeral disk (or the rest of the root disk) at /var/vcap/data, with swap of
    /// this many bytes, or as much as there is memory up to half of the disk.
    async fn setup_ephemeral_disk(
        &self,
        device: Option<&Path>,
        swap: Option<u64>,
        label_prefix: &str,
    ) -> Result<(), Error>;
    /// Grows the root filesystem to its disk.
    async fn setup_root_disk(&self, ephemeral: Option<&Path>) -> Result<(), Error>;
    /// Remounts the shared memory directories noexec, nodev, nosuid.
    async fn setup_shared_memory(&self) -> Result<(), Error>;
    /// Moves /var/log to the ephemeral disk.
    async fn setup_log_dir(&self) -> Result<(), Error>;
    /// Moves /opt and /var/opt to the ephemeral disk.
    async fn setup_opt_dir(&self) -> Result<(), Error>;
    /// Tells the machine its time servers and makes one try to set the clock.
    async fn set_time_with_ntp_servers(&self, servers: &[String]) -> Result<(), Error>;
    /// Runs the stemcell's own bosh-start-logging-and-auditing.
    async fn setup_logging_and_auditing(&self) -> Result<(), Error>;
    /// Makes /var/vcap/data/{sys/log,sys/run,jobs,packages,sensitive_blobs,dynamic_disks} and the link /var/vcap/sys.
    async fn setup_data_dir(&self, job_dir: &JobDir, run_dir: &RunDir) -> Result<(), Error>;
    /// Makes /var/vcap/data/tmp and moves /tmp and /var/tmp to the ephemeral disk. Programs that the agent runs for others
    /// are to have the former as TMPDIR.
    async fn setup_tmp_dir(&self) -> Result<(), Error>;
    /// Mounts a tmpfs that says, by being empty, that this machine has been rebooted.
    async fn setup_can_restart_dir(&self) -> Result<(), Error>;
    /// Remounts /home nodev, nosuid.
    async fn setup_home_dir(&self) -> Result<(), Error>;
    /// Makes /var/vcap/data/blobs.
    async fn setup_blobs_dir(&self) -> Result<(), Error>;
    /// Writes the credentials of monit's HTTP interface if there are none yet.
    async fn setup_monit_user(&self) -> Result<(), Error>;
    /// User and password of monit's HTTP interface.
    async fn monit_credentials(&self) -> Result<(String, String), Error>;
    /// Restricts who may speak to monit's port. A machine without a packet filter is no error.
    async fn setup_firewall(&self) -> Result<(), Error>;
    /// Restricts who may speak to the message bus, by the addresses that its names have now: to be called before each
    /// connection. Never an error: a machine without a packet filter goes on without.
    async fn protect_message_bus(&self, urls: &[Secret]);
    /// Deletes the files that /var/vcap/bosh/etc/dev_tools_file_list names; no list, nothing to do.
    async fn remove_dev_tools(&self) -> Result<(), Error>;
    /// Deletes the files that /var/vcap/bosh/etc/static_libraries_list names; no list, nothing to do.
    async fn remove_static_libraries(&self) -> Result<(), Error>;
    /// Mounts the tmpfs that settings are kept in when they must not touch a disk.
    async fn setup_settings_tmpfs(&self) -> Result<(), Error>;
    /// Runs the stemcell's own bosh-agent-rc.
    async fn setup_runtime_configuration(&self) -> Result<(), Error>;
    /// Writes the logrotate configuration of job logs; `size` is as logrotate takes it, `50M`.
    async fn setup_logrotate(&self, group: &str, size: &str) -> Result<(), Error>;

    // What settings may have to be read from.

    /// A file of a disk that is not mounted, given by its path on that.
    async fn file_from_disk(&self, disk: &Path, file: &str) -> Result<Vec<u8>, Error>;
    /// A file of the CD in the drive, which is ejected then.
    async fn file_from_cdrom(&self, file: &str) -> Result<Vec<u8>, Error>;

    // Persistent disks.

    /// Partitions and formats a persistent disk that is not yet, or grows partition and filesystem after a resize.
    async fn adjust_persistent_disk_partitioning(
        &self,
        disk: &DiskSettings,
        mount_point: &Path,
    ) -> Result<(), Error>;
    /// Mounts a persistent disk; at the migration directory if another is at `mount_point` already.
    async fn mount_persistent_disk(
        &self,
        disk: &DiskSettings,
        mount_point: &Path,
    ) -> Result<(), Error>;
    /// Unmounts a persistent disk; `false` if it was not mounted.
    async fn unmount_persistent_disk(&self, disk: &DiskSettings) -> Result<bool, Error>;
    /// Copies all of `from` to `to`, then mounts at `from` what was at `to`.
    async fn migrate_persistent_disk(&self, from: &Path, to: &Path) -> Result<(), Error>;
    /// Whether a persistent disk is mounted anywhere.
    async fn is_persistent_disk_mounted(&self, disk: &DiskSettings) -> Result<bool, Error>;
    /// Whether a persistent disk has been partitioned before, and so can be mounted at boot.
    async fn is_persistent_disk_mountable(&self, disk: &DiskSettings) -> Result<bool, Error>;
    /// What is mounted at `path`, if anything.
    async fn mount_source(&self, path: &Path) -> Result<Option<String>, Error>;
    /// Links /var/vcap/instance/disks/`name` to the disk's device: a release manages it itself.
    async fn associate_disk(&self, name: &str, disk: &DiskSettings) -> Result<(), Error>;
    /// Links /var/vcap/data/dynamic_disks/`id` to the disk's device.
    async fn setup_dynamic_disk(&self, disk: &DiskSettings) -> Result<(), Error>;
    /// Removes that link.
    async fn cleanup_dynamic_disk(&self, disk_cid: &str) -> Result<(), Error>;

    // Users of `bosh ssh`.

    /// Makes a user with a home directory below `base`.
    async fn create_user(&self, user: &str, base: &Path) -> Result<(), Error>;
    /// Puts a user into exactly these groups besides its own.
    async fn add_user_to_groups(&self, user: &str, groups: &[&str]) -> Result<(), Error>;
    /// Deletes the users that start with [`EPHEMERAL_USER_PREFIX`] and match the regular expression.
    async fn delete_ephemeral_users_matching(&self, regex: &str) -> Result<(), Error>;
    /// The RSA host key of sshd, as in its `.pub` file.
    async fn host_public_key(&self) -> Result<String, Error>;

    // Network, names, certificates.

    /// The interface that has the default route (of IPv6 if asked).
    async fn default_network(&self, ipv6: bool) -> Result<DefaultNetwork, Error>;
    /// Fills in what DHCP gave: the address, netmask and gateway of a network that has none in the settings.
    async fn resolve_network(&self, network: &Network) -> Result<Option<DefaultNetwork>, Error>;
    /// Names of the interfaces that have a configuration.
    async fn configured_interfaces(&self) -> Result<Vec<String>, Error>;
    /// Forgets which interface is which before the networks change.
    async fn prepare_for_networking_change(&self) -> Result<(), Error>;
    /// Drops an address from the ARP cache.
    async fn delete_arp_entry(&self, ip: IpAddr) -> Result<(), Error>;
    /// The version of the DNS records this machine has; `None` before the first.
    async fn dns_records_version(&self) -> Option<u64>;
    /// Takes a DNS records blob: writes /etc/hosts and /var/vcap/instance/dns/records.json. `version` is the one promised by
    /// the director; a blob of another version is an error, one that is not newer is ignored.
    async fn sync_dns(&self, records: &[u8], version: u64, hostname: &str) -> Result<(), Error>;
    /// Makes these the trusted certificates beside those of the operating system: PEM, several after one another.
    async fn update_trusted_certificates(&self, pem: &str) -> Result<(), Error>;

    // The rest.

    /// Writes /var/vcap/instance/{id,az,name,deployment}.
    async fn write_instance_files(&self, files: &InstanceFiles<'_>) -> Result<(), Error>;
    /// Where things are on this machine.
    fn dirs(&self) -> &Dirs;
    /// Powers the machine off.
    async fn shutdown(&self) -> Result<(), Error>;
}

/// What jobs can read about their instance. Upstream: agent/action/apply.go.
#[derive(Debug, Clone, Copy, Default)]
pub struct InstanceFiles<'a> {
    /// The instance's id.
    pub id: &'a str,
    /// Its availability zone.
    pub az: &'a str,
    /// Its instance group.
    pub name: &'a str,
    /// Its deployment.
    pub deployment: &'a str,
}
