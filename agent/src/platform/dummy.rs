//! A platform that does nothing to the machine and remembers what was asked of it. Upstream: platform/dummy_platform.go.
//!
//! It makes the directories that jobs are installed into, below its base directory, so that `prepare`, `apply` and
//! `compile_package` work for real on top of it.

use super::{DefaultNetwork, Dirs, Error, InstanceFiles, Platform, files};
use async_trait::async_trait;
use bosh_protocol::{
    Secret,
    disk::DiskSettings,
    network::{Network, Networks},
    settings::{JobDir, RunDir},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// See the module.
#[derive(Debug)]
pub struct Dummy {
    dirs: Dirs,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    calls: Vec<String>,
    failing: BTreeMap<String, String>,
    mounted: BTreeMap<PathBuf, String>,
    users: BTreeSet<String>,
    dns_version: Option<u64>,
}

impl Dummy {
    /// A platform whose directories are below `dirs`.
    pub fn new(dirs: Dirs) -> Self {
        Self {
            dirs,
            state: Mutex::default(),
        }
    }

    /// What was asked of it so far: `setup_hostname agent-id`, in order.
    pub fn calls(&self) -> Vec<String> {
        self.state().calls.clone()
    }

    /// Makes a method fail with this message from now on.
    pub fn fail(&self, method: &str, message: &str) {
        self.state()
            .failing
            .insert(method.to_owned(), message.to_owned());
    }

    /// Lets a method succeed again.
    pub fn heal(&self, method: &str) {
        self.state().failing.remove(method);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self, method: &str, args: &str) -> Result<(), Error> {
        let mut state = self.state();
        state
            .calls
            .push(format!("{method} {args}").trim_end().to_owned());
        match state.failing.get(method) {
            Some(message) => Err(Error::Invalid(message.clone())),
            None => Ok(()),
        }
    }

    fn mkdirs(&self, dirs: &[PathBuf]) -> Result<(), Error> {
        dirs.iter().try_for_each(|dir| files::mkdir(dir, 0o755))
    }
}

fn device(disk: &DiskSettings) -> String {
    [&disk.path, &disk.volume_id, &disk.device_id]
        .into_iter()
        .find(|s| !s.is_empty())
        .cloned()
        .unwrap_or_default()
}

#[async_trait]
impl Platform for Dummy {
    async fn setup_ssh(&self, public_keys: &[String], user: &str) -> Result<(), Error> {
        self.call("setup_ssh", &format!("{user} {}", public_keys.join(",")))
    }
    async fn set_user_password(&self, user: &str, encrypted: &str) -> Result<(), Error> {
        self.call("set_user_password", &format!("{user} {encrypted}"))
    }
    async fn setup_ipv6(&self, enable: bool) -> Result<(), Error> {
        self.call("setup_ipv6", &enable.to_string())
    }
    async fn setup_hostname(&self, hostname: &str) -> Result<(), Error> {
        self.call("setup_hostname", hostname)
    }
    async fn setup_networking(&self, networks: &Networks, _mbus: &[String]) -> Result<(), Error> {
        let names: Vec<&str> = networks.0.keys().map(String::as_str).collect();
        self.call("setup_networking", &names.join(","))
    }
    async fn setup_raw_ephemeral_disks(&self, disks: &[DiskSettings]) -> Result<(), Error> {
        self.call("setup_raw_ephemeral_disks", &disks.len().to_string())
    }
    async fn ephemeral_disk_path(&self, disk: &DiskSettings) -> Option<PathBuf> {
        Some(device(disk))
            .filter(|path| !path.is_empty())
            .map(PathBuf::from)
    }
    async fn setup_ephemeral_disk(
        &self,
        path: Option<&Path>,
        swap: Option<u64>,
        label: &str,
    ) -> Result<(), Error> {
        self.call(
            "setup_ephemeral_disk",
            &format!("{path:?} {swap:?} {label}"),
        )?;
        self.mkdirs(&[self.dirs.data()])
    }
    async fn setup_root_disk(&self, _ephemeral: Option<&Path>) -> Result<(), Error> {
        self.call("setup_root_disk", "")
    }
    async fn setup_shared_memory(&self) -> Result<(), Error> {
        self.call("setup_shared_memory", "")
    }
    async fn setup_log_dir(&self) -> Result<(), Error> {
        self.call("setup_log_dir", "")
    }
    async fn setup_opt_dir(&self) -> Result<(), Error> {
        self.call("setup_opt_dir", "")
    }
    async fn set_time_with_ntp_servers(&self, servers: &[String]) -> Result<(), Error> {
        self.call("set_time_with_ntp_servers", &servers.join(","))
    }
    async fn setup_logging_and_auditing(&self) -> Result<(), Error> {
        self.call("setup_logging_and_auditing", "")
    }
    async fn setup_data_dir(&self, _job_dir: &JobDir, _run_dir: &RunDir) -> Result<(), Error> {
        self.call("setup_data_dir", "")?;
        let d = &self.dirs;
        let sys = d.data_sys();
        self.mkdirs(&[
            sys.join("log"),
            sys.join("run"),
            d.data_jobs(),
            d.data_packages(),
            d.sensitive_blobs(),
        ])?;
        files::symlink(&sys, &d.sys())
    }
    async fn setup_tmp_dir(&self) -> Result<(), Error> {
        self.call("setup_tmp_dir", "")?;
        self.mkdirs(&[self.dirs.tmp()])
    }
    async fn setup_can_restart_dir(&self) -> Result<(), Error> {
        self.call("setup_can_restart_dir", "")?;
        self.mkdirs(&[self.dirs.can_restart()])
    }
    async fn setup_home_dir(&self) -> Result<(), Error> {
        self.call("setup_home_dir", "")
    }
    async fn setup_blobs_dir(&self) -> Result<(), Error> {
        self.call("setup_blobs_dir", "")?;
        self.mkdirs(&[self.dirs.blobs()])
    }
    async fn setup_monit_user(&self) -> Result<(), Error> {
        self.call("setup_monit_user", "")
    }
    async fn monit_credentials(&self) -> Result<(String, String), Error> {
        Ok(("vcap".to_owned(), "dummy-password".to_owned()))
    }
    async fn setup_firewall(&self) -> Result<(), Error> {
        self.call("setup_firewall", "")
    }
    async fn protect_message_bus(&self, urls: &[Secret]) {
        // Nothing that could be made to fail.
        let _ = self.call("protect_message_bus", &urls.len().to_string());
    }
    async fn remove_dev_tools(&self) -> Result<(), Error> {
        self.call("remove_dev_tools", "")
    }
    async fn remove_static_libraries(&self) -> Result<(), Error> {
        self.call("remove_static_libraries", "")
    }
    async fn setup_settings_tmpfs(&self) -> Result<(), Error> {
        self.call("setup_settings_tmpfs", "")?;
        self.mkdirs(&[self.dirs.settings()])
    }
    async fn setup_runtime_configuration(&self) -> Result<(), Error> {
        self.call("setup_runtime_configuration", "")
    }
    async fn setup_logrotate(&self, group: &str, size: &str) -> Result<(), Error> {
        self.call("setup_logrotate", &format!("{group} {size}"))
    }
    async fn file_from_disk(&self, disk: &Path, file: &str) -> Result<Vec<u8>, Error> {
        self.call("file_from_disk", &format!("{} {file}", disk.display()))?;
        Ok(Vec::new())
    }
    async fn file_from_cdrom(&self, file: &str) -> Result<Vec<u8>, Error> {
        self.call("file_from_cdrom", file)?;
        Ok(Vec::new())
    }
    async fn adjust_persistent_disk_partitioning(
        &self,
        disk: &DiskSettings,
        at: &Path,
    ) -> Result<(), Error> {
        self.call(
            "adjust_persistent_disk_partitioning",
            &format!("{} {}", device(disk), at.display()),
        )
    }
    async fn mount_persistent_disk(&self, disk: &DiskSettings, at: &Path) -> Result<(), Error> {
        self.call(
            "mount_persistent_disk",
            &format!("{} {}", device(disk), at.display()),
        )?;
        self.mkdirs(&[at.to_owned()])?;
        let mut state = self.state();
        let at = if state
            .mounted
            .get(at)
            .is_some_and(|there| *there != device(disk))
        {
            self.dirs.store_migration()
        } else {
            at.to_owned()
        };
        state.mounted.insert(at, device(disk));
        Ok(())
    }
    async fn unmount_persistent_disk(&self, disk: &DiskSettings) -> Result<bool, Error> {
        self.call("unmount_persistent_disk", &device(disk))?;
        let mut state = self.state();
        let before = state.mounted.len();
        state.mounted.retain(|_, there| *there != device(disk));
        Ok(state.mounted.len() < before)
    }
    async fn migrate_persistent_disk(&self, from: &Path, to: &Path) -> Result<(), Error> {
        self.call(
            "migrate_persistent_disk",
            &format!("{} {}", from.display(), to.display()),
        )?;
        let mut state = self.state();
        if let Some(new) = state.mounted.remove(to) {
            state.mounted.insert(from.to_owned(), new);
        }
        Ok(())
    }
    async fn is_persistent_disk_mounted(&self, disk: &DiskSettings) -> Result<bool, Error> {
        self.call("is_persistent_disk_mounted", &device(disk))?;
        Ok(self
            .state()
            .mounted
            .values()
            .any(|there| *there == device(disk)))
    }
    async fn is_persistent_disk_mountable(&self, disk: &DiskSettings) -> Result<bool, Error> {
        self.call("is_persistent_disk_mountable", &device(disk))?;
        Ok(true)
    }
    async fn mount_source(&self, path: &Path) -> Result<Option<String>, Error> {
        Ok(self.state().mounted.get(path).cloned())
    }
    async fn associate_disk(&self, name: &str, disk: &DiskSettings) -> Result<(), Error> {
        self.call("associate_disk", &format!("{name} {}", device(disk)))
    }
    async fn setup_dynamic_disk(&self, disk: &DiskSettings) -> Result<(), Error> {
        self.call("setup_dynamic_disk", &device(disk))
    }
    async fn cleanup_dynamic_disk(&self, disk_cid: &str) -> Result<(), Error> {
        self.call("cleanup_dynamic_disk", disk_cid)
    }
    async fn create_user(&self, user: &str, base: &Path) -> Result<(), Error> {
        self.call("create_user", &format!("{user} {}", base.display()))?;
        self.state().users.insert(user.to_owned());
        Ok(())
    }
    async fn add_user_to_groups(&self, user: &str, groups: &[&str]) -> Result<(), Error> {
        self.call(
            "add_user_to_groups",
            &format!("{user} {}", groups.join(",")),
        )
    }
    async fn delete_ephemeral_users_matching(&self, regex: &str) -> Result<(), Error> {
        self.call("delete_ephemeral_users_matching", regex)
    }
    async fn host_public_key(&self) -> Result<String, Error> {
        Ok("ssh-rsa dummy".to_owned())
    }
    async fn default_network(&self, _ipv6: bool) -> Result<DefaultNetwork, Error> {
        Ok(DefaultNetwork {
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            netmask: IpAddr::V4(Ipv4Addr::new(255, 0, 0, 0)),
            gateway: IpAddr::V4(Ipv4Addr::LOCALHOST),
        })
    }
    async fn resolve_network(&self, _network: &Network) -> Result<Option<DefaultNetwork>, Error> {
        Ok(None)
    }
    async fn configured_interfaces(&self) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }
    async fn prepare_for_networking_change(&self) -> Result<(), Error> {
        self.call("prepare_for_networking_change", "")
    }
    async fn delete_arp_entry(&self, ip: IpAddr) -> Result<(), Error> {
        self.call("delete_arp_entry", &ip.to_string())
    }
    async fn dns_records_version(&self) -> Option<u64> {
        self.state().dns_version
    }
    async fn sync_dns(&self, _records: &[u8], version: u64, hostname: &str) -> Result<(), Error> {
        self.call("sync_dns", &format!("{version} {hostname}"))?;
        self.state().dns_version = Some(version);
        Ok(())
    }
    async fn update_trusted_certificates(&self, pem: &str) -> Result<(), Error> {
        self.call("update_trusted_certificates", &pem.len().to_string())
    }
    async fn write_instance_files(&self, files: &InstanceFiles<'_>) -> Result<(), Error> {
        self.call("write_instance_files", files.id)?;
        super::files::write_instance_files(&self.dirs.instance(), files)
    }
    fn dirs(&self) -> &Dirs {
        &self.dirs
    }
    async fn shutdown(&self) -> Result<(), Error> {
        self.call("shutdown", "")
    }
}
