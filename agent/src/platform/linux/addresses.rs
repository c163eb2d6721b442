//! What the kernel says about interfaces, addresses and routes.

use crate::platform::{Dirs, Error, files};
use std::{
    collections::BTreeMap,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

/// The interfaces that are the machine's own, by MAC address: devices, and what plugins mark as such.
/// Upstream: platform/net/mac_address_detector.go.
pub(super) fn physical(dirs: &Dirs) -> Result<BTreeMap<String, String>, Error> {
    let dir = &dirs.system("/sys/class/net");
    let mut found = BTreeMap::new();
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        Err(e) => return Err(Error::file("listing", dir, e)),
    };
    for entry in entries {
        let path: PathBuf = entry.map_err(|e| Error::file("listing", dir, e))?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let read = |key: &str| {
            fs::read_to_string(path.join(key))
                .unwrap_or_default()
                .trim()
                .to_owned()
        };
        let marked = read("ifalias").starts_with("bosh-interface");
        let udev = dirs.system(&format!("/run/udev/data/n{}", read("ifindex")));
        let udev = fs::read_to_string(udev).unwrap_or_default();
        // A virtual function that hides under a synthetic interface.
        let hidden = udev.lines().any(|line| line == "E:AZURE_UNMANAGED_SRIOV=1");
        if (path.join("device").exists() || marked) && !hidden {
            found.insert(read("address"), name);
        }
    }
    Ok(found)
}

#[derive(Debug)]
pub(super) struct Address {
    pub(super) interface: String,
    pub(super) ip: IpAddr,
    pub(super) netmask: IpAddr,
}

pub(super) fn addresses() -> Result<Vec<Address>, Error> {
    let all = nix::ifaddrs::getifaddrs()
        .map_err(|e| Error::file("listing addresses of", Path::new("interfaces"), e.into()))?;
    let ip = |storage: &nix::sys::socket::SockaddrStorage| {
        let v4 = storage.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
        v4.or_else(|| storage.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
    };
    Ok(all
        .filter_map(|entry| {
            let address = ip(entry.address.as_ref()?)?;
            Some(Address {
                interface: entry.interface_name,
                ip: address,
                netmask: ip(entry.netmask.as_ref()?)?,
            })
        })
        .collect())
}

pub(super) fn is_global(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            !ip.is_loopback() && !ip.is_link_local() && !ip.is_unspecified() && !ip.is_multicast()
        }
        IpAddr::V6(ip) => {
            !ip.is_loopback()
                && !ip.is_unicast_link_local()
                && !ip.is_unspecified()
                && !ip.is_multicast()
        }
    }
}

pub(super) fn default_route4() -> Result<Option<(String, IpAddr)>, Error> {
    let text = files::read(Path::new("/proc/thread-self/net/route"))?.unwrap_or_default();
    Ok(parse_route4(&text))
}

pub(super) fn default_route6() -> Result<Option<(String, IpAddr)>, Error> {
    let text = files::read(Path::new("/proc/thread-self/net/ipv6_route"))?.unwrap_or_default();
    Ok(parse_route6(&text))
}

/// `eth0 00000000 0100F40A 0003 ...`: little-endian addresses; flag 2 is a gateway. The lowest metric wins.
fn parse_route4(text: &str) -> Option<(String, IpAddr)> {
    let routes = text.lines().skip(1).filter_map(|line| {
        let f: Vec<&str> = line.split_whitespace().collect();
        let flags = u32::from_str_radix(f.get(3)?, 16).ok()?;
        if *f.get(1)? != "00000000" || *f.get(7)? != "00000000" || flags & 1 == 0 {
            return None;
        }
        let gateway = u32::from_str_radix(f[2], 16).ok()?;
        Some((
            f[6].parse::<u32>().ok()?,
            f[0].to_owned(),
            IpAddr::from(gateway.to_le_bytes()),
        ))
    });
    routes
        .min_by_key(|(metric, ..)| *metric)
        .map(|(_, interface, gateway)| (interface, gateway))
}

/// `<destination> <bits> <source> <bits> <gateway> <metric> .. .. <flags> <interface>`
fn parse_route6(text: &str) -> Option<(String, IpAddr)> {
    let routes = text.lines().filter_map(|line| {
        let f: Vec<&str> = line.split_whitespace().collect();
        let flags = u32::from_str_radix(f.get(8)?, 16).ok()?;
        let gateway = u128::from_str_radix(f.get(4)?, 16).ok()?;
        // Up, and neither a refusal nor the kernel's own way of saying no.
        if f[1] != "00" || f[3] != "00" || flags & 0x201 != 1 || *f.get(9)? == "lo" {
            return None;
        }
        let metric = u32::from_str_radix(f[5], 16).ok()?;
        Some((metric, f[9].to_owned(), IpAddr::from(gateway.to_be_bytes())))
    });
    routes
        .min_by_key(|(metric, ..)| *metric)
        .map(|(_, interface, gateway)| (interface, gateway))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_route_is_the_one_of_the_lowest_metric() {
        let head = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n";
        let text = format!(
            "{head}eth1 00000000 0200F40A 0003 0 0 100 00000000 0 0 0\n\
             eth0 00000000 0100F40A 0003 0 0 0 00000000 0 0 0\n\
             eth0 0000F40A 00000000 0001 0 0 0 00FFFFFF 0 0 0\n"
        );
        assert_eq!(
            parse_route4(&text),
            Some(("eth0".to_owned(), "10.244.0.1".parse().unwrap()))
        );
        assert_eq!(parse_route4(head), None);
        let text = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
                    fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth0\n\
                    00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
                    00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n";
        assert_eq!(
            parse_route6(text),
            Some(("eth0".to_owned(), "fe80::1".parse().unwrap()))
        );
    }

    #[test]
    fn the_machines_own_interfaces() {
        let root = tempfile::tempdir().unwrap();
        let dirs = Dirs::below(root.path());
        assert!(
            physical(&dirs).unwrap().is_empty(),
            "no /sys, no interfaces"
        );
        let interface = |name: &str, files: &[(&str, &str)]| {
            let dir = dirs.system("/sys/class/net").join(name);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("address"), format!("mac-{name}\n")).unwrap();
            for (file, text) in files {
                fs::write(dir.join(file), text).unwrap();
            }
        };
        let udev = dirs.system("/run/udev/data");
        fs::create_dir_all(&udev).unwrap();
        interface("lo", &[]);
        interface("eth0", &[("device", ""), ("ifindex", "2\n")]);
        interface("br0", &[("ifalias", "bosh-interface-of-a-plugin\n")]);
        interface("br1", &[("ifalias", "other bosh-interface\n")]);
        interface("vf0", &[("device", ""), ("ifindex", "7\n")]);
        interface("vf1", &[("device", ""), ("ifindex", "8\n")]);
        interface("vf2", &[("device", ""), ("ifindex", "9\n")]);
        fs::write(udev.join("n7"), "I:1\nE:AZURE_UNMANAGED_SRIOV=1\n").unwrap();
        fs::write(
            udev.join("n8"),
            "E:AZURE_UNMANAGED_SRIOV=10\nE:X_AZURE_UNMANAGED_SRIOV=1\n",
        )
        .unwrap();
        let names: Vec<String> = physical(&dirs).unwrap().into_values().collect();
        assert_eq!(names, ["br0", "eth0", "vf1", "vf2"]);
    }
}
