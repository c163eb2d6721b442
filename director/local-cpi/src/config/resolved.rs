//! The validated configuration.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::raw::Raw;
use crate::network::Subnet;

/// Where disks live.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum DiskBackend {
    /// Images if this machine has loop devices, directories otherwise.
    #[default]
    Auto,
    /// An ext4 image with the size asked for, mounted through a loop device.
    Image,
    /// A directory; its size is recorded and not enforced.
    Directory,
}

/// What the CPI was told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Everything this CPI keeps lives under here. Absolute.
    pub root: PathBuf,
    /// What agents are told in their settings.
    pub agent: AgentOptions,
    /// The bridge.
    pub network: NetworkOptions,
    /// How disks are kept.
    pub disk_backend: DiskBackend,
    /// The container runtime, `runc` unless told otherwise.
    pub runc: PathBuf,
}

/// The part of the agent's settings that is the same for all VMs.
#[derive(Clone)]
pub struct AgentOptions {
    /// Message bus URL for agents whose env does not carry one.
    pub mbus: String,
    /// Time servers.
    pub ntp: Vec<String>,
    /// `{"provider": ..., "options": {...}}` for agents whose env does not carry one.
    pub blobstore: Option<serde_json::Value>,
}

impl fmt::Debug for AgentOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentOptions")
            .field("mbus", &"<redacted>")
            .field("ntp", &self.ntp)
            .field("blobstore", &"<redacted>")
            .finish()
    }
}

/// The bridge VMs are plugged into, made on demand in the current network namespace.
#[derive(Clone, Debug)]
pub struct NetworkOptions {
    /// Interface name, 15 characters at most.
    pub bridge: String,
    /// This machine's address on it.
    pub gateway: Subnet,
    /// Whether VMs reach beyond this machine: IP forwarding and masquerading.
    pub nat: bool,
    /// MTU of the bridge and the VMs' interfaces.
    pub mtu: u32,
    /// Addresses for dynamic networks, both ends included.
    pub dynamic_range: Option<(IpAddr, IpAddr)>,
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("could not read config '{}'", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not the JSON expected; the cause names the key.
    #[error("config '{}' is not valid", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A key holds something unusable.
    #[error("config '{}': {key}: {reason}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// What was expected.
        reason: String,
    },
}

impl Config {
    /// Reads and validates the file.
    ///
    /// # Errors
    /// [`Error`] names file, key and expectation.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &[u8]) -> Result<Self, Error> {
        let raw: Raw = serde_json::from_slice(text).map_err(|source| Error::Syntax {
            path: path.to_owned(),
            source,
        })?;
        let value = |key, reason: String| Error::Value {
            path: path.to_owned(),
            key,
            reason,
        };
        if !raw.root.is_absolute() {
            return Err(value("root", "expected an absolute path".into()));
        }
        if raw.agent.mbus.is_empty() {
            return Err(value("agent.mbus", "expected a URL".into()));
        }
        let bridge = raw.network.bridge.unwrap_or_else(|| "boshbr0".into());
        if !is_interface_name(&bridge) {
            return Err(value(
                "network.bridge",
                format!("expected 1 to 15 letters, digits, '-', '_' or '.', got '{bridge}'"),
            ));
        }
        let gateway: Subnet = raw
            .network
            .gateway
            .as_deref()
            .unwrap_or("10.244.0.1/24")
            .parse()
            .map_err(|reason| value("network.gateway", reason))?;
        let mtu = raw.network.mtu.unwrap_or(1500);
        if !(576..=65535).contains(&mtu) {
            return Err(value(
                "network.mtu",
                format!("expected 576 to 65535, got {mtu}"),
            ));
        }
        let dynamic_range = raw
            .network
            .dynamic_range
            .map(|text| range(&text, gateway))
            .transpose()
            .map_err(|reason| value("network.dynamic_range", reason))?;
        Ok(Self {
            root: raw.root,
            agent: AgentOptions {
                mbus: raw.agent.mbus,
                ntp: raw.agent.ntp,
                blobstore: raw.agent.blobstore,
            },
            network: NetworkOptions {
                bridge,
                gateway,
                nat: raw.network.nat,
                mtu,
                dynamic_range,
            },
            disk_backend: raw.disk_backend,
            runc: raw.runc.unwrap_or_else(|| "runc".into()),
        })
    }
}

fn is_interface_name(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && name != "."
        && name != ".."
        && !name.starts_with('-')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

fn range(text: &str, gateway: Subnet) -> Result<(IpAddr, IpAddr), String> {
    let expected = || format!("expected 'FIRST-LAST' inside {gateway}, got '{text}'");
    let (first, last) = text.split_once('-').ok_or_else(expected)?;
    let first: IpAddr = first.trim().parse().map_err(|_| expected())?;
    let last: IpAddr = last.trim().parse().map_err(|_| expected())?;
    if first > last || !gateway.contains(first) || !gateway.contains(last) {
        return Err(expected());
    }
    Ok((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, Error> {
        Config::parse(Path::new("cpi.json"), text.as_bytes())
    }

    #[test]
    fn defaults() {
        let config = parse(r#"{"root": "/r", "agent": {"mbus": "nats://x"}}"#).unwrap();
        assert_eq!(config.network.bridge, "boshbr0");
        assert_eq!(config.network.gateway.to_string(), "10.244.0.1/24");
        assert!(!config.network.nat);
        assert_eq!(config.disk_backend, DiskBackend::Auto);
    }

    #[test]
    fn secrets_are_not_printed() {
        let config = parse(
            r#"{"root": "/r", "agent": {"mbus": "nats://u:hunter2@x", "blobstore": {"p": "hunter2"}}}"#,
        );
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn bad_values_name_the_key() {
        let with = |network: &str| {
            format!(r#"{{"root": "/r", "agent": {{"mbus": "m"}}, "network": {network}}}"#)
        };
        let cases = [
            (
                r#"{"root": "r", "agent": {"mbus": "m"}}"#.to_owned(),
                "root",
            ),
            (
                r#"{"root": "/r", "agent": {"mbus": ""}}"#.to_owned(),
                "agent.mbus",
            ),
            (with(r#"{"bridge": "a/b"}"#), "network.bridge"),
            (with(r#"{"bridge": "0123456789abcdef"}"#), "network.bridge"),
            (with(r#"{"gateway": "10.0.0.1"}"#), "network.gateway"),
            (with(r#"{"gateway": "10.0.0.1/33"}"#), "network.gateway"),
            (with(r#"{"mtu": 10}"#), "network.mtu"),
            (
                with(r#"{"dynamic_range": "10.244.0.9-10.244.1.4"}"#),
                "network.dynamic_range",
            ),
        ];
        for (text, key) in cases {
            let error = parse(&text).unwrap_err();
            assert!(
                matches!(error, Error::Value { key: k, .. } if k == key),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn unknown_keys_are_refused() {
        let error = parse(r#"{"root": "/r", "agent": {"mbus": "m"}, "brige": 1}"#).unwrap_err();
        assert!(crate::error::chain(&error).contains("brige"));
    }
}
