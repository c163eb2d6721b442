//! What is asked of the workers, and what comes of it.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value;

/// Templates of an instance group and the instances to render them for.
#[derive(Debug, Clone)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its jobs in order.
    pub jobs: Vec<Job>,
    /// From [`crate::deploy::plan::Spec::template_shared`]: secrets filled in.
    pub shared: Value,
    /// Its instances.
    pub instances: Vec<Instance>,
}

/// Templates of a job.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its name.
    pub name: String,
    /// Its release.
    pub release: String,
    /// Version of that release.
    pub release_version: String,
    /// Text of `monit`.
    pub monit: Bytes,
    /// Its templates, in the order of its spec.
    pub templates: Vec<Template>,
    /// Links it offers: name, type, and the number of the link's DNS group (empty if it has none).
    pub offers: Vec<(String, String, String)>,
}

/// A template.
#[derive(Debug, Clone)]
pub struct Template {
    /// Its name below `templates/`.
    pub source: String,
    /// Where the result goes, below the job's directory.
    pub destination: String,
    /// Its text.
    pub text: Bytes,
}

/// An instance to render for.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Its id.
    pub uuid: String,
    /// From [`crate::deploy::plan::Spec::template`].
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
    pub archive: Bytes,
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
