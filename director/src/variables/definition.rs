//! One entry of a `variables` section.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::manifest::raw::{class, inspect};
use crate::manifest::{Error, Kind};

/// A variable to generate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// Name as written.
    pub name: String,
    /// `password`, `certificate`, `rsa`, `ssh`, `user` or a kind unknown to us.
    #[serde(rename = "type")]
    pub kind: String,
    /// When a newer version of it is used: `on-deploy` (the default) or `on-stemcell-change`.
    #[serde(default)]
    pub update_strategy: Option<String>,
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

/// Reads a `variables` section.
///
/// Upstream: deployment_plan/variables_parser.rb.
pub fn read(section: &Value) -> Result<Vec<Definition>, Error> {
    let invalid = |message: String| Error::new(Kind::VariablesInvalidFormat, message);
    let Value::Array(entries) = section else {
        return Err(invalid(format!(
            "Key 'variables' expects an array, but received '{}'",
            class(section)
        )));
    };
    let mut maps = Vec::with_capacity(entries.len());
    for entry in entries {
        match entry {
            Value::Object(map) => maps.push(map),
            _ => return Err(invalid("All 'variables' elements should be Hashes".into())),
        }
    }
    let mut all: Vec<Definition> = Vec::with_capacity(maps.len());
    for map in maps {
        let name = match map.get("name") {
            None => {
                return Err(invalid(
                    "At least one of the variables is missing the 'name' key; 'name' must be specified".into(),
                ));
            }
            Some(Value::String(name)) if !name.trim().is_empty() => name.clone(),
            Some(_) => {
                return Err(invalid(
                    "At least one of the variables has an empty 'name'; 'name' must not be empty or nil".into(),
                ));
            }
        };
        let kind = match map.get("type") {
            None => {
                return Err(invalid(format!(
                    "Type for variable '{name}' is missing; 'type' must be specified"
                )));
            }
            Some(Value::Null) => {
                return Err(invalid(format!(
                    "Type for variable '{name}' is nil; 'type' must not be nil"
                )));
            }
            Some(Value::String(kind)) if kind.trim().is_empty() => {
                return Err(invalid(format!(
                    "Type for variable '{name}' is empty; 'type' must not be empty"
                )));
            }
            Some(Value::String(kind)) => kind.clone(),
            Some(other) => {
                return Err(invalid(format!(
                    "Type for variable '{name}' must be a String, but was '{}'",
                    inspect(other)
                )));
            }
        };
        let consumes = match map.get("consumes") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(consumes)) => consumes.clone(),
            Some(_) => {
                return Err(invalid(format!(
                    "Consumes for variable '{name}' must be a Hash or nil"
                )));
            }
        };
        let options = match map.get("options") {
            None | Some(Value::Null | Value::Bool(false)) => Map::new(),
            Some(Value::Object(options)) => options.clone(),
            Some(_) => {
                return Err(invalid(format!(
                    "options of variable with name '{name}' is not a Hash"
                )));
            }
        };
        let update_mode = match map.get("update_mode") {
            None | Some(Value::Null) => None,
            Some(Value::String(mode)) => Some(mode.clone()),
            Some(other) => {
                return Err(invalid(format!(
                    "Update mode for variable '{name}' must be a String, but was '{}'",
                    inspect(other)
                )));
            }
        };
        if all.iter().any(|other| other.name == name) {
            return Err(invalid(format!(
                "Some of the variables have duplicate names, eg: '{name}'"
            )));
        }
        let update_strategy = map
            .get("update")
            .and_then(|update| update.get("strategy"))
            .and_then(Value::as_str)
            .map(str::to_owned);
        all.push(Definition {
            name,
            kind,
            update_strategy,
            options,
            update_mode,
            consumes,
        });
    }
    Ok(all)
}
