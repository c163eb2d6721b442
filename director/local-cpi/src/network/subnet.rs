//! An address with its prefix length.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An address and the length of its network's prefix, `10.244.0.1/24`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    ip: IpAddr,
    prefix: u8,
}

impl Subnet {
    /// `None` if the prefix is too long for the address.
    pub fn new(ip: IpAddr, prefix: u8) -> Option<Self> {
        (prefix <= width(ip)).then_some(Self { ip, prefix })
    }

    /// From an address and a mask of the same family, `255.255.255.0`. `None` if the mask has holes.
    pub fn with_mask(ip: IpAddr, mask: IpAddr) -> Option<Self> {
        let (bits, width) = match (ip, mask) {
            (IpAddr::V4(_), IpAddr::V4(mask)) => (u128::from(u32::from(mask)) << 96, 32),
            (IpAddr::V6(_), IpAddr::V6(mask)) => (u128::from(mask), 128),
            _ => return None,
        };
        let prefix = bits.leading_ones();
        let holes = bits.checked_shl(prefix).unwrap_or(0) != 0;
        (!holes && prefix <= width).then_some(Self {
            ip,
            prefix: u8::try_from(prefix).ok()?,
        })
    }

    /// The address itself.
    pub fn ip(self) -> IpAddr {
        self.ip
    }

    /// Length of the prefix in bits.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// Whether `other` is in the same network.
    pub fn contains(self, other: IpAddr) -> bool {
        self.ip.is_ipv4() == other.is_ipv4()
            && mask(self.ip, self.prefix) == mask(other, self.prefix)
    }

    /// The network's own address with the prefix, `10.244.0.0/24`.
    pub fn network(self) -> Self {
        Self {
            ip: mask(self.ip, self.prefix),
            prefix: self.prefix,
        }
    }

    /// A hardware address that follows from the IP address, locally administered.
    pub fn mac(self) -> String {
        let tail = match self.ip {
            IpAddr::V4(ip) => ip.octets(),
            IpAddr::V6(ip) => {
                let o = ip.octets();
                [o[12], o[13], o[14], o[15]]
            }
        };
        format!(
            "02:b0:{:02x}:{:02x}:{:02x}:{:02x}",
            tail[0], tail[1], tail[2], tail[3]
        )
    }
}

fn width(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

fn mask(ip: IpAddr, prefix: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let bits = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from(u32::from(ip) & bits))
        }
        IpAddr::V6(ip) => {
            let bits = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from(u128::from(ip) & bits))
        }
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected =
            || format!("expected an address with its prefix such as 10.244.0.1/24, got '{text}'");
        let (ip, prefix) = text.split_once('/').ok_or_else(expected)?;
        let ip = ip.parse().map_err(|_| expected())?;
        let prefix = prefix.parse().map_err(|_| expected())?;
        Self::new(ip, prefix).ok_or_else(expected)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_become_prefixes() {
        let ip: IpAddr = "10.1.2.3".parse().unwrap();
        for (mask, prefix) in [
            ("255.255.255.0", 24),
            ("255.255.255.255", 32),
            ("0.0.0.0", 0),
            ("255.255.240.0", 20),
        ] {
            let subnet = Subnet::with_mask(ip, mask.parse().unwrap()).unwrap();
            assert_eq!(subnet.prefix(), prefix);
        }
        let v6 = Subnet::with_mask(
            "fd00::5".parse().unwrap(),
            "ffff:ffff:ffff:ffff::".parse().unwrap(),
        )
        .unwrap();
        assert_eq!(v6.to_string(), "fd00::5/64");
        assert!(Subnet::with_mask(ip, "255.0.255.0".parse().unwrap()).is_none());
        assert!(Subnet::with_mask(ip, "ffff::".parse().unwrap()).is_none());
    }

    #[test]
    fn membership() {
        let subnet: Subnet = "10.244.0.1/24".parse().unwrap();
        assert!(subnet.contains("10.244.0.200".parse().unwrap()));
        assert!(!subnet.contains("10.244.1.1".parse().unwrap()));
        assert!(!subnet.contains("fd00::1".parse().unwrap()));
        assert_eq!(subnet.network().to_string(), "10.244.0.0/24");
        let all: Subnet = "10.0.0.1/0".parse().unwrap();
        assert!(all.contains("1.2.3.4".parse().unwrap()));
    }
}
