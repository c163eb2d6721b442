//! Interfaces, routes and resolvers, through systemd-networkd where the infrastructure has not set them up already.
//! Upstream: platform/net/ubuntu_net_manager.go and dnsresolver; the planning is in interfaces.rs.

use super::{
    Linux,
    addresses::{Address, addresses, default_route4, default_route6, is_global, physical},
    interfaces::{self, Interface},
};
use crate::platform::{DefaultNetwork, Error, command::Command, files};
use bosh_protocol::network::{Network, Networks};
use std::{collections::BTreeMap, fs, net::IpAddr, path::Path, time::Duration};

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
