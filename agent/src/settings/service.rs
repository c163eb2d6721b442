//! The settings as the agent uses them: cached, with disk hints and updates kept on the VM.
//! Source: upstream settings/service.go.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bosh_protocol::disk::DiskSettings;
use bosh_protocol::{DiskCid, Settings, UpdateSettings};

use super::{Error, Sources, store};

/// Settings and what has been added to them. Methods that are not async do short, local file I/O only.
#[derive(Debug)]
pub struct Service {
    sources: Sources,
    bosh_dir: PathBuf,
    current: RwLock<Arc<Settings>>,
    files: Mutex<()>,
}

impl Service {
    /// `bosh_dir` is `/var/vcap/bosh`.
    pub fn new(sources: Sources, bosh_dir: impl Into<PathBuf>) -> Self {
        Self {
            sources,
            bosh_dir: bosh_dir.into(),
            current: RwLock::default(),
            files: Mutex::new(()),
        }
    }

    /// Reads the settings from their source, or from the last copy if the source is gone, as CD-ROMs are after the first
    /// boot. Settings that must not touch a disk say so themselves: their tmpfs is made before they are kept.
    pub async fn load(&self) -> Result<(), Error> {
        let (mut settings, from_source) = match self.sources.settings().await {
            Ok(settings) => (settings, true),
            Err(error) => match self.cached() {
                Some(settings) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "use the settings of the last boot"
                    );
                    (settings, false)
                }
                None => return Err(error),
            },
        };
        let tmpfs = settings.env.bosh.agent.settings.tmpfs;
        if tmpfs && from_source {
            let made = self.sources.platform().setup_settings_tmpfs().await;
            made.map_err(Error::Tmpfs)?;
        }
        let _files = self.lock();
        settings.update =
            store::read(&self.path(tmpfs, "update_settings.json"))?.unwrap_or_default();
        if from_source {
            store::write(&self.path(tmpfs, "settings.json"), &settings)?;
        }
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
        Ok(())
    }

    /// The settings as last loaded; addresses from DHCP are not filled in.
    pub fn get(&self) -> Arc<Settings> {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Forgets the copy on the VM, so that the next boot must reach the source.
    pub fn invalidate(&self) -> Result<(), Error> {
        let _files = self.lock();
        store::remove(&self.path(self.tmpfs(), "settings.json"))
    }

    /// The infrastructure's key for `vcap`.
    pub async fn public_ssh_key(&self) -> Result<Option<String>, Error> {
        self.sources.public_ssh_key().await
    }

    /// Every persistent disk the VM has been told about.
    pub fn persistent_disks(&self) -> Result<BTreeMap<DiskCid, DiskSettings>, Error> {
        let settings = self.get();
        let _files = self.lock();
        let mut disks: BTreeMap<DiskCid, DiskSettings> = settings
            .disks
            .persistent
            .iter()
            .map(|(cid, hint)| {
                (
                    cid.clone(),
                    settings.persistent_disk_from_hint(cid.clone(), hint.as_ref()),
                )
            })
            .collect();
        disks.extend(self.hints()?);
        Ok(disks)
    }

    /// One persistent disk.
    pub fn persistent_disk(&self, cid: &DiskCid) -> Result<DiskSettings, Error> {
        self.persistent_disks()?
            .remove(cid)
            .ok_or_else(|| Error::UnknownDisk(cid.clone()))
    }

    /// Remembers a disk attached after the VM was made.
    pub fn add_persistent_disk(&self, disk: DiskSettings) -> Result<(), Error> {
        let _files = self.lock();
        let mut hints = self.hints()?;
        hints.insert(disk.id.clone(), disk);
        store::write(&self.hints_path(), &hints)
    }

    /// Forgets such a disk; one that is not known is no error.
    pub fn remove_persistent_disk(&self, cid: &DiskCid) -> Result<(), Error> {
        let _files = self.lock();
        let mut hints = self.hints()?;
        hints.remove(cid);
        store::write(&self.hints_path(), &hints)
    }

    /// Keeps what the director has replaced and uses it from now on.
    pub fn save_update(&self, update: UpdateSettings) -> Result<(), Error> {
        let _files = self.lock();
        store::write(&self.path(self.tmpfs(), "update_settings.json"), &update)?;
        let mut settings = Settings::clone(&self.get());
        settings.update = update;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
        Ok(())
    }

    fn cached(&self) -> Option<Settings> {
        [false, true].iter().find_map(|tmpfs| {
            match store::read(&self.path(*tmpfs, "settings.json")) {
                Ok(settings) => settings,
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the copy of the settings is unusable"
                    );
                    None
                }
            }
        })
    }

    fn hints(&self) -> Result<BTreeMap<DiskCid, DiskSettings>, Error> {
        Ok(store::read(&self.hints_path())?.unwrap_or_default())
    }

    fn hints_path(&self) -> PathBuf {
        self.path(self.tmpfs(), "persistent_disk_hints.json")
    }

    fn path(&self, tmpfs: bool, name: &str) -> PathBuf {
        let dir: &Path = &self.bosh_dir;
        if tmpfs {
            dir.join("settings").join(name)
        } else {
            dir.join(name)
        }
    }

    fn tmpfs(&self) -> bool {
        self.get().env.bosh.agent.settings.tmpfs
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        // Guards files, which are whole at any time: a panic elsewhere does not make them worse.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use bosh_protocol::disk::DiskHint;

    use super::*;
    use crate::config::Source;
    use crate::platform::{Dirs, dummy::Dummy};

    fn service(dir: &Path) -> Service {
        let platform = Arc::new(Dummy::new(Dirs::new(dir)));
        let source = Source::File(dir.join("env.json"));
        Service::new(
            Sources::new(vec![source], platform).unwrap(),
            dir.join("bosh"),
        )
    }

    #[tokio::test]
    async fn survives_the_loss_of_its_source() {
        let dir = tempfile::tempdir().unwrap();
        assert!(service(dir.path()).load().await.is_err());
        std::fs::write(dir.path().join("env.json"), r#"{"agent_id": "a"}"#).unwrap();
        service(dir.path()).load().await.unwrap();
        std::fs::remove_file(dir.path().join("env.json")).unwrap();
        let service = service(dir.path());
        service.load().await.unwrap();
        assert_eq!(service.get().agent_id.as_str(), "a");
        service.invalidate().unwrap();
        assert!(service.load().await.is_err());
    }

    #[tokio::test]
    async fn disks_from_settings_and_from_hints() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join("env.json"),
            r#"{"disks": {"persistent": {"d1": "/dev/sdb"}}, "env": {"persistent_disk_fs": "xfs"}}"#,
        )
        .unwrap();
        let service = service(dir.path());
        service.load().await.unwrap();
        let d2 = service
            .get()
            .persistent_disk_from_hint("d2".into(), Some(&DiskHint::Text("/dev/sdc".into())));
        service.add_persistent_disk(d2.clone()).unwrap();
        assert_eq!(
            service
                .persistent_disk(&"d1".into())
                .unwrap()
                .file_system_type,
            "xfs"
        );
        assert_eq!(service.persistent_disk(&"d2".into()).unwrap(), d2);
        service.remove_persistent_disk(&"d2".into()).unwrap();
        assert_eq!(
            service
                .persistent_disk(&"d2".into())
                .unwrap_err()
                .to_string(),
            "Persistent disk with volume id 'd2' could not be found"
        );
    }

    #[tokio::test]
    async fn updates_survive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("env.json"), r#"{"mbus": "nats://old:1"}"#).unwrap();
        let mut update = UpdateSettings::default();
        update.mbus.urls = vec!["nats://new:1".into()];
        let first = service(dir.path());
        first.load().await.unwrap();
        first.save_update(update).unwrap();
        assert_eq!(first.get().mbus_urls()[0].expose(), "nats://new:1");
        let second = service(dir.path());
        second.load().await.unwrap();
        assert_eq!(second.get().mbus_urls()[0].expose(), "nats://new:1");
    }
}
