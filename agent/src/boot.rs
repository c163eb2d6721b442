//! From a machine that has just come up to one that answers. Source: upstream agent/bootstrap.go.

use bosh_protocol::{DiskCid, Secret, Settings};

use crate::platform::{self, Platform};
use crate::settings;

/// Why the machine cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A step failed.
    #[error("{step}")]
    Step {
        /// Which, in upstream's words.
        step: &'static str,
        /// Why.
        #[source]
        source: platform::Error,
    },
    /// The settings are missing or unusable.
    #[error("{step}")]
    Settings {
        /// Which, in upstream's words.
        step: &'static str,
        /// Why.
        #[source]
        source: Box<settings::Error>,
    },
    /// A disk that is gone.
    #[error("Disk {0} is not attached")]
    DiskNotAttached(DiskCid),
    /// A disk that nobody has spoken of.
    #[error("Unexpected disk attached")]
    UnexpectedDisk,
    /// A machine with secrets in memory only that has been rebooted.
    #[error("Refusing to boot")]
    Rebooted,
    /// A file of the agent's own.
    #[error("{operation} {}", path.display())]
    File {
        /// Verb.
        operation: &'static str,
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

trait Step<T> {
    fn step(self, step: &'static str) -> Result<T, Error>;
}

impl<T> Step<T> for Result<T, platform::Error> {
    fn step(self, step: &'static str) -> Result<T, Error> {
        self.map_err(|source| Error::Step { step, source })
    }
}

impl<T> Step<T> for Result<T, settings::Error> {
    fn step(self, step: &'static str) -> Result<T, Error> {
        self.map_err(|source| Error::Settings {
            step,
            source: Box::new(source),
        })
    }
}

/// Sets up the machine as the settings say, up to where the supervisor can start. May be run again at any time.
pub async fn run(platform: &dyn Platform, service: &settings::Service) -> Result<(), Error> {
    log_stemcell(platform);
    platform
        .setup_runtime_configuration()
        .await
        .step("Setting up runtime configuration")?;
    let infrastructure_key = service
        .public_ssh_key()
        .await
        .step("Setting up ssh: Getting iaas public key")?;
    let mut keys: Vec<String> = infrastructure_key.into_iter().collect();
    if !keys.is_empty() {
        platform
            .setup_ssh(&keys, "vcap")
            .await
            .step("Setting up iaas ssh")?;
    }

    service.load().await.step("Fetching settings")?;
    let settings = service.get();
    let env = &settings.env.bosh;
    if !env.authorized_keys.is_empty() {
        keys.splice(0..0, env.authorized_keys.iter().cloned());
        platform
            .setup_ssh(&keys, "vcap")
            .await
            .step("Adding env-configured ssh keys")?;
    }
    set_passwords(platform, &settings).await?;
    platform
        .setup_ipv6(env.ipv6.enable)
        .await
        .step("Setting up IPv6")?;
    platform
        .setup_hostname(settings.agent_id.as_str())
        .await
        .step("Setting up hostname")?;
    let mbus: Vec<String> = settings
        .mbus_urls()
        .iter()
        .map(Secret::expose)
        .map(str::to_owned)
        .collect();
    platform
        .setup_networking(&settings.networks, &mbus)
        .await
        .step("Setting up networking")?;

    platform
        .setup_raw_ephemeral_disks(&settings.disks.raw_ephemeral)
        .await
        .step("Setting up raw ephemeral disk")?;
    let ephemeral = platform
        .ephemeral_disk_path(&settings.ephemeral_disk())
        .await;
    let ephemeral = ephemeral.as_deref();
    platform
        .setup_ephemeral_disk(ephemeral, env.swap_bytes(), settings.agent_id.as_str())
        .await
        .step("Setting up ephemeral disk")?;
    platform
        .setup_root_disk(ephemeral)
        .await
        .step("Setting up root disk")?;
    platform
        .setup_shared_memory()
        .await
        .step("Setting up Shared Memory")?;
    platform.setup_log_dir().await.step("Setting up log dir")?;
    platform.setup_opt_dir().await.step("Setting up opt dir")?;
    platform
        .set_time_with_ntp_servers(settings.ntp_servers())
        .await
        .step("Setting up NTP servers")?;
    platform
        .setup_logging_and_auditing()
        .await
        .step("Starting up logging and auditing utilities")?;
    platform
        .setup_data_dir(&env.job_dir, &env.run_dir)
        .await
        .step("Setting up data dir")?;
    platform.setup_tmp_dir().await.step("Setting up tmp dir")?;
    if settings.tmpfs_enabled() {
        platform
            .setup_can_restart_dir()
            .await
            .step("Setting up canrestart dir")?;
    }
    platform
        .setup_home_dir()
        .await
        .step("Setting up home dir")?;
    platform
        .setup_blobs_dir()
        .await
        .step("Setting up blobs dir")?;

    mount_last_disk(platform, service).await?;
    compare_disks(service)?;

    platform
        .setup_firewall()
        .await
        .step("Setting up firewall")?;
    platform
        .setup_monit_user()
        .await
        .step("Setting up monit user")?;
    if env.remove_dev_tools {
        platform
            .remove_dev_tools()
            .await
            .step("Removing Development Tools Packages")?;
    }
    if env.remove_static_libraries {
        platform
            .remove_static_libraries()
            .await
            .step("Removing static libraries")?;
    }
    register_start(platform, &settings)
}

/// Which stemcell this is: the first question of whoever reads the log.
fn log_stemcell(platform: &dyn Platform) {
    let read = |name: &str| {
        let text = std::fs::read_to_string(platform.dirs().etc().join(name));
        let text = text.unwrap_or_default();
        if text.is_empty() {
            "?".to_owned()
        } else {
            text.trim().to_owned()
        }
    };
    let (version, git) = (read("stemcell_version"), read("stemcell_git_sha1"));
    tracing::info!("Running on stemcell version '{version}' (git: {git})");
}

async fn set_passwords(platform: &dyn Platform, settings: &Settings) -> Result<(), Error> {
    let env = &settings.env.bosh;
    if !env.keep_root_password {
        platform
            .set_user_password("root", env.password.expose())
            .await
            .step("Setting root password")?;
    }
    platform
        .set_user_password("vcap", env.password.expose())
        .await
        .step("Setting vcap password")
}

/// The disk that was mounted when the machine went down is mounted again, if it has ever been partitioned.
async fn mount_last_disk(
    platform: &dyn Platform,
    service: &settings::Service,
) -> Result<(), Error> {
    let path = platform.dirs().bosh().join("managed_disk_settings.json");
    let cid = match std::fs::read_to_string(&path) {
        Ok(cid) if cid.is_empty() => return Ok(()),
        Ok(cid) => DiskCid::new(cid),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(source) => {
            return Err(Error::File {
                operation: "read",
                path,
                source,
            });
        }
    };
    if service
        .persistent_disks()
        .step("Reading persistent disk settings")?
        .is_empty()
    {
        tracing::warn!(disk = %cid, "the disk that was mounted last is not attached any more");
        return Ok(());
    }
    let disk = service
        .persistent_disk(&cid)
        .step("Attached disk disagrees with previous mount")?;
    if platform
        .is_persistent_disk_mountable(&disk)
        .await
        .step("Checking if persistent disk is partitioned")?
    {
        let store = platform.dirs().store();
        let adjusted = platform
            .adjust_persistent_disk_partitioning(&disk, &store)
            .await;
        adjusted.step("Adjusting persistent disk partitioning")?;
        platform
            .mount_persistent_disk(&disk, &store)
            .await
            .step("Mounting persistent disk")?;
    }
    Ok(())
}

fn compare_disks(service: &settings::Service) -> Result<(), Error> {
    let disks = service
        .persistent_disks()
        .step("Reading all persistent disk settings")?;
    let settings = service.get();
    let associations = &settings.update.disk_associations;
    if let Some(missing) = associations
        .iter()
        .find(|association| !disks.contains_key(&association.cid))
    {
        return Err(Error::DiskNotAttached(missing.cid.clone()));
    }
    if disks.len() > 1 && disks.len() > associations.len() {
        return Err(Error::UnexpectedDisk);
    }
    Ok(())
}

/// A machine that keeps jobs or settings in memory cannot come back from a reboot: it has lost them. The agent alone may
/// restart. Source: upstream agent/bootonce.
fn register_start(platform: &dyn Platform, settings: &Settings) -> Result<(), Error> {
    if !settings.tmpfs_enabled() {
        return Ok(());
    }
    let on_disk = platform.dirs().bosh().join("bootonce");
    let in_memory = platform.dirs().can_restart().join("bootonce");
    if on_disk.exists() && !in_memory.exists() {
        return Err(Error::Rebooted);
    }
    for path in [on_disk, in_memory] {
        std::fs::write(&path, []).map_err(|source| Error::File {
            operation: "write",
            path,
            source,
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::config::Source;
    use crate::platform::{Dirs, dummy::Dummy};
    use crate::settings::Sources;

    fn setup(dir: &Path, settings: &str) -> (Arc<Dummy>, settings::Service) {
        std::fs::write(dir.join("env.json"), settings).unwrap();
        let dirs = Dirs::new(dir.join("base"));
        std::fs::create_dir_all(dirs.bosh()).unwrap();
        std::fs::create_dir_all(dirs.can_restart()).unwrap();
        let platform = Arc::new(Dummy::new(dirs.clone()));
        let sources = vec![Source::File(dir.join("env.json"))];
        let sources = Sources::new(sources, platform.clone()).unwrap();
        (platform, settings::Service::new(sources, dirs.bosh()))
    }

    #[tokio::test]
    async fn boots_with_next_to_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (platform, service) = setup(dir.path(), r#"{"agent_id": "a-1"}"#);
        run(&*platform, &service).await.unwrap();
        assert_eq!(service.get().agent_id.as_str(), "a-1");
        run(&*platform, &service).await.unwrap();
    }

    #[tokio::test]
    async fn an_unexpected_disk_stops_the_boot() {
        let dir = tempfile::tempdir().unwrap();
        let (platform, service) = setup(
            dir.path(),
            r#"{"disks": {"persistent": {"d1": "/dev/sdb", "d2": "/dev/sdc"}}}"#,
        );
        assert_eq!(
            run(&*platform, &service).await.unwrap_err().to_string(),
            "Unexpected disk attached"
        );
        let (platform, service) = setup(dir.path(), "{}");
        std::fs::write(
            platform.dirs().bosh().join("update_settings.json"),
            r#"{"disk_associations": [{"name": "n", "cid": "d3"}]}"#,
        )
        .unwrap();
        assert_eq!(
            run(&*platform, &service).await.unwrap_err().to_string(),
            "Disk d3 is not attached"
        );
    }

    #[tokio::test]
    async fn a_machine_with_secrets_in_memory_does_not_come_back_from_a_reboot() {
        let dir = tempfile::tempdir().unwrap();
        let (platform, service) = setup(
            dir.path(),
            r#"{"env": {"bosh": {"job_dir": {"tmpfs": true}}}}"#,
        );
        run(&*platform, &service).await.unwrap();
        run(&*platform, &service).await.unwrap();
        std::fs::remove_file(platform.dirs().can_restart().join("bootonce")).unwrap();
        assert_eq!(
            run(&*platform, &service).await.unwrap_err().to_string(),
            "Refusing to boot"
        );
    }
}
