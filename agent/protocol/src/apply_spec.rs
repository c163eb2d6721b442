//! What an instance is to run, as the director writes it and agents keep it.
//! Source: upstream agent/applier/applyspec, director deployment_plan/instance_spec.rb (ApplySpec).

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::digest::MultiDigest;
use crate::ids::{BlobId, InstanceId};
use crate::nullable;

/// The argument of `prepare`, `apply` and `drain`, and most of the answer to `get_state`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ApplySpec {
    /// Only logging; job properties are rendered by the director.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub properties: Properties,
    /// The instance group with its jobs; empty for an instance that is to run nothing.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub job: Job,
    /// Compiled packages by name.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub packages: BTreeMap<String, Package>,
    /// Changes with any rendered template; empty when nothing has been rendered, and then `apply` installs nothing.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub configuration_hash: String,
    /// By network name. Kept as the director wrote them, for it compares them by equality.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub networks: Map<String, Value>,
    /// Unused since instance groups have VM types, but still answered: `{}`.
    #[serde(default = "empty_object", with = "object")]
    pub resource_pool: Value,
    /// The deployment's name.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub deployment: String,
    /// The instance group's name.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub name: String,
    /// `null` for a VM without an instance, such as one that compiles.
    #[serde(default)]
    pub index: Option<i64>,
    /// The instance.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub id: InstanceId,
    /// The availability zone's name.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub az: String,
    /// Mebibytes; 0 without one.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub persistent_disk: u64,
    /// Where the rendered templates are; without it no job is installed.
    #[serde(default, deserialize_with = "archive")]
    pub rendered_templates_archive: Option<RenderedTemplatesArchive>,
    /// A digest per job of its rendered templates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_hashes: Option<Map<String, Value>>,
    /// `bosh`, or what the director is configured with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_domain_name: Option<String>,
}

impl ApplySpec {
    /// The jobs to install: none as long as there are no rendered templates.
    pub fn jobs(&self) -> &[JobTemplate] {
        match self.rendered_templates_archive {
            Some(_) => &self.job.templates,
            None => &[],
        }
    }

    /// At what size logrotate turns a log over, in logrotate's notation.
    pub fn max_log_file_size(&self) -> &str {
        match self.properties.logging.max_log_file_size.as_str() {
            "" => "50M",
            size => size,
        }
    }
}

/// The part of an instance group's properties that agents look at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Properties {
    /// Log rotation.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub logging: Logging,
}

/// Log rotation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Logging {
    /// Empty for the default.
    #[serde(default, deserialize_with = "nullable::text")]
    pub max_log_file_size: String,
}

/// An instance group (called job since before there were instance groups).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// The instance group's name; `null` when there is none.
    #[serde(default)]
    pub name: Option<String>,
    /// Empty with today's directors.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub release: String,
    /// The first job: the one `run_errand` without a name runs.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub template: String,
    /// The first job's version.
    #[serde(default, deserialize_with = "nullable::text")]
    pub version: String,
    /// The jobs, in the order of the manifest.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub templates: Vec<JobTemplate>,
}

/// One job of a release.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JobTemplate {
    /// Its name, also that of its directory.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub name: String,
    /// Its fingerprint.
    #[serde(default, deserialize_with = "nullable::text")]
    pub version: String,
    /// Of its source in the release; agents take the rendered archive instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha1: Option<String>,
    /// Of its source in the release; agents take the rendered archive instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blobstore_id: Option<BlobId>,
    /// Names for log filters, from the job's spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs: Option<Value>,
}

/// One compiled package.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Package {
    /// Its name, also that of its directory.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub name: String,
    /// Its fingerprint, a dot and a build number.
    #[serde(default, deserialize_with = "nullable::text")]
    pub version: String,
    /// Of its archive.
    pub sha1: MultiDigest,
    /// Empty when `signed_url` is given.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub blobstore_id: BlobId,
    /// A URL to fetch it from without credentials.
    #[serde(
        default,
        deserialize_with = "nullable::or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub signed_url: String,
    /// Sent along to `signed_url`.
    #[serde(
        default,
        deserialize_with = "nullable::or_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub blobstore_headers: BTreeMap<String, String>,
}

/// All rendered templates of one instance in one archive, a folder per job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenderedTemplatesArchive {
    /// Of the archive.
    pub sha1: MultiDigest,
    /// Where it is.
    pub blobstore_id: BlobId,
}

fn empty_object() -> Value {
    Value::Object(Map::new())
}

/// An object; `null`, which is also the default in memory, is an empty one.
mod object {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_json::Value;

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Value, D::Error> {
        Ok(match Value::deserialize(deserializer)? {
            Value::Null => super::empty_object(),
            value => value,
        })
    }

    pub(super) fn serialize<S: Serializer>(
        value: &Value,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Value::Null => super::empty_object().serialize(serializer),
            value => value.serialize(serializer),
        }
    }
}

/// `null` and an archive whose members are both empty are none at all.
fn archive<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<RenderedTemplatesArchive>, D::Error> {
    #[derive(Deserialize)]
    struct Wire {
        #[serde(default, deserialize_with = "nullable::or_default")]
        sha1: String,
        #[serde(default, deserialize_with = "nullable::or_default")]
        blobstore_id: BlobId,
    }
    let Some(wire) = Option::<Wire>::deserialize(deserializer)? else {
        return Ok(None);
    };
    if wire.sha1.is_empty() && wire.blobstore_id.is_empty() {
        return Ok(None);
    }
    let sha1 = MultiDigest::parse(&wire.sha1).map_err(serde::de::Error::custom)?;
    Ok(Some(RenderedTemplatesArchive {
        sha1,
        blobstore_id: wire.blobstore_id,
    }))
}
