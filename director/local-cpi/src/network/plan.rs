//! From the `networks` argument of `create_vm` to interfaces. No I/O.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bosh_cpi::Object;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Subnet;
use crate::Error;
use crate::config::NetworkOptions;

/// One network interface of a VM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Interface {
    /// Name of the network in the deployment.
    pub(crate) network: String,
    /// Name inside the VM: `eth0` and so on.
    pub(crate) device: String,
    /// Address and prefix.
    pub(crate) address: Subnet,
    /// Hardware address.
    pub(crate) mac: String,
    /// Next hop of this network, if it has one.
    pub(crate) gateway: Option<IpAddr>,
    /// Whether the default route goes here.
    pub(crate) default_route: bool,
}

/// What a VM's networks come to.
#[derive(Debug, PartialEq)]
pub(crate) struct Plan {
    /// In the order of the argument.
    pub(crate) interfaces: Vec<Interface>,
    /// Name servers for resolv.conf.
    pub(crate) name_servers: Vec<IpAddr>,
    /// The `networks` of the agent's settings: the argument, completed.
    pub(crate) settings: Object,
}

/// Plans the interfaces. `taken` are the addresses that other VMs have, for dynamic networks.
pub(crate) fn plan(
    networks: &Object,
    options: &NetworkOptions,
    taken: &BTreeSet<IpAddr>,
) -> Result<Plan, Error> {
    let mut interfaces: Vec<Interface> = Vec::new();
    let mut name_servers = Vec::new();
    let mut settings = Object::new();
    let mut taken = taken.clone();
    for (name, spec) in networks {
        let network = Network::new(name, spec)?;
        let mut completed = network.spec.clone();
        match network.text("type")?.unwrap_or("manual") {
            // A virtual address is somebody else's to route; the VM does not carry it.
            "vip" => {}
            "manual" | "" => {
                let interface = network.manual(interfaces.len())?;
                complete(&mut completed, &interface);
                interfaces.push(interface);
            }
            "dynamic" => {
                let interface = network.dynamic(interfaces.len(), options, &taken)?;
                complete(&mut completed, &interface);
                interfaces.push(interface);
            }
            other => {
                return Err(network.refuse(
                    "type",
                    format!("expected manual, dynamic or vip, got '{other}'"),
                ));
            }
        }
        taken.extend(interfaces.last().map(|interface| interface.address.ip()));
        for server in network.name_servers()? {
            if !name_servers.contains(&server) {
                name_servers.push(server);
            }
        }
        settings.insert(name.clone(), Value::Object(completed));
    }
    if interfaces.is_empty() {
        return Err(Error::Argument {
            what: "networks".into(),
            reason: "expected at least one manual or dynamic network".into(),
        });
    }
    if !interfaces.iter().any(|interface| interface.default_route)
        && let [only] = interfaces.as_mut_slice()
    {
        only.default_route = true;
    }
    Ok(Plan {
        interfaces,
        name_servers,
        settings,
    })
}

/// What the agent needs to see that the director does not know.
fn complete(spec: &mut Object, interface: &Interface) {
    spec.insert("ip".into(), json!(interface.address.ip()));
    if !spec.contains_key("netmask") {
        spec.insert("netmask".into(), json!(netmask(interface.address)));
    }
    if let Some(gateway) = interface.gateway {
        spec.insert("gateway".into(), json!(gateway));
    }
    spec.insert("mac".into(), json!(interface.mac));
    spec.insert("preconfigured".into(), json!(true));
}

fn netmask(subnet: Subnet) -> IpAddr {
    let ones: IpAddr = match subnet.ip() {
        IpAddr::V4(_) => std::net::Ipv4Addr::BROADCAST.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::from(u128::MAX).into(),
    };
    Subnet::new(ones, subnet.prefix()).map_or(ones, |all| all.network().ip())
}

struct Network<'a> {
    name: &'a str,
    spec: &'a Object,
}

impl<'a> Network<'a> {
    fn new(name: &'a str, spec: &'a Value) -> Result<Self, Error> {
        let spec = spec.as_object().ok_or_else(|| Error::Argument {
            what: format!("networks.{name}"),
            reason: format!("expected an object, got {spec}"),
        })?;
        Ok(Self { name, spec })
    }

