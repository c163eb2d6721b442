//! What the command line says about a micro director.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What the command line says.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Directory of everything this director keeps; made if need be.
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// The director's name.
    #[arg(long, value_name = "NAME", default_value = "micro")]
    pub director_name: String,
    /// The network that VMs are on; its first address is this machine's.
    #[arg(long, value_name = "SUBNET", default_value = "10.244.0.0/24")]
    pub subnet: Subnet,
    /// The network interface that VMs are plugged into, made by the CPI.
    #[arg(long, value_name = "NAME", default_value = "boshbr0")]
    pub bridge: String,
    /// Let VMs reach beyond this machine: turns on IP forwarding and masquerading.
    #[arg(long)]
    pub nat: bool,
    /// Address that the API, the message bus and the blobstore listen on.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0")]
    pub listen: IpAddr,
    /// Port of the API.
    #[arg(long, value_name = "PORT", default_value_t = 25555)]
    pub director_port: u16,
    /// Port of the message bus.
    #[arg(long, value_name = "PORT", default_value_t = 4222)]
    pub nats_port: u16,
    /// Port of the blobstore.
    #[arg(long, value_name = "PORT", default_value_t = 25250)]
    pub blobstore_port: u16,
    /// Port of the health monitor, on the loopback address.
    #[arg(long, value_name = "PORT", default_value_t = 25923)]
    pub monitor_port: u16,
    /// YAML laid over the health monitor's configuration: keys replace, plugins are added by name.
    #[arg(long, value_name = "FILE")]
    pub monitor_overlay: Option<PathBuf>,
    /// YAML list of plugins added to the health monitor's configuration.
    #[arg(long, value_name = "FILE")]
    pub monitor_plugins: Option<PathBuf>,
    /// What to log, as in `info` or `bosh_director=debug,info`.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log_level: String,
}

impl Options {
    /// This machine's address on the VMs' network.
    pub fn gateway(&self) -> Ipv4Addr {
        self.subnet.address(1)
    }

    /// Where a port of this director listens.
    pub fn listen_on(&self, port: u16) -> SocketAddr {
        SocketAddr::from((self.listen, port))
    }

    /// Where programs on this machine reach it.
    pub fn local(&self) -> IpAddr {
        if self.listen.is_unspecified() {
            IpAddr::V4(Ipv4Addr::LOCALHOST)
        } else {
            self.listen
        }
    }
}

/// An IPv4 network such as `10.244.0.0/24`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    network: Ipv4Addr,
    bits: u8,
}

impl Subnet {
    /// The address of that number, 0 being the network's own; numbers beyond the network end at its last address.
    pub fn address(self, number: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.network) + number.min(self.size() - 1))
    }

    /// How many addresses it has.
    pub fn size(self) -> u32 {
        1 << (32 - u32::from(self.bits))
    }

    /// Length of its prefix.
    pub fn bits(self) -> u8 {
        self.bits
    }
}

impl FromStr for Subnet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("expected an IPv4 network such as 10.244.0.0/24, got '{text}'");
        let (network, bits) = text.split_once('/').ok_or_else(expected)?;
        let network: Ipv4Addr = network.parse().map_err(|_| expected())?;
        let bits: u8 = bits.parse().map_err(|_| expected())?;
        if !(8..=28).contains(&bits) {
            return Err(format!("expected a prefix of 8 to 28 bits, got {bits}"));
        }
        let subnet = Self { network, bits };
        if u32::from(network) & (subnet.size() - 1) != 0 {
            return Err(format!("'{text}' has bits set beyond its prefix"));
        }
        Ok(subnet)
    }
}

impl TryFrom<String> for Subnet {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.network, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets() {
        let subnet: Subnet = "10.244.0.0/24".parse().unwrap();
        assert_eq!(subnet.address(1).to_string(), "10.244.0.1");
        assert_eq!(subnet.address(1000).to_string(), "10.244.0.255");
        assert_eq!(subnet.to_string(), "10.244.0.0/24");
        for bad in [
            "10.244.0.0",
            "10.244.0.1/24",
            "10.244.0.0/31",
            "x/24",
            "10.0.0.0/7",
        ] {
            assert!(bad.parse::<Subnet>().is_err(), "{bad}");
        }
    }
}
