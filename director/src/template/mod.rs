//! Templates: ERB of releases, evaluated by Ruby in processes of their own.
//!
//! [`Pool`] keeps a few Ruby processes running; a [`Request`] goes to one of them as a line of JSON and comes
//! back as another. Release code never runs in the director: a worker has an empty environment, a working
//! directory of its own and a deadline, and is killed and replaced when it does not keep it.
//!
//! Upstream: core/templates/, bosh-common's template/evaluation_context.rb, job_renderer.rb.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Templates of an instance group and the instances to render them for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its jobs in order.
    pub jobs: Vec<Job>,
    /// Its instances.
    pub instances: Vec<Instance>,
}

/// Templates of a job, as unpacked from its tarball.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    /// Its name.
    pub name: String,
    /// Its release.
    pub release: String,
    /// Version of that release.
    pub release_version: String,
    /// Text of `monit`.
    pub monit: String,
    /// Its templates.
    pub templates: Vec<Template>,
    /// Properties its templates see come from its own part of the spec's `properties`.
    pub properties: bool,
}

/// A template.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Template {
    /// Its name below `templates/`.
    pub source: String,
    /// Where the result goes, below the job's directory.
    pub destination: String,
    /// Its text.
    pub text: String,
}

/// An instance to render for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Instance {
    /// Its id.
    pub uuid: String,
    /// Its index.
    pub index: u32,
    /// Its template spec, from [`crate::deploy::plan::Spec::template`]: secrets filled in.
    pub spec: Value,
}

/// What came of an instance's templates.
#[derive(Clone)]
pub struct Rendered {
    /// The instance's id.
    pub uuid: String,
    /// SHA-1 over everything rendered; decides whether an instance changes.
    pub configuration_hash: String,
    /// SHA-1 per job.
    pub template_hashes: BTreeMap<String, String>,
    /// All of it: `<job>/monit`, `<job>/<destination>` in a tar.gz that is the same for the same contents.
    pub archive: bytes::Bytes,
    /// SHA-1 of `archive`.
    pub archive_sha1: String,
}

impl std::fmt::Debug for Rendered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rendered")
            .field("uuid", &self.uuid)
            .field("configuration_hash", &self.configuration_hash)
            .field("archive", &format_args!("<redacted>"))
            .finish_non_exhaustive()
    }
}
