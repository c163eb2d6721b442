//! The bridge, this machine's addresses on it, and masquerading.

use std::net::IpAddr;

use serde::Deserialize;

use super::{Interface, Subnet};
use crate::Error;
use crate::command::{self, Command};
use crate::config::NetworkOptions;
use crate::error::Context;
use crate::store::{Masquerade, NetworkRecord, Store, read_json, write_json};

/// One line of `ip -json addr`.
#[derive(Debug, Deserialize)]
pub(super) struct Link {
    #[serde(default)]
    pub(super) ifname: String,
    #[serde(default)]
    addr_info: Vec<Address>,
}

#[derive(Debug, Deserialize)]
struct Address {
    local: Option<IpAddr>,
    prefixlen: Option<u8>,
}

impl Link {
    fn subnets(&self) -> impl Iterator<Item = Subnet> + '_ {
        self.addr_info
            .iter()
            .filter_map(|address| Subnet::new(address.local?, address.prefixlen?))
    }
}

/// The interfaces of the current network namespace.
pub(super) fn links() -> Result<Vec<Link>, Error> {
    let out = Command::new("ip").args(["-json", "addr", "show"]).run()?;
    serde_json::from_str(&out).map_err(|source| Error::Record {
        path: "output of 'ip -json addr show'".into(),
        source,
    })
}

/// Makes the bridge, gives it the gateway addresses of `interfaces` and, if configured, lets VMs out. Idempotent.
/// The caller holds the network's lock.
pub(crate) fn ensure(
    store: &Store,
    options: &NetworkOptions,
    interfaces: &[Interface],
) -> Result<(), Error> {
    let mut record: NetworkRecord = read_json(&store.network_file())?.unwrap_or_default();
    let links = links()?;
    let bridge = &options.bridge;
    let existing = links.iter().find(|link| &link.ifname == bridge);
    let wanted = gateways(options.gateway, interfaces);
    let has = |gateway: Subnet| {
        existing.is_some_and(|link| link.subnets().any(|subnet| subnet == gateway))
    };
    let missing: Vec<Subnet> = wanted
        .iter()
        .copied()
        .filter(|gateway| !has(*gateway))
        .collect();
    for gateway in &missing {
        refuse_overlap(&links, bridge, *gateway)?;
    }
    if existing.is_none() {
        // Recorded first: a crash in between must not leave a bridge that nobody removes.
        record.bridge = Some(bridge.clone());
        write_json(&store.network_file(), &record)?;
        // With a fixed hardware address it does not change as VMs come and go, which would break connections to us.
        let add = format!(
            "link add {bridge} address {} mtu {} type bridge\n",
            options.gateway.mac(),
            options.mtu
        );
        batch(add)?;
    }
    let mut commands = String::new();
    for gateway in missing {
        commands.push_str(&format!("addr replace {gateway} dev {bridge}\n"));
    }
    commands.push_str(&format!("link set {bridge} up\n"));
    batch(commands)?;
    if options.nat {
        for gateway in wanted {
            let rules = Masquerade {
                bridge: bridge.clone(),
                subnet: gateway.network().to_string(),
            };
            let switch = switch(&rules.subnet);
            let was_off = read_switch(switch)? == "0";
            // Recorded before it is done, as the bridge.
            if was_off {
                record.switched_on.insert(switch.to_owned());
            }
            if !record.nat.contains(&rules) {
                record.nat.push(rules.clone());
            }
            write_json(&store.network_file(), &record)?;
            masquerade(&rules)?;
        }
    }
    Ok(())
}

/// Removes what [`ensure`] made, and nothing that was there before. The caller holds the network's lock.
pub(crate) fn teardown(store: &Store) -> Result<(), Error> {
    let Some(record) = read_json::<NetworkRecord>(&store.network_file())? else {
        return Ok(());
    };
    for masquerade in &record.nat {
        for rule in rules(masquerade) {
            while iptables(&rule, "-C")? {
                iptables(&rule, "-D")?;
            }
        }
    }
    for switch in &record.switched_on {
        write_switch(switch, "0")?;
    }
    if let Some(bridge) = &record.bridge
        && links()?.iter().any(|link| &link.ifname == bridge)
    {
        batch(format!("link del {bridge}\n"))?;
    }
    let file = store.network_file();
    std::fs::remove_file(&file).context(|| format!("could not remove '{}'", file.display()))
}

fn batch(commands: String) -> Result<(), Error> {
    Command::new("ip")
        .args(["-batch", "-"])
        .input(commands)
        .run()?;
    Ok(())
}

