//! Interfaces and routes, through systemd-networkd (or CentOS's network scripts) where the infrastructure has not set them
//! up already. Upstream: platform/net/{ubuntu_net_manager,default_network_resolver}.go, platform/net/arp, platform/net/ip;
//! the planning is in interfaces.rs.

use super::{
    Family, Linux,
    addresses::{Address, addresses, default_route4, default_route6, is_global, physical},
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
const SCRIPTS: &str = "/etc/sysconfig/network-scripts";
const DHCLIENT: &str = "/etc/dhcp/dhclient.conf";
/// How long an address may take to appear. Upstream: ten attempts a second apart.
pub(super) const ADDRESSES: Duration = Duration::from_secs(10);
/// How often, and how far apart, an address is announced. Upstream: platform/provider.go.
const ANNOUNCEMENTS: u32 = 20;
const ANNOUNCE_EVERY: Duration = Duration::from_secs(5);

impl Linux {
    pub(super) async fn networking(&self, networks: &Networks) -> Result<(), Error> {
        if networks.is_preconfigured() {
            let dns = networks.default_for("dns").map(|network| &network.dns[..]);
            return self.resolvers(dns.unwrap_or_default()).await;
        }
        let mut plain = networks.clone();
        plain.0.retain(|_, network| !network.is_vip());
        let dns = plain.default_for("dns").map(|network| &network.dns[..]);
        let dns = dns.unwrap_or_default();
        let by_name: BTreeMap<&str, &Network> = plain
            .0
            .iter()
            .map(|(name, network)| (name.as_str(), network))
            .collect();
        let plan = interfaces::plan(&by_name, &physical(&self.dirs)?).map_err(Error::Invalid)?;
        if plan.iter().any(Interface::has_ipv6) && self.family == Family::Ubuntu {
            self.ipv6(true).await?;
        }
        let mut changed = match self.family {
            Family::Ubuntu => self.write_networkd(&plan, dns)?,
            Family::CentOs => self.write_ifcfg(&plan, dns)?,
        };
        if plan.iter().any(|interface| interface.dhcp) {
            changed |= self.write_dhclient(&plan, dns)?;
        }
        if changed {
            self.forget_leases().await;
            self.restart_networking().await?;
        }
        self.wait_for_addresses(&plan).await?;
        // NetworkManager writes /etc/resolv.conf itself, from the servers in its interfaces' files.
        if self.family == Family::Ubuntu {
            self.resolvers(dns).await?;
        }
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
            changed |= converge(&path, &text)?;
        }
        Ok(changed)
    }

    /// Makes the files of CentOS's network scripts these, and leaves those of other interfaces.
    fn write_ifcfg(&self, plan: &[Interface], dns: &[String]) -> Result<bool, Error> {
        let dir = self.dirs.system(SCRIPTS);
        let mut changed = false;
        for interface in plan {
            for (name, text) in interface.ifcfg(dns).map_err(Error::Invalid)? {
                changed |= converge(&dir.join(format!("ifcfg-{name}")), &text)?;
            }
            let routes = dir.join(format!("route-{}", interface.name));
            match interface.route_file().map_err(Error::Invalid)? {
                Some(text) => changed |= converge(&routes, &text)?,
                None if routes.exists() => {
                    files::remove(&routes)?;
                    changed = true;
                }
                None => {}
            }
        }
        Ok(changed)
    }

    /// dhclient asks for what systemd-networkd asks for, on stemcells that have it.
    fn write_dhclient(&self, plan: &[Interface], dns: &[String]) -> Result<bool, Error> {
        let hostname = match self.family {
            Family::Ubuntu => "= gethostname()",
            Family::CentOs => "\"<hostname>\"",
        };
        let mut text = format!(
            "# Generated by bosh-agent\n\n\
             option rfc3442-classless-static-routes code 121 = array of unsigned integer 8;\n\n\
             send host-name {hostname};\n\n\
             request subnet-mask, broadcast-address, time-offset, routers,\n\
             \tdomain-name, domain-name-servers, domain-search, host-name,\n\
             \tnetbios-name-servers, netbios-scope, interface-mtu,\n\
             \trfc3442-classless-static-routes, ntp-servers;\n"
        );
        if !dns.is_empty() {
            // One directive with all of them keeps their order.
            text.push_str(&format!(
                "\nprepend domain-name-servers {};",
                dns.join(", ")
            ));
        }
        text.push('\n');
        let path = self.dirs.system(DHCLIENT);
        let changed = converge(&path, &text)?;
        if self.family == Family::CentOs {
            for interface in plan.iter().filter(|interface| interface.dhcp) {
                let own = path.with_file_name(format!("dhclient-{}.conf", interface.name));
                files::symlink(Path::new(DHCLIENT), &own)?;
            }
        }
        Ok(changed)
    }

    /// A dhclient that is not needed any more goes on, and resolvconf keeps what it said. Failures matter to nobody.
    async fn forget_leases(&self) {
        if let Some(pkill) = self.tool("pkill")
            && let Err(error) = pkill.arg("dhclient").run().await
        {
            tracing::debug!(%error, "no dhclient to end");
        }
        for name in physical(&self.dirs).unwrap_or_default().values() {
            let Some(resolvconf) = self.tool("resolvconf") else {
                return;
            };
            let record = format!("{name}.dhclient");
            if let Err(error) = resolvconf.args(["-d", &record]).run().await {
                tracing::debug!(%error, record, "nothing to forget");
            }
        }
    }

    async fn restart_networking(&self) -> Result<(), Error> {
        let restarted = match (self.family, self.tool("restart_networking")) {
            (Family::Ubuntu, Some(command)) => command.run().await,
            (Family::Ubuntu, None) => {
                let Some(systemctl) = self.tool("systemctl") else {
                    return Ok(());
                };
                let command = systemctl.args(["restart", "systemd-networkd"]);
                command.run().await
            }
            (Family::CentOs, _) => {
                let Some(service) = self.tool("service") else {
                    return Ok(());
                };
                let restarted = service.args(["network", "restart"]).run().await;
                // Upstream goes on here: whether the addresses are there is seen then.
                if let Err(error) = restarted {
                    tracing::warn!(%error, "cannot restart the network");
                }
                return Ok(());
            }
        };
        restarted.map_err(|e| Error::command("Failure restarting networking", e))?;
        Ok(())
    }

    /// Waits until every fixed address is there. Upstream checks the first one only: if that is there in the end, others
    /// that are not stop nothing.
    async fn wait_for_addresses(&self, plan: &[Interface]) -> Result<(), Error> {
        if !self.dirs.is_machine() && self.tool("restart_networking").is_none() {
            // A directory has no network.
            return Ok(());
        }
        let wanted: Vec<(&str, IpAddr)> = fixed(plan).collect();
        let deadline = tokio::time::Instant::now() + self.address_deadline;
        loop {
            let there = addresses()?;
            let is_there = |(name, ip): &(&str, IpAddr)| {
                there.iter().any(|a| a.interface == *name && a.ip == *ip)
            };
            let Some(missing) = wanted.iter().find(|wanted| !is_there(wanted)) else {
                return Ok(());
            };
            if tokio::time::Instant::now() >= deadline {
                let message = describe(missing, &there);
                if wanted.first().is_none_or(is_there) {
                    tracing::error!("{message}");
                    return Ok(());
                }
                return Err(Error::Device(format!(
                    "Validating static network configuration: {message}"
                )));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Tells the neighbours that these addresses are here now, without waiting for it: the fixed ones and what DHCP gave.
    fn announce(&self, plan: &[Interface]) {
        let mut all: Vec<(String, IpAddr)> = fixed(plan)
            .map(|(name, ip)| (name.to_owned(), ip))
            .collect();
        for interface in plan.iter().filter(|interface| interface.dhcp) {
            if let Ok(Some(address)) = primary(&interface.name, false) {
                all.push((interface.name.clone(), address.ip));
            }
        }
        all.retain(|(_, ip)| ip.is_ipv4());
        let commands = move |arping: &Path| -> Vec<Command> {
            let announce = |(name, ip): &(String, IpAddr)| {
                Command::new(arping)
                    .args(["-c", "1", "-U", "-I", name, &ip.to_string()])
                    .timeout(Duration::from_secs(10))
            };
            all.iter().map(announce).collect()
        };
        let Some(arping) = self.tool_path("arping") else {
            return;
        };
        tokio::spawn(async move {
            for n in 0..ANNOUNCEMENTS {
                if n > 0 {
                    tokio::time::sleep(ANNOUNCE_EVERY).await;
                }
                for command in commands(&arping) {
                    if let Err(error) = command.run().await {
                        tracing::debug!(%error, "cannot announce an address");
                    }
                }
            }
        });
    }

    /// The file that makes an interface count as configured.
    fn configuration(&self, interface: &str) -> PathBuf {
        self.dirs.system(&match self.family {
            Family::Ubuntu => format!("{NETWORKD}/10_{interface}.network"),
            Family::CentOs => format!("{SCRIPTS}/ifcfg-{interface}"),
        })
    }

    pub(super) fn interfaces_with_configuration(&self) -> Result<Vec<String>, Error> {
        let mut names: Vec<String> = physical(&self.dirs)?.into_values().collect();
        names.retain(|name| self.configuration(name).exists());
        Ok(names)
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
        let address = primary(&interface, ipv6)?.ok_or_else(|| {
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
            .map_err(|e| Error::command("Deleting arp entry", e))?;
        Ok(())
    }
}

fn converge(path: &Path, text: &str) -> Result<bool, Error> {
    if files::read(path)?.as_deref() == Some(text) {
        return Ok(false);
    }
    files::write(path, text.as_bytes(), 0o644)?;
    Ok(true)
}

/// Interfaces and their fixed addresses, but those of aliases.
fn fixed(plan: &[Interface]) -> impl Iterator<Item = (&str, IpAddr)> {
    plan.iter().flat_map(|interface| {
        let addresses = interface.addresses.iter();
        addresses.map(|address| (interface.name.as_str(), address.ip))
    })
}

fn describe((name, ip): &(&str, IpAddr), there: &[Address]) -> String {
    let actual: Vec<String> = there
        .iter()
        .filter(|a| a.interface == *name && (a.ip.is_ipv4() || is_global(a.ip)))
        .map(|a| a.ip.to_string())
        .collect();
    if actual.is_empty() {
        return format!(
            "Validating network interface '{name}' IP addresses, no interface configured with that name"
        );
    }
    let actual = actual.join(", ");
    format!(
        "Validating network interface '{name}' IP addresses, expected: '{ip}', actual: [{actual}]"
    )
}

/// The address of an interface that others know it by.
fn primary(interface: &str, ipv6: bool) -> Result<Option<Address>, Error> {
    let mine = addresses()?
        .into_iter()
        .filter(|a| a.interface == interface && a.ip.is_ipv6() == ipv6);
    let (global, mut local): (Vec<_>, Vec<_>) = mine.partition(|a| is_global(a.ip));
    // One that is not routed is better than none, but in IPv6 every interface has one.
    if ipv6 {
        local.clear();
    }
    Ok(global.into_iter().chain(local).next())
}