    fn refuse(&self, key: &str, reason: String) -> Error {
        Error::Argument {
            what: format!("networks.{}.{key}", self.name),
            reason,
        }
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>, Error> {
        match self.spec.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.refuse(key, format!("expected a string, got {other}"))),
        }
    }

    fn address(&self, key: &str) -> Result<Option<IpAddr>, Error> {
        match self.text(key)? {
            None | Some("") => Ok(None),
            Some(text) => text
                .parse()
                .map(Some)
                .map_err(|_| self.refuse(key, format!("expected an IP address, got '{text}'"))),
        }
    }

    fn list(&self, key: &str) -> Result<&'a [Value], Error> {
        match self.spec.get(key) {
            None | Some(Value::Null) => Ok(&[]),
            Some(Value::Array(items)) => Ok(items),
            Some(other) => Err(self.refuse(key, format!("expected a list, got {other}"))),
        }
    }

    fn name_servers(&self) -> Result<Vec<IpAddr>, Error> {
        self.list("dns")?
            .iter()
            .map(|item| {
                item.as_str()
                    .and_then(|text| text.parse().ok())
                    .ok_or_else(|| self.refuse("dns", format!("expected IP addresses, got {item}")))
            })
            .collect()
    }

    fn default_route(&self) -> Result<bool, Error> {
        Ok(self.list("default")?.iter().any(|item| item == "gateway"))
    }

    fn interface(
        &self,
        index: usize,
        address: Subnet,
        gateway: Option<IpAddr>,
    ) -> Result<Interface, Error> {
        Ok(Interface {
            network: self.name.to_owned(),
            device: format!("eth{index}"),
            mac: address.mac(),
            address,
            gateway,
            default_route: self.default_route()?,
        })
    }

    fn manual(&self, index: usize) -> Result<Interface, Error> {
        let ip = self
            .address("ip")?
            .ok_or_else(|| self.refuse("ip", "expected an IP address, got nothing".into()))?;
        let mask = self
            .address("netmask")?
            .ok_or_else(|| self.refuse("netmask", "expected a netmask, got nothing".into()))?;
        let address = Subnet::with_mask(ip, mask).ok_or_else(|| {
            self.refuse(
                "netmask",
                format!("expected a netmask for {ip}, got '{mask}'"),
            )
        })?;
        let gateway = self.address("gateway")?;
        if let Some(gateway) = gateway {
            if !address.contains(gateway) {
                return Err(self.refuse(
                    "gateway",
                    format!(
                        "expected an address inside {}, got '{gateway}'",
                        address.network()
                    ),
                ));
            }
            if gateway == ip {
                return Err(self.refuse(
                    "ip",
                    format!("expected another address than the gateway's, got '{ip}'"),
                ));
            }
        }
        self.interface(index, address, gateway)
    }

    fn dynamic(
        &self,
        index: usize,
        options: &NetworkOptions,
        taken: &BTreeSet<IpAddr>,
    ) -> Result<Interface, Error> {
        let (first, last) = options.dynamic_range.ok_or_else(|| {
            self.refuse(
                "type",
                "dynamic networks need 'network.dynamic_range' in the CPI's config".into(),
            )
        })?;
        let gateway = options.gateway;
        let free = addresses(first, last)
            .find(|ip| *ip != gateway.ip() && !taken.contains(ip))
            .ok_or_else(|| {
                self.refuse("type", format!("no free address left in {first}-{last}"))
            })?;
        let address = Subnet::new(free, gateway.prefix())
            .ok_or_else(|| self.refuse("type", format!("{free} does not fit {gateway}")))?;
        self.interface(index, address, Some(gateway.ip()))
    }
}

