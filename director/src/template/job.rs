//! Templates out of a job's tarball.
//!
//! Upstream: core/templates/job_template_loader.rb.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;

use super::error::Error;
use super::request::{Job, Template};
use crate::manifest::catalog;

/// More bytes of templates than any job has, unpacked.
const MOST_BYTES: u64 = 256 * 1024 * 1024;

/// Reads the templates of `job` out of its tarball (`.tgz`). What the job's spec does not name is left out.
///
/// # Errors
/// No tarball, no `monit`, a template that the spec names and the tarball lacks.
pub fn unpack(
    job: &catalog::Job,
    release: &str,
    release_version: &str,
    tarball: impl Read,
) -> Result<Job, Error> {
    let failed = |reason: String| Error::Unpack {
        job: job.name.clone(),
        reason,
    };
    let mut files: BTreeMap<PathBuf, Bytes> = BTreeMap::new();
    let limited = flate2::read::MultiGzDecoder::new(tarball).take(MOST_BYTES);
    let mut archive = tar::Archive::new(limited);
    for entry in archive
        .entries()
        .map_err(|error| failed(error.to_string()))?
    {
        let mut entry = entry.map_err(|error| failed(error.to_string()))?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = entry.path().map_err(|error| failed(error.to_string()))?;
        let path = plain(&path);
        if path != Path::new("monit") && !path.starts_with("templates") {
            continue;
        }
        let mut text = Vec::new();
        entry
            .read_to_end(&mut text)
            .map_err(|error| failed(format!("{}: {error}", path.display())))?;
        files.insert(path, text.into());
    }
    let monit = files
        .remove(Path::new("monit"))
        .ok_or_else(|| failed("no 'monit' in it".into()))?;
    let mut templates = Vec::with_capacity(job.spec.templates.len());
    for (source, destination) in &job.spec.templates {
        let path = plain(&Path::new("templates").join(source));
        let text = files
            .get(&path)
            .cloned()
            .ok_or_else(|| failed(format!("no 'templates/{source}' in it")))?;
        templates.push(Template {
            source: source.clone(),
            destination: destination.as_str().unwrap_or_default().to_owned(),
            text,
        });
    }
    Ok(Job {
        name: job.name.clone(),
        release: release.to_owned(),
        release_version: release_version.to_owned(),
        monit,
        templates,
        offers: Vec::new(),
    })
}

/// The path without `.`; whatever climbs out of it leads nowhere, for files are only looked up by name.
fn plain(path: &Path) -> PathBuf {
    path.components()
        .filter(|component| matches!(component, Component::Normal(_) | Component::ParentDir))
        .collect()
}
