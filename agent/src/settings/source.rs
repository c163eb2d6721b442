//! The order in which sources are tried: the first that answers stays. Source: upstream
//! infrastructure/multi_settings_source.go.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bosh_protocol::Settings;

use super::{Error, cdrom, config_drive, file, metadata, vsphere};
use crate::config::Source;
use crate::platform::Platform;

/// How long to wait between two requests to a metadata service. Upstream: NewHTTPMetadataService.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// All sources of agent.json.
pub struct Sources {
    sources: Vec<Source>,
    platform: Arc<dyn Platform>,
    retry_delay: Duration,
    /// Held while a source is read: a disk is not mounted twice.
    reading: tokio::sync::Mutex<()>,
    settings_from: OnceLock<usize>,
    key_from: OnceLock<usize>,
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.sources).finish()
    }
}

impl Sources {
    /// Needs at least one. The platform mounts disks and sets up the network that a source needs.
    pub fn new(sources: Vec<Source>, platform: Arc<dyn Platform>) -> Result<Self, Error> {
        if sources.is_empty() {
            return Err(Error::NoSource);
        }
        Ok(Self {
            sources,
            platform,
            retry_delay: RETRY_DELAY,
            reading: tokio::sync::Mutex::default(),
            settings_from: OnceLock::new(),
            key_from: OnceLock::new(),
        })
    }

    /// Asks metadata services again after this time instead of a second.
    pub fn retry_delay(mut self, delay: Duration) -> Self {
        self.retry_delay = delay;
        self
    }

    /// What the sources are read with.
    pub(super) fn platform(&self) -> &dyn Platform {
        &*self.platform
    }

    /// The settings as they are now at their source.
    pub async fn settings(&self) -> Result<Settings, Error> {
        let _reading = self.reading.lock().await;
        if let Some(chosen) = self.settings_from.get() {
            return self.settings_of(&self.sources[*chosen]).await;
        }
        let mut last = Error::NoSource;
        for (index, source) in self.sources.iter().enumerate() {
            match self.settings_of(source).await {
                Ok(settings) => {
                    // Nobody else can have set it: the lock is held.
                    let _ = self.settings_from.set(index);
                    return Ok(settings);
                }
                Err(error) => last = skip(source, "no settings from this source", error),
            }
        }
        Err(Error::AllSources(Box::new(last)))
    }

    /// The key that the infrastructure wants `vcap` to be reachable with.
    pub async fn public_ssh_key(&self) -> Result<Option<String>, Error> {
        let _reading = self.reading.lock().await;
        if let Some(chosen) = self.key_from.get() {
            return self.key_of(&self.sources[*chosen]).await;
        }
        let mut last = Error::NoSource;
        for (index, source) in self.sources.iter().enumerate() {
            match self.key_of(source).await {
                Ok(key) => {
                    let _ = self.key_from.set(index);
                    return Ok(key);
                }
                Err(error) => last = skip(source, "no key from this source", error),
            }
        }
        Err(Error::PublicKey(Box::new(last)))
    }

    async fn settings_of(&self, source: &Source) -> Result<Settings, Error> {
        let platform = self.platform();
        match source {
            Source::File(path) => file::settings(path),
            Source::Http {
                service,
                user_data_path,
                ..
            } => metadata::user_data(platform, service, user_data_path, self.retry_delay).await,
            Source::InstanceMetadata {
                service,
                settings_path,
            } => metadata::value(platform, service, settings_path, self.retry_delay).await,
            Source::ConfigDrive {
                disks,
                settings_path,
                ..
            } => config_drive::settings(platform, disks, settings_path).await,
            Source::Cdrom { file_name } => cdrom::settings(platform, file_name).await,
            Source::VsphereGuestInfo { rpctool, vmtoolsd } => {
                vsphere::settings(rpctool, vmtoolsd).await
            }
        }
    }

    async fn key_of(&self, source: &Source) -> Result<Option<String>, Error> {
        let platform = self.platform();
        match source {
            Source::File(path) => file::public_ssh_key(path),
            Source::Http {
                service,
                ssh_keys_path,
                ..
            } => metadata::public_ssh_key(platform, service, ssh_keys_path, self.retry_delay).await,
            Source::ConfigDrive {
                disks,
                metadata_path,
                ..
            } => config_drive::public_ssh_key(platform, disks, metadata_path).await,
            Source::InstanceMetadata { .. }
            | Source::Cdrom { .. }
            | Source::VsphereGuestInfo { .. } => Ok(None),
        }
    }
}

fn skip(source: &Source, what: &str, error: Error) -> Error {
    let shown = &error as &dyn std::error::Error;
    tracing::warn!(?source, error = shown, "{what}");
    error
}