/// The configured gateway, and those of networks outside its subnet.
fn gateways(own: Subnet, interfaces: &[Interface]) -> Vec<Subnet> {
    let mut all = vec![own];
    for interface in interfaces {
        let Some(gateway) = interface.gateway else {
            continue;
        };
        if all.iter().any(|known| known.contains(gateway)) {
            continue;
        }
        all.extend(Subnet::new(gateway, interface.address.prefix()));
    }
    all
}

/// This machine must not take over a network it already reaches another way.
fn refuse_overlap(links: &[Link], bridge: &str, gateway: Subnet) -> Result<(), Error> {
    let clash = links
        .iter()
        .filter(|link| link.ifname != bridge)
        .find(|link| {
            link.subnets()
                .any(|subnet| subnet.contains(gateway.ip()) || gateway.contains(subnet.ip()))
        });
    match clash {
        None => Ok(()),
        Some(link) => Err(Error::Argument {
            what: format!("network {}", gateway.network()),
            reason: format!(
                "interface '{}' of this machine is in it already; choose another subnet",
                link.ifname
            ),
        }),
    }
}

fn masquerade(masquerade: &Masquerade) -> Result<(), Error> {
    write_switch(switch(&masquerade.subnet), "1")?;
    for rule in rules(masquerade) {
        if !iptables(&rule, "-C")? {
            iptables(&rule, "-I")?;
        }
    }
    Ok(())
}

/// The kernel's switch for forwarding packets of a subnet's family.
fn switch(subnet: &str) -> &'static str {
    if subnet.contains(':') {
        "/proc/sys/net/ipv6/conf/all/forwarding"
    } else {
        "/proc/sys/net/ipv4/ip_forward"
    }
}

fn read_switch(path: &str) -> Result<String, Error> {
    let text = std::fs::read_to_string(path).context(|| format!("could not read '{path}'"))?;
    Ok(text.trim().to_owned())
}

fn write_switch(path: &str, value: &str) -> Result<(), Error> {
    std::fs::write(path, value).context(|| format!("could not write '{value}' to '{path}'"))
}

/// Program, table and chain, then the match and target.
fn rules(masquerade: &Masquerade) -> [Vec<String>; 3] {
    let Masquerade { bridge, subnet } = masquerade;
    let program = if subnet.contains(':') {
        "ip6tables"
    } else {
        "iptables"
    };
    let rule = |text: &str| {
        std::iter::once(program)
            .chain(text.split(' '))
            .map(str::to_owned)
            .collect()
    };
    [
        rule(&format!(
            "nat POSTROUTING -s {subnet} ! -o {bridge} -j MASQUERADE"
        )),
        rule(&format!("filter FORWARD -i {bridge} -j ACCEPT")),
        rule(&format!("filter FORWARD -o {bridge} -j ACCEPT")),
    ]
}

/// False: the rule is not there.
fn iptables(rule: &[String], action: &str) -> Result<bool, Error> {
    let [program, table, chain, rest @ ..] = rule else {
        return Ok(false);
    };
    let run = Command::new(program)
        .args(["-w", "10", "-t", table, action, chain])
        .args(rest)
        .run();
    match run {
        Ok(_) => Ok(true),
        Err(command::Error::Failed { .. }) if action == "-C" => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(name: &str, address: &str) -> Link {
        let subnet: Subnet = address.parse().unwrap();
        Link {
            ifname: name.into(),
            addr_info: vec![Address {
                local: Some(subnet.ip()),
                prefixlen: Some(subnet.prefix()),
            }],
        }
    }

    #[test]
    fn a_network_that_is_reached_another_way_is_refused() {
        let links = [link("eth0", "192.168.1.7/24"), link("b0", "10.244.0.1/24")];
        let check = |gateway: &str| refuse_overlap(&links, "b0", gateway.parse().unwrap());
        assert!(check("192.168.1.1/24").is_err());
        assert!(check("192.168.0.1/16").is_err());
        assert!(check("10.244.0.1/24").is_ok());
        assert!(check("10.245.0.1/24").is_ok());
    }

    #[test]
    fn output_of_ip_is_understood() {
        let text = r#"[{}, {"ifname":"lo","addr_info":[{"family":"inet","local":"127.0.0.1","prefixlen":8}]}]"#;
        let links: Vec<Link> = serde_json::from_str(text).unwrap();
        assert_eq!(
            links[1].subnets().next().unwrap().to_string(),
            "127.0.0.1/8"
        );
    }
}
