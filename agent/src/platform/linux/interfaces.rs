//! Which interface gets which addresses, purely, and how systemd-networkd is told.
//! Upstream: platform/net/{interface_configuration_creator,ubuntu_net_manager}.go.

use bosh_protocol::network::{Network, Route};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

/// One interface.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Interface {
    pub(super) name: String,
    /// Fixed addresses, in the order of the networks' names.
    pub(super) addresses: Vec<Address>,
    /// Labels and addresses of aliases, `eth0:1`.
    aliases: Vec<(String, Address)>,
    pub(super) dhcp: bool,
    dhcp_ipv6: bool,
    gateways: Vec<String>,
    routes: Vec<Route>,
    /// Whether the machine's default route goes out here.
    pub(super) default_gateway: bool,
}

/// An address and the size of its network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) ip: IpAddr,
    /// As the settings have them.
    text: String,
    netmask: String,
    bits: u8,
}

/// Plans interfaces from networks (those that are no VIPs) and what there is, name by MAC address.
pub(super) fn plan(
    networks: &BTreeMap<&str, &Network>,
    by_mac: &BTreeMap<String, String>,
) -> Result<Vec<Interface>, String> {
    let mut plan: BTreeMap<String, Interface> = BTreeMap::new();
    if let (1, Some((_, network)), 1, Some(name)) = (
        networks.len(),
        networks.iter().next(),
        by_mac.len(),
        by_mac.values().next(),
    ) && network.mac.is_empty()
    {
        // One network and one interface: which is which needs no telling.
        add(
            &mut plan,
            name,
            network,
            network.is_dhcp() && network.alias.is_empty(),
        )?;
        return Ok(plan.into_values().collect());
    }
    for (name, network) in networks {
        if !network.mac.is_empty() && !by_mac.contains_key(&network.mac) {
            return Err(format!(
                "No device found for network '{name}' with MAC address '{}'",
                network.mac
            ));
        }
    }
    for (mac, interface) in by_mac {
        let mine: Vec<_> = networks
            .values()
            .filter(|network| network.mac == *mac)
            .collect();
        if mine.is_empty() {
            // Nobody speaks for it: whatever DHCP says.
            plan.entry(interface.clone())
                .or_insert_with(|| Interface {
                    name: interface.clone(),
                    ..Interface::default()
                })
                .dhcp = true;
        }
        for network in mine {
            add(
                &mut plan,
                interface,
                network,
                network.is_dhcp() && network.alias.is_empty(),
            )?;
        }
    }
    for network in networks
        .values()
        .filter(|network| network.mac.is_empty() && !network.alias.is_empty())
    {
        check_name(&network.alias)?;
        match network.alias.split_once(':') {
            Some((base, _)) => {
                let address = address(&network.ip, &network.netmask)?;
                let entry = plan.entry(base.to_owned()).or_insert_with(|| Interface {
                    name: base.to_owned(),
                    ..Interface::default()
                });
                entry.aliases.push((network.alias.clone(), address));
            }
            None => add(&mut plan, &network.alias, network, false)?,
        }
    }
    Ok(plan.into_values().collect())
}

fn add(
    plan: &mut BTreeMap<String, Interface>,
    name: &str,
    network: &Network,
    dhcp: bool,
) -> Result<(), String> {
    check_name(name)?;
    let entry = plan.entry(name.to_owned()).or_insert_with(|| Interface {
        name: name.to_owned(),
        ..Interface::default()
    });
    let default = network.is_default_for("gateway");
    entry.routes.extend(network.routes.iter().cloned());
    entry.default_gateway |= default;
    if dhcp {
        entry.dhcp = true;
        entry.dhcp_ipv6 |= network.ip.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6());
        return Ok(());
    }
    entry
        .addresses
        .push(address(&network.ip, &network.netmask)?);
    if default && !network.gateway.is_empty() {
        entry.gateways.push(one_line(&network.gateway)?);
    }
    Ok(())
}

/// As the kernel's dev_valid_name, but for the colon of an alias.
fn check_name(name: &str) -> Result<(), String> {
    let bad = name.is_empty()
        || name == "."
        || name == ".."
        || name.contains('/')
        || name.chars().any(char::is_whitespace);
    if bad {
        Err(format!("invalid interface name {name:?}"))
    } else {
        Ok(())
    }
}

fn address(text: &str, netmask: &str) -> Result<Address, String> {
    let ip: IpAddr = text.parse().map_err(|_| format!("invalid IP '{text}'"))?;
    Ok(Address {
        ip,
        text: text.to_owned(),
        netmask: netmask.to_owned(),
        bits: prefix(netmask, ip.is_ipv6())?,
    })
}

/// What goes into a file of lines must not begin another.
fn one_line(value: &str) -> Result<String, String> {
    if value.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(format!("{value:?} is not one word"));
    }
    Ok(value.to_owned())
}

