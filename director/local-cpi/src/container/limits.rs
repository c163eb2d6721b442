//! The VM's `cloud_properties`: how much it may use.

use bosh_cpi::Object;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Error;

/// What a VM may use at most. None: as much as this machine has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Limits {
    /// MiB
    pub(crate) memory: Option<u64>,
    /// Processors, fractions allowed.
    pub(crate) cpus: Option<f64>,
    /// Processes and threads.
    pub(crate) pids: Option<u64>,
}

/// What this CPI reads of `cloud_properties`: `memory` (MiB), `cpu`, `pids`, `ephemeral_disk` (MiB, or `{size: MiB}`).
/// Other keys belong to other CPIs and are left alone.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Properties {
    pub(crate) limits: Limits,
    /// MiB; none: no limit of its own.
    pub(crate) ephemeral: Option<u64>,
}

impl Properties {
    pub(crate) fn parse(properties: &Object) -> Result<Self, Error> {
        let cpus = match properties.get("cpu") {
            None | Some(Value::Null) => None,
            Some(value) => Some(
                value
                    .as_f64()
                    .filter(|cpus| (0.01..=4096.0).contains(cpus))
                    .ok_or_else(|| refuse("cpu", "a number of processors from 0.01", value))?,
            ),
        };
        let ephemeral = match properties.get("ephemeral_disk") {
            Some(Value::Object(disk)) => whole(disk, "size", "ephemeral_disk.size")?,
            _ => whole(properties, "ephemeral_disk", "ephemeral_disk")?,
        };
        Ok(Self {
            limits: Limits {
                memory: whole(properties, "memory", "memory")?,
                cpus,
                pids: whole(properties, "pids", "pids")?,
            },
            ephemeral,
        })
    }

    /// The properties for a VM of a size, as `calculate_vm_cloud_properties` answers them.
    pub(crate) fn for_size(cpu: u64, ram: u64, ephemeral_disk: u64) -> Value {
        json!({"cpu": cpu, "memory": ram, "ephemeral_disk": {"size": ephemeral_disk}})
    }
}

fn whole(properties: &Object, key: &str, path: &str) -> Result<Option<u64>, Error> {
    match properties.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_u64()
            .filter(|number| (1..=1 << 40).contains(number))
            .map(Some)
            .ok_or_else(|| refuse(path, "a whole number from 1", value)),
    }
}

fn refuse(key: &str, expected: &str, value: &Value) -> Error {
    Error::Argument {
        what: format!("cloud_properties.{key}"),
        reason: format!("expected {expected}, got {value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(properties: Value) -> Result<Properties, Error> {
        Properties::parse(properties.as_object().unwrap())
    }

    #[test]
    fn what_is_calculated_is_understood() {
        let properties = parse(Properties::for_size(2, 1024, 4096)).unwrap();
        assert_eq!(properties.limits.memory, Some(1024));
        assert_eq!(properties.limits.cpus, Some(2.0));
        assert_eq!(properties.ephemeral, Some(4096));
    }

    #[test]
    fn properties_of_other_cpis_do_not_matter() {
        let properties =
            parse(json!({"ports": ["80/tcp"], "instance_type": "m1", "ephemeral_disk": 10}))
                .unwrap();
        assert_eq!(properties.limits, Limits::default());
        assert_eq!(properties.ephemeral, Some(10));
    }

    #[test]
    fn wrong_values_name_the_key() {
        for (properties, key) in [
            (json!({"memory": "1G"}), "cloud_properties.memory"),
            (json!({"memory": 0}), "cloud_properties.memory"),
            (json!({"cpu": -1}), "cloud_properties.cpu"),
            (json!({"pids": 1.5}), "cloud_properties.pids"),
            (
                json!({"ephemeral_disk": {"size": "x"}}),
                "cloud_properties.ephemeral_disk.size",
            ),
        ] {
            match parse(properties.clone()) {
                Err(Error::Argument { what, .. }) => assert_eq!(what, key),
                other => panic!("{properties}: {other:?}"),
            }
        }
    }
}
