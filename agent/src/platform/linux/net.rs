//! Interfaces, routes and resolvers, through systemd-networkd where the infrastructure has not set them up already.
//! Upstream: platform/net/ubuntu_net_manager.go and dnsresolver; the planning is in plan.rs.

use super::{
    Linux,
    interfaces::{self, Interface},
};
use crate::platform::{DefaultNetwork, Error, command::Command, files};
use bosh_protocol::network::{Network, Networks};
use std::{
    collections::BTreeMap,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

const NETWORKD: &str = "/etc/systemd/network";
/// How long an address may take to appear. Upstream: ten attempts a second apart.
const ADDRESSES: Duration = Duration::from_secs(10);

impl Linux {
    pub(super) async fn networking(&self, networks: &Networks) -> Result<(), Error> {
        let plain: BTreeMap<&str, &Network> = networks
            .0
            .iter()
            .filter(|(_, network)| !network.is_vip())
            .map(|(name, n)| (name.as_str(), n))
            .collect();
        let dns = networks
            .default_for("dns")
            .map_or(&[][..], |network| &network.dns);
        if networks.is_preconfigured() {
            return self.resolvers(dns).await;
        }
        let plan = interfaces::plan(&plain, &physical(&self.dirs.system("/sys/class/net"))?)
            .map_err(Error::Invalid)?;
        if plan.iter().any(Interface::has_ipv6) {
            self.ipv6(true).await?;
        }
        if self.write_networkd(&plan, dns)? {
            self.restart_networking().await?;
        }
        self.wait_for_addresses(&plan).await?;
        self.resolvers(dns).await?;
        self.announce(&plan);
        Ok(())
    }

    /// Makes systemd-networkd's files these; says whether anything changed.
    fn write_networkd(&self, plan: &[Interface], dns: &[String]) -> Result<bool, Error> {
        let dir = self.dirs.system(NETWORKD);
        files::mkdir(&dir, 0o755)?;
        let anyone = plan.iter().any(|interface| interface.default_gateway);
        let mut wanted = BTreeMap::new();
        for interface in plan {
            let text = interface.networkd(dns, anyone).map_err(Error::Invalid)?;
            wanted.insert(dir.join(format!("10_{}.network", interface.name)), text);
        }
        let mut changed = false;
        let wrap = |e| Error::file("listing", &dir, e);
        for entry in fs::read_dir(&dir).map_err(wrap)? {
            let path = entry.map_err(wrap)?.path();
            let unmanaged = path.to_string_lossy().ends_with("unmanaged.network");
            if !wanted.contains_key(&path) && !unmanaged {
                files::remove(&path)?;
                changed = true;
            }
        }
        for (path, text) in wanted {
            if files::read(&path)?.as_deref() != Some(text.as_str()) {
                files::write(&path, text.as_bytes(), 0o644)?;
                changed = true;
            }
        }
        Ok(changed)
    }

    async fn restart_networking(&self) -> Result<(), Error> {
        if !self.dirs.is_machine() {
            return Ok(());
        }
        let program = self.bosh_bin_program("restart_networking");
        let command = if program.is_file() {
            Command::new(program)
        } else {
            Command::new("systemctl").args(["restart", "systemd-networkd"])
        };
        command
            .run()
            .await
            .map_err(|e| Error::command("restarting the network", e))?;
        Ok(())
    }

    async fn wait_for_addresses(&self, plan: &[Interface]) -> Result<(), Error> {
        if !self.dirs.is_machine() {
            return Ok(());
        }
        let wanted: Vec<(&str, IpAddr)> = plan
            .iter()
            .flat_map(|interface| {
                interface
                    .addresses
                    .iter()
                    .map(|address| (interface.name.as_str(), address.ip))
            })
            .collect();
        let deadline = tokio::time::Instant::now() + ADDRESSES;
        loop {
            let there = addresses()?;
            let missing = wanted
                .iter()
                .find(|(name, ip)| !there.iter().any(|a| a.interface == *name && a.ip == *ip));
            let Some((name, ip)) = missing else {
                return Ok(());
            };
            if tokio::time::Instant::now() >= deadline {
                let actual: Vec<String> = there
                    .iter()
                    .filter(|a| a.interface == *name)
                    .map(|a| a.ip.to_string())
                    .collect();
                return Err(Error::Device(format!(
                    "Validating network interface '{name}' IP addresses, expected: '{ip}', actual: [{}]",
                    actual.join(", ")
                )));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Tells the neighbours that these addresses are here now, without waiting for it.
    fn announce(&self, plan: &[Interface]) {
        if !self.dirs.is_machine() || !Command::exists("arping") {
            return;
        }
        let all: Vec<(String, String)> = plan
            .iter()
            .flat_map(|i| {
                i.addresses
                    .iter()
                    .filter(|a| a.ip.is_ipv4())
                    .map(|a| (i.name.clone(), a.ip.to_string()))
            })
            .collect();
        tokio::spawn(async move {
            // As often and as far apart as upstream.
            for n in 0..20 {
                if n > 0 {
                    tokio::time::sleep(Duration::from_secs(5)).await;
                }
                for (name, ip) in &all {
                    let command = Command::new("arping").args(["-c", "1", "-U", "-I", name, ip]);
                    if let Err(error) = command.timeout(Duration::from_secs(10)).run().await {
                        tracing::debug!(interface = name, %error, "cannot announce an address");
                    }
                }
            }
        });
    }

    /// Sets the machine's DNS servers: systemd-resolved's, resolvconf's, or /etc/resolv.conf itself.
    async fn resolvers(&self, servers: &[String]) -> Result<(), Error> {
        if servers
            .iter()
            .any(|server| server.parse::<IpAddr>().is_err())
        {
            return Err(Error::Invalid(format!(
                "DNS servers must be addresses: {}",
                servers.join(", ")
            )));
        }
        if servers.is_empty() {
            // What the infrastructure gave stays.
            return Ok(());
        }
        if self.options.service_manager == "systemd" {
            let text = format!(
                "# Generated by bosh-agent\n[Resolve]\nDNS={}\n",
                servers.join(" ")
            );
            let path = self
                .dirs
                .system("/etc/systemd/resolved.conf.d/10-bosh.conf");
            if files::read(&path)?.as_deref() == Some(text.as_str()) {
                return Ok(());
            }
            files::write(&path, text.as_bytes(), 0o644)?;
            if self.dirs.is_machine() {
                let command = Command::new("systemctl").args(["restart", "systemd-resolved"]);
                command
                    .run()
                    .await
                    .map_err(|e| Error::command("restarting systemd-resolved", e))?;
            }
            return Ok(());
        }
        let mut text = "# Generated by bosh-agent\n".to_owned();
        for server in servers {
            text.push_str(&format!("nameserver {server}\n"));
        }
        if self.dirs.is_machine() && Command::exists("resolvconf") {
            files::write(
                &self.dirs.system("/etc/resolvconf/resolv.conf.d/base"),
                text.as_bytes(),
                0o644,
            )?;
            files::symlink(
                Path::new("/run/resolvconf/resolv.conf"),
                &self.dirs.system("/etc/resolv.conf"),
            )?;
            let command = Command::new("resolvconf").arg("-u");
            command
                .run()
                .await
                .map_err(|e| Error::command("updating resolvconf", e))?;
            return Ok(());
        }
        // A stemcell without resolvconf: nothing else writes the file.
        files::write(
            &self.dirs.system("/etc/resolv.conf"),
            text.as_bytes(),
            0o644,
        )
    }

    pub(super) async fn ipv6(&self, enable: bool) -> Result<(), Error> {
        if !enable {
            return Ok(());
        }
        let sysctl = self.dirs.system("/etc/sysctl.d/60-bosh-sysctl.conf");
        if let Some(text) = files::read(&sysctl)? {
            let enabled = text
                .replace(
                    "net.ipv6.conf.all.disable_ipv6=1",
                    "net.ipv6.conf.all.disable_ipv6=0",
                )
                .replace(
                    "net.ipv6.conf.default.disable_ipv6=1",
                    "net.ipv6.conf.default.disable_ipv6=0",
                );
            if enabled != text {
                files::write(&sysctl, enabled.as_bytes(), 0o644)?;
            }
        }
        for grub in ["/boot/grub/grub.cfg", "/boot/efi/EFI/grub/grub.cfg"] {
            let path = self.dirs.system(grub);
            let Some(text) = files::read(&path)? else {
                continue;
            };
            if text.contains("ipv6.disable=1") {
                files::write(&path, text.replace("ipv6.disable=1", "").as_bytes(), 0o600)?;
                if self.dirs.is_machine() {
                    tracing::info!("rebooting to enable IPv6 in the kernel");
                    let command = Command::new("shutdown").args(["-r", "now"]);
                    command
                        .run()
                        .await
                        .map_err(|e| Error::command("rebooting to enable IPv6", e))?;
                    // The machine goes down; nothing may happen until then.
                    std::future::pending::<()>().await;
                }
            }
            break;
        }
        for which in ["all", "default"] {
            for (key, value) in [("accept_ra", "1"), ("disable_ipv6", "0")] {
                let path = self
                    .dirs
                    .system(&format!("/proc/sys/net/ipv6/conf/{which}/{key}"));
                if self.dirs.is_machine() {
                    fs::write(&path, value).map_err(|e| Error::file("writing", &path, e))?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn interfaces_with_configuration(&self) -> Result<Vec<String>, Error> {
        let dir = self.dirs.system(NETWORKD);
        let all = physical(&self.dirs.system("/sys/class/net"))?;
        Ok(all
            .into_values()
            .filter(|name| dir.join(format!("10_{name}.network")).exists())
            .collect())
    }

    pub(super) fn forget_interfaces(&self) -> Result<(), Error> {
        files::remove(
            &self
                .dirs
                .system("/etc/udev/rules.d/70-persistent-net.rules"),
        )
    }

    pub(super) async fn default_route(&self, ipv6: bool) -> Result<DefaultNetwork, Error> {
        let none = || Error::Device("Failed to find default route".to_owned());
        let (interface, gateway) = if ipv6 {
            default_route6()
        } else {
            default_route4()
        }?
        .ok_or_else(none)?;
        let mine: Vec<Address> = addresses()?
            .into_iter()
            .filter(|a| a.interface == interface && a.ip.is_ipv6() == ipv6)
            .collect();
        let address = mine
            .iter()
            .find(|a| is_global(a.ip))
            .or_else(|| mine.first().filter(|_| !ipv6));
        let address = address.ok_or_else(|| {
            let version = if ipv6 { 6 } else { 4 };
            Error::Device(format!(
                "Failed to find primary address IPv{version} for interface '{interface}'"
            ))
        })?;
        Ok(DefaultNetwork {
            ip: address.ip,
            netmask: address.netmask,
            gateway,
        })
    }

    pub(super) async fn flush_arp(&self, ip: IpAddr) -> Result<(), Error> {
        let command = Command::new("ip")
            .args(["neigh", "flush", "to"])
            .arg(ip.to_string());
        command
            .run()
            .await
            .map_err(|e| Error::command("deleting an ARP entry", e))?;
        Ok(())
    }
}

/// The interfaces that are the machine's own, by MAC address: devices, and what plugins mark as such.
/// Upstream: platform/net/mac_address_detector.go.
fn physical(dir: &Path) -> Result<BTreeMap<String, String>, Error> {
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
        let udev =
            fs::read_to_string(format!("/run/udev/data/n{}", read("ifindex"))).unwrap_or_default();
        // A virtual function that hides under a synthetic interface.
        let hidden = udev.lines().any(|line| line == "E:AZURE_UNMANAGED_SRIOV=1");
        if (path.join("device").exists() || marked) && !hidden {
            found.insert(read("address"), name);
        }
    }
    Ok(found)
}

#[derive(Debug)]
struct Address {
    interface: String,
    ip: IpAddr,
    netmask: IpAddr,
}

fn addresses() -> Result<Vec<Address>, Error> {
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

fn is_global(ip: IpAddr) -> bool {
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

fn default_route4() -> Result<Option<(String, IpAddr)>, Error> {
    let text = files::read(Path::new("/proc/net/route"))?.unwrap_or_default();
    Ok(parse_route4(&text))
}

fn default_route6() -> Result<Option<(String, IpAddr)>, Error> {
    let text = files::read(Path::new("/proc/net/ipv6_route"))?.unwrap_or_default();
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
        // Up, a gateway, and not the kernel's own way of saying no.
        if f[1] != "00" || f[3] != "00" || flags & 3 != 3 || *f.get(9)? == "lo" {
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
}