/// The bits of a netmask, which may also be written as their number.
fn prefix(netmask: &str, ipv6: bool) -> Result<u8, String> {
    let refused = || format!("netmask cannot be converted to CIDR: {netmask}");
    let most = if ipv6 { 128 } else { 32 };
    if let Ok(bits) = netmask.parse::<u8>() {
        return if bits <= most {
            Ok(bits)
        } else {
            Err(refused())
        };
    }
    let bits = match netmask.parse::<IpAddr>().map_err(|_| refused())? {
        IpAddr::V4(mask) if !ipv6 => u128::from(u32::from(mask)) << 96,
        IpAddr::V6(mask) if ipv6 => u128::from(mask),
        _ => return Err(refused()),
    };
    let ones = bits.leading_ones();
    if bits.count_ones() == ones {
        Ok(ones as u8)
    } else {
        Err(refused())
    }
}

impl Address {
    fn broadcast(&self) -> Option<Ipv4Addr> {
        let IpAddr::V4(ip) = self.ip else { return None };
        let host = u32::MAX.checked_shr(u32::from(self.bits)).unwrap_or(0);
        Some(Ipv4Addr::from(u32::from(ip) | host))
    }
}

impl Interface {
    pub(super) fn has_ipv6(&self) -> bool {
        self.dhcp_ipv6 || self.addresses.iter().any(|address| address.ip.is_ipv6())
    }

    /// Its file for systemd-networkd. `anyone` is whether any interface is the default one: if not, all are.
    pub(super) fn networkd(&self, dns: &[String], anyone: bool) -> Result<String, String> {
        let mut text = format!("# Generated by bosh-agent\n[Match]\nName={}\n\n", self.name);
        for address in &self.addresses {
            text.push_str(&format!(
                "[Address]\nAddress={}/{}\n",
                address.text, address.bits
            ));
            if let (true, Some(broadcast)) = (self.default_gateway, address.broadcast()) {
                text.push_str(&format!("Broadcast={broadcast}\n"));
            }
            text.push('\n');
        }
        for (label, address) in &self.aliases {
            text.push_str(&format!(
                "[Address]\nLabel={label}\nAddress={}/{}\n\n",
                address.text, address.bits
            ));
        }
        text.push_str("[Network]\n");
        if self.dhcp {
            text.push_str("DHCP=yes\n");
        }
        for gateway in &self.gateways {
            text.push_str(&format!("Gateway={gateway}\n"));
        }
        if self.has_ipv6() {
            text.push_str("IPv6AcceptRA=true\n");
        }
        for server in dns {
            text.push_str(&format!("DNS={}\n", one_line(server)?));
        }
        text.push('\n');
        if self.dhcp {
            text.push_str("[DHCP]\nUseDomains=yes\nUseMTU=yes\n");
            if anyone && !self.default_gateway {
                // Not UseGateway=no, which systemd 249 does not know.
                text.push_str("UseRoutes=no\n");
            }
            text.push('\n');
        }
        for route in &self.routes {
            let (destination, bits) = destination(route)?;
            let gateway = one_line(&route.gateway)?;
            text.push_str(&format!(
                "[Route]\nDestination={destination}/{bits}\nGateway={gateway}\n\n"
            ));
        }
        Ok(text)
    }

    /// Its file for the network scripts of CentOS, and those of its aliases: name and content. Upstream had them in
    /// platform/net/centos_net_manager.go.
    pub(super) fn ifcfg(&self, dns: &[String]) -> Result<Vec<(String, String)>, String> {
        let mut files = Vec::new();
        for (n, address) in self.addresses.iter().enumerate() {
            // Scripts have one file per address.
            let name = match n {
                0 => self.name.clone(),
                n => format!("{}:{}", self.name, n - 1),
            };
            let gateway = self.gateways.get(n).map(String::as_str);
            files.push((name.clone(), static_ifcfg(&name, address, gateway, dns)?));
        }
        if self.dhcp && files.is_empty() {
            let name = &self.name;
            let text = format!("DEVICE={name}\nBOOTPROTO=dhcp\nONBOOT=yes\nPEERDNS=yes\n");
            files.push((name.clone(), text));
        }
        for (label, address) in &self.aliases {
            files.push((label.clone(), static_ifcfg(label, address, None, dns)?));
        }
        Ok(files)
    }

    /// Its routes for the network scripts of CentOS; `None` if it has none.
    pub(super) fn route_file(&self) -> Result<Option<String>, String> {
        let mut text = String::new();
        for route in &self.routes {
            let (destination, bits) = destination(route)?;
            let gateway = one_line(&route.gateway)?;
            text.push_str(&format!(
                "{destination}/{bits} via {gateway} dev {}\n",
                self.name
            ));
        }
        Ok(Some(text).filter(|text| !text.is_empty()))
    }
}

