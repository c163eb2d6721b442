//! By the id the CPI chose, which hypervisors show as the disk's serial number. Upstream: id_device_path_resolver.go.

use super::{Patience, existing, list};
use crate::platform::{Error, glob::Glob, linux::Linux};
use bosh_protocol::disk::DiskSettings;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::Instant;

/// Upstream: provider.go.
const TIME: Duration = Duration::from_millis(500);
/// A shorter one could be the end of another's.
const SHORTEST: usize = 20;

impl Linux {
    /// By a link in /dev/disk/by-id: one that ends with the id, or is what the id becomes by
    /// `DiskIDTransformPattern`, which may have wildcards.
    pub(super) async fn by_disk_id(
        &self,
        disk: &DiskSettings,
        patience: Patience,
    ) -> Result<Option<PathBuf>, Error> {
        let id = disk.id.as_str();
        if id.len() < SHORTEST {
            return Err(Error::Device(format!(
                "'{id}' is too short for a disk's id"
            )));
        }
        let pattern = self.link_pattern(id)?;
        let glob = Glob::new(&pattern)
            .ok_or_else(|| Error::Invalid(format!("'{pattern}' is no pattern of disks' ids")))?;
        self.refresh_udev().await?;
        let deadline = Instant::now() + patience.time(TIME);
        loop {
            let mut found = self.linked_by_id(|name| glob.matches(Path::new(name)));
            // Several links may lead to one disk.
            found.sort();
            found.dedup();
            match found.len() {
                0 if Instant::now() >= deadline => return Ok(None),
                0 => tokio::time::sleep(super::PAUSE).await,
                1 => return Ok(found.pop()),
                n => {
                    return Err(Error::Device(format!(
                        "'{pattern}' matches {n} disks: which is '{id}'?"
                    )));
                }
            }
        }
    }

    fn link_pattern(&self, id: &str) -> Result<String, Error> {
        let pattern = &self.options.disk_id_transform_pattern;
        if pattern.is_empty() {
            return Ok(format!("*{}", Glob::escape(id)));
        }
        let regex = regex_lite::Regex::new(pattern).map_err(|e| {
            Error::Invalid(format!(
                "DiskIDTransformPattern is no regular expression: {e}"
            ))
        })?;
        let replacement = self.options.disk_id_transform_replacement.as_str();
        Ok(regex.replace_all(id, replacement).into_owned())
    }

    /// The devices that links in /dev/disk/by-id lead to.
    pub(super) fn linked_by_id(&self, matches: impl Fn(&str) -> bool) -> Vec<PathBuf> {
        let dir = self.dirs.system("/dev/disk/by-id");
        let names = list(&dir).into_iter().filter(|name| matches(name));
        names.filter_map(|name| existing(&dir.join(name))).collect()
    }
}