fn addresses(first: IpAddr, last: IpAddr) -> Box<dyn Iterator<Item = IpAddr>> {
    match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            Box::new((u32::from(first)..=u32::from(last)).map(|bits| IpAddr::V4(bits.into())))
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            Box::new((u128::from(first)..=u128::from(last)).map(|bits| IpAddr::V6(bits.into())))
        }
        _ => Box::new(std::iter::empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> NetworkOptions {
        NetworkOptions {
            bridge: "b0".into(),
            gateway: "10.244.0.1/24".parse().unwrap(),
            nat: false,
            mtu: 1500,
            dynamic_range: Some((
                "10.244.0.200".parse().unwrap(),
                "10.244.0.201".parse().unwrap(),
            )),
        }
    }

    fn planned(networks: Value) -> Result<Plan, Error> {
        plan(networks.as_object().unwrap(), &options(), &BTreeSet::new())
    }

    #[test]
    fn a_manual_network_becomes_an_interface_and_settings() {
        let plan = planned(json!({"default": {
            "type": "manual", "ip": "10.244.0.5", "netmask": "255.255.255.0", "gateway": "10.244.0.1",
            "dns": ["10.244.0.1", "8.8.8.8"], "default": ["dns", "gateway"], "cloud_properties": {"a": 1}
        }}))
        .unwrap();
        assert_eq!(
            plan.interfaces,
            [Interface {
                network: "default".into(),
                device: "eth0".into(),
                address: "10.244.0.5/24".parse().unwrap(),
                mac: "02:b0:0a:f4:00:05".into(),
                gateway: Some("10.244.0.1".parse().unwrap()),
                default_route: true,
            }]
        );
        assert_eq!(plan.name_servers.len(), 2);
        assert_eq!(plan.settings["default"]["preconfigured"], true);
        assert_eq!(plan.settings["default"]["mac"], "02:b0:0a:f4:00:05");
        assert_eq!(plan.settings["default"]["cloud_properties"]["a"], 1);
    }

    #[test]
    fn the_default_route_goes_where_it_is_asked_for() {
        let plan = planned(json!({
            "a": {"ip": "10.244.0.5", "netmask": "255.255.255.0", "gateway": "10.244.0.1", "default": ["dns"]},
            "b": {"ip": "10.245.0.5", "netmask": "255.255.255.0", "gateway": "10.245.0.1", "default": ["gateway"]},
            "c": {"type": "vip", "ip": "1.2.3.4"},
        }))
        .unwrap();
        let routes: Vec<_> = plan
            .interfaces
            .iter()
            .map(|i| (i.device.as_str(), i.default_route))
            .collect();
        assert_eq!(routes, [("eth0", false), ("eth1", true)]);
        assert_eq!(plan.settings["c"], json!({"type": "vip", "ip": "1.2.3.4"}));
    }

    #[test]
    fn the_only_network_is_the_default_one() {
        let plan = planned(
            json!({"a": {"ip": "10.244.0.5", "netmask": "255.255.255.0", "gateway": "10.244.0.1"}}),
        )
        .unwrap();
        assert!(plan.interfaces[0].default_route);
    }

    #[test]
    fn dynamic_addresses_come_from_the_range_until_it_is_empty() {
        let two = json!({"a": {"type": "dynamic"}, "b": {"type": "dynamic"}});
        let plan = planned(two).unwrap();
        let ips: Vec<_> = plan
            .interfaces
            .iter()
            .map(|i| i.address.to_string())
            .collect();
        assert_eq!(ips, ["10.244.0.200/24", "10.244.0.201/24"]);
        assert_eq!(plan.settings["a"]["netmask"], "255.255.255.0");
        assert_eq!(plan.settings["a"]["gateway"], "10.244.0.1");
        let three =
            json!({"a": {"type": "dynamic"}, "b": {"type": "dynamic"}, "c": {"type": "dynamic"}});
        let error = planned(three).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("networks.c.type: no free address"),
            "{error}"
        );
    }

    #[test]
    fn bad_networks_name_the_key() {
        let cases = [
            (json!({}), "networks"),
            (json!({"a": 1}), "networks.a"),
            (json!({"a": {"type": "vip", "ip": "1.2.3.4"}}), "networks"),
            (json!({"a": {"type": "wifi"}}), "networks.a.type"),
            (json!({"a": {"netmask": "255.0.0.0"}}), "networks.a.ip"),
            (
                json!({"a": {"ip": "x", "netmask": "255.0.0.0"}}),
                "networks.a.ip",
            ),
            (json!({"a": {"ip": "10.0.0.1"}}), "networks.a.netmask"),
            (
                json!({"a": {"ip": "10.0.0.1", "netmask": "255.0.255.0"}}),
                "networks.a.netmask",
            ),
            (
                json!({"a": {"ip": "10.0.0.2", "netmask": "255.255.255.0", "gateway": "10.0.1.1"}}),
                "networks.a.gateway",
            ),
            (
                json!({"a": {"ip": "10.0.0.2", "netmask": "255.255.255.0", "gateway": "10.0.0.2"}}),
                "networks.a.ip",
            ),
            (
                json!({"a": {"ip": "10.0.0.2", "netmask": "255.255.255.0", "dns": ["x"]}}),
                "networks.a.dns",
            ),
            (
                json!({"a": {"ip": "10.0.0.2", "netmask": "255.255.255.0", "dns": "x"}}),
                "networks.a.dns",
            ),
        ];
        for (networks, key) in cases {
            match planned(networks.clone()) {
                Err(Error::Argument { what, .. }) => assert_eq!(what, key, "{networks}"),
                other => panic!("{networks}: {other:?}"),
            }
        }
    }
}
