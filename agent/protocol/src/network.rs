//! Networks in the settings. Source: upstream settings/settings.go.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::nullable;

/// One network of a VM, by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// `manual`, `dynamic` or `vip`; `manual` when absent.
    #[serde(rename = "type", default, deserialize_with = "nullable::or_default")]
    pub kind: String,
    /// Without a prefix length.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub ip: String,
    /// `255.255.255.0`
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub netmask: String,
    /// The router.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub gateway: String,
    /// Length of the prefix of addresses delegated to this VM; `32`, `128` or empty for a single one.
    #[serde(default, deserialize_with = "nullable::text")]
    pub prefix: String,
    /// Whether address, netmask and gateway came from DHCP.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub resolved: bool,
    /// The CPI wants DHCP in spite of a static address.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub use_dhcp: bool,
    /// Of `dns`, `gateway`, `addressable`: what this network is the default for.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub default: Vec<String>,
    /// Name servers.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub dns: Vec<String>,
    /// The interface's hardware address; empty if there is only one interface.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub mac: String,
    /// The infrastructure has configured the interface already (containers).
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub preconfigured: bool,
    /// More routes.
    #[serde(
        default,
        deserialize_with = "nullable::or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub routes: Vec<Route>,
    /// An alias of the interface: `eth0:1`.
    #[serde(
        default,
        deserialize_with = "nullable::or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub alias: String,
}

impl Network {
    /// Whether the network is the default for `dns`, `gateway` or `addressable`.
    pub fn is_default_for(&self, category: &str) -> bool {
        self.default.iter().any(|other| other == category)
    }

    /// A virtual address that the infrastructure routes to the VM; the VM itself does not configure it.
    pub fn is_vip(&self) -> bool {
        self.kind == "vip"
    }

    /// Whether the address is to be had from DHCP.
    pub fn is_dhcp(&self) -> bool {
        if self.is_vip() {
            return false;
        }
        let is_static = !self.ip.is_empty() && !self.netmask.is_empty();
        self.kind == "dynamic" || self.use_dhcp || self.resolved || !is_static
    }
}

/// A static route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Route {
    /// A network address.
    #[serde(
        alias = "destination",
        default,
        deserialize_with = "nullable::or_default"
    )]
    pub destination: String,
    /// The router.
    #[serde(alias = "gateway", default, deserialize_with = "nullable::or_default")]
    pub gateway: String,
    /// Of the destination.
    #[serde(alias = "netmask", default, deserialize_with = "nullable::or_default")]
    pub netmask: String,
}

/// All networks of a VM by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Networks(pub BTreeMap<String, Network>);

impl Networks {
    /// The only network, or the one that is the default for the category.
    pub fn default_for(&self, category: &str) -> Option<&Network> {
        if self.0.len() == 1 {
            return self.0.values().next();
        }
        self.0
            .values()
            .find(|network| network.is_default_for(category))
    }

    /// The address `ssh` goes to: that of a network with a default, or of any.
    pub fn default_ip(&self) -> Option<&str> {
        let mut networks = self.0.values().filter(|network| !network.ip.is_empty());
        let first = self
            .0
            .values()
            .find(|network| !network.default.is_empty() && !network.ip.is_empty());
        first
            .or_else(|| networks.next())
            .map(|network| network.ip.as_str())
    }

    /// Every address, sorted.
    pub fn ips(&self) -> Vec<&str> {
        let mut ips: Vec<_> = self
            .0
            .values()
            .map(|network| network.ip.as_str())
            .filter(|ip| !ip.is_empty())
            .collect();
        ips.sort_unstable();
        ips
    }

    /// Whether there is nothing for the agent to configure.
    pub fn is_preconfigured(&self) -> bool {
        self.0
            .values()
            .filter(|network| !network.is_vip())
            .all(|network| network.preconfigured)
    }

    /// Whether any network wants an interface alias.
    pub fn has_interface_alias(&self) -> bool {
        self.0
            .values()
            .any(|network| !network.is_vip() && !network.alias.is_empty())
    }
}
