//! The machine, for real.
//!
//! | module | what |
//! |---|---|
//! | `boot` | directories and services that are set up once per boot |
//! | `disk`, `ephemeral` | persistent and ephemeral disks |
//! | `devices`, `partition`, `filesystem`, `mounts` | finding a disk, partitioning and formatting it, mounting |
//! | `media` | files of disks and CDs that are not mounted |
//! | `net`, `interfaces`, `addresses`, `ipv6` | interfaces and routes |
//! | `resolvers` | DNS servers |
//! | [`firewall`] | who may speak to monit's interface and the message bus |
//! | `users` | passwords, keys, `bosh ssh` |
//! | `dns`, `certs` | /etc/hosts and DNS records, trusted certificates |

mod addresses;
mod boot;
mod certs;
mod devices;
mod disk;
mod dns;
mod ephemeral;
mod filesystem;
pub mod firewall;
mod interfaces;
mod ipv6;
mod media;
mod mounts;
mod net;
mod partition;
mod resolvers;
#[cfg(test)]
mod tests;
mod users;

use super::{
    DefaultNetwork, Dirs, Error, InstanceFiles, Options, Platform, command::Command, files,
};
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
    time::Duration,
};

/// How a family of stemcells wants its network and its certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Family {
    /// systemd-networkd, update-ca-certificates.
    #[default]
    Ubuntu,
    /// Network scripts that NetworkManager reads, update-ca-trust.
    CentOs,
}

/// This machine. See the module for where each part is.
#[derive(Debug)]
pub struct Linux {
    dirs: Dirs,
    options: Options,
    family: Family,
    /// How long a fixed address may take to appear.
    address_deadline: Duration,
    recent: devices::Recent,
}

impl Linux {
    /// Nothing is touched yet.
    pub fn new(dirs: Dirs, options: Options) -> Self {
        Self {
            dirs,
            options,
            family: Family::default(),
            address_deadline: net::ADDRESSES,
            recent: devices::Recent::default(),
        }
    }

    /// As the platform of this name, `-P` on the command line, wants it. Every one but `centos` is like `ubuntu`.
    pub fn of_family(mut self, name: &str) -> Self {
        if name == "centos" {
            self.family = Family::CentOs;
        }
        self
    }

    /// Where a program is: among the stemcell's helpers, or anywhere in the PATH of a machine. A directory that plays
    /// machine has only what is in it.
    fn tool_path(&self, name: &str) -> Option<PathBuf> {
        let own = self.bosh_bin_program(name);
        if own.is_file() {
            return Some(own);
        }
        (self.dirs.is_machine() && Command::exists(name)).then(|| PathBuf::from(name))
    }

    /// A program, if there is one.
    fn tool(&self, name: &str) -> Option<Command> {
        self.tool_path(name).map(Command::new)
    }
}

