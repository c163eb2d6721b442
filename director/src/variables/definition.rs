//! One entry of a `variables` section.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A variable to generate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// Name as written.
    pub name: String,
    /// `password`, `certificate`, `rsa`, `ssh`, `user` or a kind unknown to us.
    #[serde(rename = "type")]
    pub kind: String,
    /// `options` as written.
    #[serde(default)]
    pub options: Map<String, Value>,
    /// When an existing value is made anew: `no-overwrite`, `overwrite` or `converge`.
    #[serde(default)]
    pub update_mode: Option<String>,
    /// `consumes` as written: links whose addresses go into a certificate.
    #[serde(default)]
    pub consumes: Map<String, Value>,
}
