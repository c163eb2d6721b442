//! Disks over the network: the agent logs in at the portal, and the multipath daemon makes one device of the paths that
//! appear. Upstream: iscsi_device_path_resolver.go, platform/openiscsi/concrete_open_iscsi_admin.go.
//!
//! The name of a multipath device says nothing about the CPI's id of the disk. As upstream does, a new disk is known by
//! having no partition yet, and the one that was mounted last by being the one that has. What has been found so is
//! remembered for as long as the agent runs.

use super::Patience;
use crate::platform::{
    Error,
    command::{self, Command},
    files,
    linux::Linux,
};
use bosh_protocol::{
    DiskCid,
    disk::{DiskSettings, IscsiSettings},
};
use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// How long a disk may take after the login. Upstream: provider.go.
const TIME: Duration = Duration::from_secs(50);
const PAUSE: Duration = Duration::from_secs(1);
/// Upstream: maxRecentDevices.
const REMEMBERED: usize = 10;
/// The old disk and the new one.
const MOST: usize = 2;

/// The devices of the disks that were looked for lately.
#[derive(Debug, Default)]
pub(in crate::platform::linux) struct Recent(Mutex<VecDeque<(DiskCid, PathBuf)>>);

impl Recent {
    fn get(&self, disk: &DiskCid) -> Option<PathBuf> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // One that has been detached is no more.
        all.retain(|(_, path)| path.exists());
        let found = all.iter().find(|(id, _)| id == disk)?;
        Some(found.1.clone())
    }

    fn put(&self, disk: &DiskCid, path: &Path) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(id, _)| id != disk);
        all.push_back((disk.clone(), path.to_owned()));
        while all.len() > REMEMBERED {
            all.pop_front();
        }
    }
}