#[async_trait]
impl Platform for Linux {
    async fn setup_ssh(&self, public_keys: &[String], user: &str) -> Result<(), Error> {
        self.authorized_keys(public_keys, user)
    }
    async fn set_user_password(&self, user: &str, encrypted: &str) -> Result<(), Error> {
        self.password(user, encrypted).await
    }
    async fn setup_ipv6(&self, enable: bool) -> Result<(), Error> {
        self.ipv6(enable).await
    }
    async fn setup_hostname(&self, hostname: &str) -> Result<(), Error> {
        self.hostname(hostname).await
    }
    async fn setup_networking(&self, networks: &Networks, _mbus: &[String]) -> Result<(), Error> {
        self.networking(networks).await
    }
    async fn setup_raw_ephemeral_disks(&self, disks: &[DiskSettings]) -> Result<(), Error> {
        self.raw_ephemeral(disks).await
    }
    async fn ephemeral_disk_path(&self, disk: &DiskSettings) -> Option<PathBuf> {
        match self.device(disk, devices::Patience::Wait).await {
            Ok(path) => Some(path),
            Err(error) => {
                tracing::debug!(%error, "there is no ephemeral disk");
                None
            }
        }
    }
    async fn setup_ephemeral_disk(
        &self,
        device: Option<&Path>,
        swap: Option<u64>,
        label: &str,
    ) -> Result<(), Error> {
        self.ephemeral(device, swap, label).await
    }
    async fn setup_root_disk(&self, ephemeral: Option<&Path>) -> Result<(), Error> {
        self.root_disk(ephemeral).await
    }
    async fn setup_shared_memory(&self) -> Result<(), Error> {
        self.shared_memory()
    }
    async fn setup_log_dir(&self) -> Result<(), Error> {
        self.log_dir()
    }
    async fn setup_opt_dir(&self) -> Result<(), Error> {
        self.opt_dir()
    }
    async fn set_time_with_ntp_servers(&self, servers: &[String]) -> Result<(), Error> {
        self.ntp(servers)
    }
    async fn setup_logging_and_auditing(&self) -> Result<(), Error> {
        self.stemcell_program("bosh-start-logging-and-auditing")
            .await
    }
    async fn setup_data_dir(&self, job_dir: &JobDir, run_dir: &RunDir) -> Result<(), Error> {
        self.data_dir(job_dir, run_dir)
    }
    async fn setup_tmp_dir(&self) -> Result<(), Error> {
        self.tmp_dir()
    }
    async fn setup_can_restart_dir(&self) -> Result<(), Error> {
        self.can_restart_dir()
    }
    async fn setup_home_dir(&self) -> Result<(), Error> {
        self.home_dir()
    }
    async fn setup_blobs_dir(&self) -> Result<(), Error> {
        self.blobs_dir()
    }
    async fn setup_monit_user(&self) -> Result<(), Error> {
        self.monit_user()
    }
    async fn monit_credentials(&self) -> Result<(String, String), Error> {
        Linux::monit_credentials(self)
    }
    async fn setup_firewall(&self) -> Result<(), Error> {
        self.protect_monit();
        Ok(())
    }
    async fn protect_message_bus(&self, urls: &[Secret]) {
        self.protect_nats(urls).await;
    }
    async fn remove_dev_tools(&self) -> Result<(), Error> {
        self.remove_listed("dev_tools_file_list")
    }
    async fn remove_static_libraries(&self) -> Result<(), Error> {
        self.remove_listed("static_libraries_list")
    }
    async fn setup_settings_tmpfs(&self) -> Result<(), Error> {
        self.settings_tmpfs()
    }
    async fn setup_runtime_configuration(&self) -> Result<(), Error> {
        self.stemcell_program("bosh-agent-rc").await
    }
    async fn setup_logrotate(&self, group: &str, size: &str) -> Result<(), Error> {
        self.logrotate(group, size).await
    }
    async fn file_from_disk(&self, disk: &Path, file: &str) -> Result<Vec<u8>, Error> {
        self.read_from_disk(disk, file).await
    }
    async fn file_from_cdrom(&self, file: &str) -> Result<Vec<u8>, Error> {
        self.read_from_cdrom(file).await
    }
    async fn adjust_persistent_disk_partitioning(
        &self,
        disk: &DiskSettings,
        at: &Path,
    ) -> Result<(), Error> {
        self.adjust_partitioning(disk, at).await
    }
    async fn mount_persistent_disk(&self, disk: &DiskSettings, at: &Path) -> Result<(), Error> {
        self.mount_persistent(disk, at).await
    }
    async fn unmount_persistent_disk(&self, disk: &DiskSettings) -> Result<bool, Error> {
        self.unmount_persistent(disk).await
    }
    async fn migrate_persistent_disk(&self, from: &Path, to: &Path) -> Result<(), Error> {
        self.migrate(from, to).await
    }
    async fn is_persistent_disk_mounted(&self, disk: &DiskSettings) -> Result<bool, Error> {
        self.persistent_is_mounted(disk).await
    }
    async fn is_persistent_disk_mountable(&self, disk: &DiskSettings) -> Result<bool, Error> {
        self.persistent_is_mountable(disk).await
    }
    async fn mount_source(&self, path: &Path) -> Result<Option<String>, Error> {
        Ok(mounts::Mounts::read()?
            .at(path)
            .map(|mount| mount.source.clone()))
    }
    async fn associate_disk(&self, name: &str, disk: &DiskSettings) -> Result<(), Error> {
        self.associate(name, disk).await
    }
    async fn setup_dynamic_disk(&self, disk: &DiskSettings) -> Result<(), Error> {
        self.dynamic(disk).await
    }
    async fn cleanup_dynamic_disk(&self, disk_cid: &str) -> Result<(), Error> {
        self.forget_dynamic(disk_cid)
    }
    async fn create_user(&self, user: &str, base: &Path) -> Result<(), Error> {
        self.new_user(user, base).await
    }
    async fn add_user_to_groups(&self, user: &str, groups: &[&str]) -> Result<(), Error> {
        self.groups(user, groups).await
    }
    async fn delete_ephemeral_users_matching(&self, regex: &str) -> Result<(), Error> {
        self.delete_users(regex).await
    }
    async fn host_public_key(&self) -> Result<String, Error> {
        self.public_host_key()
    }
    async fn default_network(&self, ipv6: bool) -> Result<DefaultNetwork, Error> {
        self.default_route(ipv6).await
    }
    async fn resolve_network(&self, network: &Network) -> Result<Option<DefaultNetwork>, Error> {
        if !network.is_dhcp() {
            return Ok(None);
        }
        self.default_route(network.prefix == "128").await.map(Some)
    }
    async fn configured_interfaces(&self) -> Result<Vec<String>, Error> {
        self.interfaces_with_configuration()
    }
    async fn prepare_for_networking_change(&self) -> Result<(), Error> {
        self.forget_interfaces()
    }
    async fn delete_arp_entry(&self, ip: IpAddr) -> Result<(), Error> {
        self.flush_arp(ip).await
    }
    async fn dns_records_version(&self) -> Option<u64> {
        self.records_version()
    }
    async fn sync_dns(&self, records: &[u8], version: u64, hostname: &str) -> Result<(), Error> {
        self.records(records, version, hostname)
    }
    async fn update_trusted_certificates(&self, pem: &str) -> Result<(), Error> {
        self.trusted_certificates(pem).await
    }
    async fn write_instance_files(&self, instance: &InstanceFiles<'_>) -> Result<(), Error> {
        files::write_instance_files(&self.dirs.instance(), instance)
    }
    fn dirs(&self) -> &Dirs {
        &self.dirs
    }
    async fn shutdown(&self) -> Result<(), Error> {
        Command::new("shutdown")
            .args(["-P", "0"])
            .run()
            .await
            .map_err(|e| Error::command("shutting down", e))?;
        Ok(())
    }
}
