//! The validated manifest and how it is written.

use serde::{Deserialize, Serialize};

use crate::Error;

/// Free-form properties handed to the CPI's `create_stemcell` as they are.
pub type CloudProperties = serde_json::Map<String, serde_json::Value>;

/// A validated `stemcell.MF`. Keys are written in the order of the fields, which is upstream's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// `bosh-<infrastructure>-<hypervisor>-<os>-<version>-go_agent`. Never empty.
    pub name: String,
    /// The stemcell's version, `1.12` for instance. Never empty.
    pub version: String,
    /// Always 1 in stemcells of this decade; the director does not read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bosh_protocol: Option<u32>,
    /// Which agent API the stemcell's agent speaks; 2 and up live without a registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<u32>,
    /// Digest of the image: a bare SHA-1 in hex, or `sha256:...` and `;`-joined lists of them.
    pub sha1: String,
    /// `ubuntu-noble` and the like. The name of the stemcell when the file has none.
    pub operating_system: String,
    /// Image formats a CPI must support one of (`warden-tar`). None: any CPI takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stemcell_formats: Option<Vec<String>>,
    /// Properties for the CPI; empty when the file has none.
    #[serde(default)]
    pub cloud_properties: CloudProperties,
}

impl Manifest {
    /// Parses and validates the text of a `stemcell.MF`.
    ///
    /// Anchors, aliases and merge keys are resolved. Unknown keys are dropped. Numbers stand for strings where upstream
    /// lets them: `name`, `version`, `operating_system`, `sha1`.
    ///
    /// # Errors
    /// [`Error`] names the key and the expected type; nothing partial is returned.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        crate::read::manifest(text)
    }

    /// The file as upstream's packager lays it out: a document start, then the keys.
    ///
    /// # Errors
    /// [`Error::Syntax`] if the cloud properties hold something that YAML cannot express.
    pub fn to_yaml(&self) -> Result<String, Error> {
        let body = serde_yaml_ng::to_string(self).map_err(Error::Syntax)?;
        Ok(format!("---\n{body}"))
    }

    /// Whether a CPI that reports `supported` (`stemcell_formats` of its `info`) can take this stemcell. Either side
    /// being silent means yes.
    pub fn is_supported_by(&self, supported: Option<&[String]>) -> bool {
        match (&self.stemcell_formats, supported) {
            (Some(ours), Some(theirs)) => ours.iter().any(|format| theirs.contains(format)),
            _ => true,
        }
    }
}