impl Linux {
    pub(super) async fn by_iscsi(
        &self,
        disk: &DiskSettings,
        patience: Patience,
    ) -> Result<Option<PathBuf>, Error> {
        check(&disk.iscsi)?;
        if let Some(path) = self.recent.get(&disk.id) {
            return Ok(Some(path));
        }
        let last = self.last_mounted()?;
        let old = self.multipath_devices(true).await?;
        if old.len() > MOST {
            let many = old.len();
            return Err(Error::Device(format!(
                "{many} persistent disks are attached, and no more than {MOST} can be told apart"
            )));
        }
        let known = last.is_empty() || last == disk.id.as_str();
        if let (true, Some(path)) = (known, old.first()) {
            self.recent.put(&disk.id, path);
            return Ok(Some(path.clone()));
        }
        // What has never been logged in to is not mounted either.
        if patience == Patience::Now {
            return Ok(None);
        }
        self.log_in(&disk.iscsi).await?;
        let deadline = Instant::now() + TIME;
        loop {
            let new = self.multipath_devices(false).await?;
            let mut new = new.into_iter().filter(|path| !old.contains(path));
            match (new.next(), new.next()) {
                // Without an old disk there must be no doubt.
                (Some(_), Some(_)) if old.is_empty() => {}
                (Some(path), _) => {
                    self.recent.put(&disk.id, &path);
                    return Ok(Some(path));
                }
                (None, _) => {}
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn last_mounted(&self) -> Result<String, Error> {
        let path = self.dirs.bosh().join("managed_disk_settings.json");
        Ok(files::read(&path)?.unwrap_or_default())
    }

    /// The multipath devices that have a first partition, or those that there are at all.
    async fn multipath_devices(&self, partitioned: bool) -> Result<Vec<PathBuf>, Error> {
        let output = Command::new("dmsetup")
            .arg("ls")
            .run()
            .await
            .map_err(|e| Error::command("listing mapped devices", e))?;
        let dir = self.dirs.system("/dev/mapper");
        let names = device_names(&output.stdout, partitioned);
        Ok(names.into_iter().map(|name| dir.join(name)).collect())
    }

    async fn log_in(&self, settings: &IscsiSettings) -> Result<(), Error> {
        let dir = self.dirs.system("/etc/iscsi");
        let initiator = format!("InitiatorName={}\n", settings.initiator_name);
        files::write(
            &dir.join("initiatorname.iscsi"),
            initiator.as_bytes(),
            0o600,
        )?;
        files::write(
            &dir.join("iscsid.conf"),
            configuration(settings).as_bytes(),
            0o600,
        )?;
        self.restart_storage_services().await?;
        let portal = settings.target.as_str();
        let discovery = ["-m", "discovery", "-t", "sendtargets", "-p", portal];
        iscsiadm(&discovery)
            .await
            .map_err(|e| Error::command(format!("asking {portal} for its disks"), e))?;
        // A new disk shows only in a new session.
        match iscsiadm(&["-m", "session"]).await {
            Ok(output) if output.stdout.starts_with("tcp: [") => {
                iscsiadm(&["-m", "node", "-u"])
                    .await
                    .map_err(|e| Error::command("logging out of the iSCSI sessions", e))?;
            }
            Ok(_) => {}
            Err(error) if error.output().contains("No active sessions") => {}
            Err(error) => return Err(Error::command("listing the iSCSI sessions", error)),
        }
        iscsiadm(&["-m", "node", "-l"])
            .await
            .map_err(|e| Error::command(format!("logging in at {portal}"), e))?;
        Ok(())
    }

    /// So that they read their configuration, and partition tables, again.
    pub(in crate::platform::linux) async fn restart_storage_services(&self) -> Result<(), Error> {
        for service in ["open-iscsi", "multipath-tools"] {
            let script = self.dirs.system("/etc/init.d").join(service);
            let command = if script.exists() {
                Command::new(script).arg("restart")
            } else {
                Command::new("systemctl").args(["restart", service])
            };
            command
                .run()
                .await
                .map_err(|e| Error::command(format!("restarting {service}"), e))?;
        }
        Ok(())
    }

    /// Forgets the paths to a disk that has been unmounted for good.
    pub(in crate::platform::linux) async fn flush_multipath(
        &self,
        name: &str,
    ) -> Result<(), Error> {
        let paths = Command::new("multipath")
            .arg("-ll")
            .run()
            .await
            .map_err(|e| Error::command("listing the multipath devices", e))?;
        if paths.stdout.contains(name) {
            Command::new("multipath")
                .args(["-f", name])
                .run()
                .await
                .map_err(|e| Error::command(format!("flushing the multipath device {name}"), e))?;
        }
        Ok(())
    }
}

async fn iscsiadm(args: &[&str]) -> Result<command::Output, command::Error> {
    Command::new("iscsiadm").args(args).run().await
}

fn check(settings: &IscsiSettings) -> Result<(), Error> {
    let fields = [
        ("InitiatorName", settings.initiator_name.as_str()),
        ("Username", settings.username.as_str()),
        ("Password", settings.password.expose()),
        ("Target", settings.target.as_str()),
    ];
    for (name, value) in fields {
        if value.is_empty() {
            return Err(Error::Invalid(format!("iSCSI {name} is not set")));
        }
        // It becomes a line of a configuration, or an argument.
        if value.chars().any(char::is_control) || value.starts_with('-') {
            return Err(Error::Invalid(format!("iSCSI {name} is malformed")));
        }
    }
    Ok(())
}

/// open-iscsi's own keys; the values are upstream's.
fn configuration(settings: &IscsiSettings) -> String {
    let mut text = "# Written by bosh-agent.\nnode.startup = automatic\n".to_owned();
    for side in ["node.session", "discovery.sendtargets"] {
        text += &format!(
            "{side}.auth.authmethod = CHAP\n{side}.auth.username = {}\n{side}.auth.password = {}\n",
            settings.username,
            settings.password.expose()
        );
    }
    for (key, value) in [
        ("session.timeo.replacement_timeout", "120"),
        ("conn[0].timeo.login_timeout", "15"),
        ("conn[0].timeo.logout_timeout", "15"),
        ("conn[0].timeo.noop_out_interval", "10"),
        ("conn[0].timeo.noop_out_timeout", "15"),
        ("session.iscsi.InitialR2T", "No"),
        ("session.iscsi.ImmediateData", "Yes"),
        ("session.iscsi.FirstBurstLength", "262144"),
        ("session.iscsi.MaxBurstLength", "16776192"),
        ("conn[0].iscsi.MaxRecvDataSegmentLength", "65536"),
    ] {
        text += &format!("node.{key} = {value}\n");
    }
    text
}

/// Names out of `dmsetup ls`, each line `NAME (MAJOR:MINOR)`: of the devices with a first partition, or of all that are no
/// partitions themselves.
fn device_names(listing: &str, partitioned: bool) -> Vec<&str> {
    let names = listing
        .lines()
        .filter(|line| line.contains('('))
        .filter_map(|line| line.split_whitespace().next());
    names
        .filter_map(|name| match name.rsplit_once("-part") {
            Some((device, "1")) if partitioned => Some(device),
            Some((_, number)) if number.bytes().all(|b| b.is_ascii_digit()) => None,
            _ if partitioned => None,
            _ => Some(name),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_devices_are_told_from_their_partitions() {
        let listing = "3600a0980\t(254:0)\n3600a0980-part1\t(254:1)\n3600a0981\t(254:2)\nvg-root-part12 (254:9)\n";
        assert_eq!(device_names(listing, true), ["3600a0980"]);
        assert_eq!(device_names(listing, false), ["3600a0980", "3600a0981"]);
        assert!(device_names("No devices found\n", false).is_empty());
    }

    #[test]
    fn what_is_missing_or_would_break_a_line_is_refused() {
        let mut settings = IscsiSettings {
            initiator_name: "iqn.2026-01.test:vm".into(),
            username: "u".into(),
            target: "10.0.0.1".into(),
            password: "p".to_owned().into(),
        };
        check(&settings).unwrap();
        assert!(configuration(&settings).contains("discovery.sendtargets.auth.password = p\n"));
        settings.username = "u\nnode.startup = manual".into();
        assert!(
            check(&settings)
                .unwrap_err()
                .to_string()
                .contains("Username is malformed")
        );
        settings.username.clear();
        assert_eq!(
            check(&settings).unwrap_err().to_string(),
            "iSCSI Username is not set"
        );
    }

    #[test]
    fn few_devices_are_remembered_and_only_while_they_are_there() {
        let recent = Recent::default();
        let dir = tempfile::tempdir().unwrap();
        let path = |n: usize| dir.path().join(n.to_string());
        for n in 0..12 {
            std::fs::write(path(n), "").unwrap();
            recent.put(&DiskCid::from(n.to_string()), &path(n));
        }
        assert_eq!(recent.get(&DiskCid::from("1")), None);
        assert_eq!(recent.get(&DiskCid::from("11")), Some(path(11)));
        std::fs::remove_file(path(11)).unwrap();
        assert_eq!(recent.get(&DiskCid::from("11")), None);
    }
}