fn static_ifcfg(
    name: &str,
    address: &Address,
    gateway: Option<&str>,
    dns: &[String],
) -> Result<String, String> {
    let mut text = format!("DEVICE={name}\n");
    match address.broadcast() {
        Some(broadcast) => text.push_str(&format!(
            "BOOTPROTO=static\nIPADDR={}\nNETMASK={}\nBROADCAST={broadcast}\n",
            address.text, address.netmask
        )),
        None => text.push_str(&format!(
            "BOOTPROTO=none\nIPV6INIT=yes\nIPV6ADDR={}/{}\n",
            address.text, address.bits
        )),
    }
    if let Some(gateway) = gateway {
        let key = if address.ip.is_ipv6() {
            "IPV6_DEFAULTGW"
        } else {
            "GATEWAY"
        };
        text.push_str(&format!("{key}={gateway}\n"));
    }
    text.push_str("ONBOOT=yes\nPEERDNS=no\n");
    for (n, server) in dns.iter().enumerate() {
        text.push_str(&format!("DNS{}={}\n", n + 1, one_line(server)?));
    }
    Ok(text)
}

/// A route's destination, as the settings have it, and its bits.
fn destination(route: &Route) -> Result<(&str, u8), String> {
    let invalid = || format!("invalid IP '{}'", route.destination);
    let ip: IpAddr = route.destination.parse().map_err(|_| invalid())?;
    Ok((&route.destination, prefix(&route.netmask, ip.is_ipv6())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(json: serde_json::Value) -> Network {
        serde_json::from_value(json).unwrap()
    }

    fn macs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(mac, name)| ((*mac).to_owned(), (*name).to_owned()))
            .collect()
    }

    #[test]
    fn a_static_network_and_an_unclaimed_interface() {
        let a = network(
            serde_json::json!({"type": "manual", "ip": "10.0.0.5", "netmask": "255.255.255.0",
            "gateway": "10.0.0.1", "default": ["dns", "gateway"], "dns": ["8.8.8.8"], "mac": "aa",
            "routes": [{"Destination": "192.168.0.0", "Netmask": "255.255.0.0", "Gateway": "10.0.0.2"}]}),
        );
        let plan = plan(
            &BTreeMap::from([("a", &a)]),
            &macs(&[("aa", "eth1"), ("bb", "eth0")]),
        )
        .unwrap();
        let text: Vec<String> = plan
            .iter()
            .map(|i| i.networkd(&a.dns, true).unwrap())
            .collect();
        assert!(text.iter().all(|text| text.ends_with("\n\n")));
        insta::assert_snapshot!(text.join("----\n"), @r"
        # Generated by bosh-agent
        [Match]
        Name=eth0

        [Network]
        DHCP=yes
        DNS=8.8.8.8

        [DHCP]
        UseDomains=yes
        UseMTU=yes
        UseRoutes=no

        ----
        # Generated by bosh-agent
        [Match]
        Name=eth1

        [Address]
        Address=10.0.0.5/24
        Broadcast=10.0.0.255

        [Network]
        Gateway=10.0.0.1
        DNS=8.8.8.8

        [Route]
        Destination=192.168.0.0/16
        Gateway=10.0.0.2
        ");
    }

    #[test]
    fn one_network_and_one_interface_need_no_mac() {
        let a = network(serde_json::json!({"type": "dynamic", "default": ["gateway"]}));
        let planned = plan(&BTreeMap::from([("a", &a)]), &macs(&[("aa", "ens3")])).unwrap();
        assert!(planned[0].dhcp && planned[0].name == "ens3");
        let a = network(serde_json::json!({"ip": "10.0.0.5", "netmask": "255.255.255.0"}));
        let planned = plan(&BTreeMap::from([("a", &a)]), &macs(&[("aa", "ens3")])).unwrap();
        assert_eq!(planned[0].addresses.len(), 1);
    }

    #[test]
    fn nonsense_is_named() {
        let refused = |json| {
            let n = network(json);
            plan(
                &BTreeMap::from([("a", &n)]),
                &macs(&[("aa", "eth0"), ("bb", "eth1")]),
            )
            .unwrap_err()
        };
        let missing =
            refused(serde_json::json!({"ip": "10.0.0.5", "netmask": "255.255.255.0", "mac": "cc"}));
        assert_eq!(
            missing,
            "No device found for network 'a' with MAC address 'cc'"
        );
        assert!(
            refused(serde_json::json!({"ip": "x", "netmask": "255.0.0.0", "mac": "aa"}))
                .contains("invalid IP 'x'")
        );
        assert!(
            refused(serde_json::json!({"ip": "10.0.0.1", "netmask": "255.0.255.0", "mac": "aa"}))
                .contains("cannot be converted to CIDR: 255.0.255.0")
        );
        assert!(
            refused(serde_json::json!({"ip": "1.1.1.1", "netmask": "255.0.0.0", "alias": "../x"}))
                .contains("interface name")
        );
    }

    #[test]
    fn netmasks_are_counted() {
        assert_eq!(prefix("255.255.254.0", false), Ok(23));
        assert_eq!(prefix("64", true), Ok(64));
        assert_eq!(prefix("ffff:ffff::", true), Ok(32));
        assert!(prefix("33", false).is_err() && prefix("255.0.0.0", true).is_err());
    }
}
