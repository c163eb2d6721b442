//! Networks of a cloud config.
//!
//! Upstream: deployment_plan/{manual,dynamic,vip}_network.rb and their subnets, network_parser/.

use std::sync::Arc;

use serde_json::Value;

use super::error::{Error, Kind};
use super::input::{ManagedNetworks, Settings};
use super::ip::{Block, parse_range};
use super::raw::{Section, canonical};
use super::resolved::{Az, Network, NetworkKind, Subnet};

impl Network {
    /// Whether it can serve all of `azs`; `None` stands for no zone.
    pub fn serves<'a>(&self, azs: impl IntoIterator<Item = Option<&'a str>>) -> bool {
        if self.kind == NetworkKind::Vip {
            return true;
        }
        azs.into_iter().all(|az| match az {
            Some(az) => self
                .subnets
                .iter()
                .any(|subnet| subnet.azs.iter().any(|name| name == az)),
            None => self.subnets.iter().any(|subnet| subnet.azs.is_empty()),
        })
    }

    /// The subnet whose range holds `block`.
    pub fn subnet_of(&self, block: &Block) -> Option<&Subnet> {
        self.subnets
            .iter()
            .find(|subnet| subnet.range.is_some_and(|range| range.includes(block)))
    }

    /// Whether `block` is one that has to be asked for.
    pub fn is_static(&self, block: &Block) -> bool {
        match self.kind {
            NetworkKind::Vip => self.subnets.is_empty(),
            _ => self.subnets.iter().any(|subnet| subnet.is_static(block)),
        }
    }

    /// Whether the director picks addresses of a vip network itself.
    pub fn allocates_vips(&self) -> bool {
        self.kind == NetworkKind::Vip && !self.subnets.is_empty()
    }
}

impl Subnet {
    /// Whether `block` is one of `static`.
    pub fn is_static(&self, block: &Block) -> bool {
        self.statics.iter().any(|listed| listed.includes(block))
    }

    /// Whether `block` may never be handed out.
    pub fn is_restricted(&self, block: &Block) -> bool {
        self.restricted.iter().any(|listed| listed.includes(block))
    }

    /// Whether an instance may have `block`. Upstream: `is_reservable?`.
    pub fn is_reservable(&self, block: &Block) -> bool {
        match self.range {
            Some(range) => !self.is_restricted(block) && range.includes(block),
            None => self.is_static(block),
        }
    }
}

/// Reads a network.
pub fn read(spec: &Value, azs: &[Arc<Az>], settings: &Settings) -> Result<Network, Error> {
    let section = Section::of(spec)?;
    match section
        .optional_string("type")?
        .as_deref()
        .unwrap_or("manual")
    {
        "manual" => manual(section, azs, settings),
        "dynamic" => dynamic(section, azs),
        "vip" => vip(section, azs),
        other => Err(Error::new(
            Kind::DeploymentInvalidNetworkType,
            format!("Invalid network type '{other}'"),
        )),
    }
}

fn manual(section: Section<'_>, azs: &[Arc<Az>], settings: &Settings) -> Result<Network, Error> {
    let name = section.string("name")?;
    canonical(&name)?;
    let managed = settings
        .managed_networks
        .as_ref()
        .filter(|_| section.get("managed") == Some(&Value::Bool(true)));
    let mut subnets: Vec<Subnet> = Vec::new();
    for spec in section.array("subnets")? {
        let spec = Section::of(spec)?;
        let subnet = match managed {
            Some(made) => managed_subnet(&name, spec, azs, settings, made)?,
            None => manual_subnet(&name, spec, azs, settings)?,
        };
        for other in &subnets {
            if let (Some(a), Some(b)) = (other.range, subnet.range)
                && a.overlaps(&b)
            {
                return Err(Error::new(
                    Kind::NetworkOverlappingSubnets,
                    format!("Network '{name}' has overlapping subnets"),
                ));
            }
            if other.prefix != subnet.prefix {
                return Err(Error::new(
                    Kind::NetworkPrefixSizesDiffer,
                    format!("Network '{name}' has subnets that define different prefixes"),
                ));
            }
        }
        subnets.push(subnet);
    }
    let without = subnets
        .iter()
        .filter(|subnet| subnet.azs.is_empty())
        .count();
    if without > 0 && without < subnets.len() {
        return Err(Error::new(
            Kind::JobInvalidAvailabilityZone,
            format!("Subnets on network '{name}' must all either specify availability zone or not"),
        ));
    }
    Ok(Network {
        name,
        kind: NetworkKind::Manual,
        prefix: subnets.first().map_or(32, |subnet| subnet.prefix),
        subnets,
        cloud_properties: section
            .hash_or_empty("cloud_properties")
            .unwrap_or_default(),
        managed: managed.is_some(),
    })
}

fn address(text: &str) -> Result<Block, Error> {
    Block::parse(text).map_err(|message| Error::new(Kind::Director, message))
}

/// Every block that `value` (a string, or a list of them, lists inside lists) lists.
fn blocks(value: &Value) -> Result<Vec<Block>, Error> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(items) => {
            let mut all = Vec::new();
            for item in items {
                all.extend(blocks(item)?);
            }
            Ok(all)
        }
        Value::String(text) => parse_range(text)
            .map_err(|message| Error::new(Kind::NetworkInvalidIpRangeFormat, message)),
        other => Err(Error::new(
            Kind::NetworkInvalidIpRangeFormat,
            format!("Invalid IP or CIDR format: {other}"),
        )),
    }
}

/// A subnet that a CPI makes: what was made goes before what the cloud config says, and until then it may have no
/// range.
fn managed_subnet(
    network: &str,
    section: Section<'_>,
    azs: &[Arc<Az>],
    settings: &Settings,
    made: &ManagedNetworks,
) -> Result<Subnet, Error> {
    let name = section.string("name")?;
    let made = made.get(network).and_then(|subnets| subnets.get(&name));
    let mut spec = section.to_map();
    if let Some(made) = made {
        for (key, value) in [("range", &made.range), ("gateway", &made.gateway)] {
            if let Some(value) = value {
                spec.insert(key.into(), Value::String(value.clone()));
            }
        }
        let reserved = vec![section.value("reserved").clone(), made.reserved.clone()];
        spec.insert("reserved".into(), Value::Array(reserved));
        let properties = made.cloud_properties.clone();
        spec.insert("cloud_properties".into(), Value::Object(properties));
    }
    let spec = Value::Object(spec);
    let section = Section::of(&spec)?;
    if section.has("range") {
        let settings = Settings {
            ignore_missing_gateway: true,
            ..settings.clone()
        };
        return manual_subnet(network, section, azs, &settings);
    }
    Ok(Subnet {
        name: Some(name),
        dns: name_servers(network, section)?,
        azs: zones(section, network, azs)?,
        cloud_properties: section.hash_or_empty("cloud_properties")?,
        netmask_bits: netmask_bits(section)?,
        prefix: prefix(section)?.unwrap_or(32),
        ..Subnet::default()
    })
}

fn netmask_bits(section: Section<'_>) -> Result<Option<u8>, Error> {
    let bits = section.optional_integer("netmask_bits")?;
    Ok(bits.and_then(|bits| u8::try_from(bits).ok()))
}

fn manual_subnet(
    network: &str,
    section: Section<'_>,
    azs: &[Arc<Az>],
    settings: &Settings,
) -> Result<Subnet, Error> {
    let name = section.optional_string("name")?;
    let range_text = section.string("range")?;
    let gateway_text = if settings.ignore_missing_gateway {
        section.optional_string("gateway")?
    } else {
        Some(section.string("gateway")?)
    };
    let range = address(&range_text)?;
    if range.count() <= 1 {
        return Err(Error::new(
            Kind::NetworkInvalidRange,
            format!("Invalid network range '{range_text}', should include at least 2 IPs"),
        ));
    }
    let gateway = gateway_text
        .map(|text| gateway(network, &text, &range))
        .transpose()?;
    let mut restricted: Vec<Block> = gateway.into_iter().collect();
    restricted.push(range.first_single());
    restricted.push(range.last_single());
    for block in blocks(section.value("reserved"))? {
        if !range.includes(&block) {
            return Err(Error::new(
                Kind::NetworkReservedIpOutOfRange,
                format!("Reserved IP '{block}' is out of network '{network}' range"),
            ));
        }
        restricted.push(block);
    }
    for text in &settings.director_ips {
        let all = parse_range(text)
            .map_err(|message| Error::new(Kind::NetworkInvalidIpRangeFormat, message))?;
        restricted.extend(
            all.into_iter()
                .filter(|block| block.is_v6() == range.is_v6()),
        );
    }
    restricted.sort_unstable();
    restricted.dedup();
    let statics = blocks(section.value("static"))?;
    for block in &statics {
        if restricted.iter().any(|reserved| reserved.includes(block)) {
            return Err(Error::new(
                Kind::NetworkStaticIpOutOfRange,
                format!("Static IP '{block}' is in network '{network}' reserved range"),
            ));
        }
        if !range.includes(block) {
            return Err(Error::new(
                Kind::NetworkStaticIpOutOfRange,
                format!("Static IP '{block}' is out of network '{network}' range"),
            ));
        }
    }
    let bits = if range.is_v6() { 128 } else { 32 };
    let prefix = match prefix(section)? {
        None => bits,
        Some(prefix) if range.prefix() > prefix => {
            return Err(Error::new(
                Kind::NetworkPrefixSizeTooBig,
                format!(
                    "Prefix size '{prefix}' is larger than range prefix '{}'",
                    range.prefix()
                ),
            ));
        }
        Some(prefix) => prefix.min(bits),
    };
    Ok(Subnet {
        name,
        range: Some(range),
        gateway,
        dns: name_servers(network, section)?,
        azs: zones(section, network, azs)?,
        restricted,
        statics,
        cloud_properties: section.hash_or_empty("cloud_properties")?,
        netmask_bits: netmask_bits(section)?,
        prefix,
    })
}

fn gateway(network: &str, text: &str, range: &Block) -> Result<Block, Error> {
    let gateway = address(text)?;
    let reason = if !gateway.is_single() {
        "must be a single IP"
    } else if !range.includes(&gateway) {
        "must be inside the range"
    } else if gateway == range.first_single() {
        "can't be the network id"
    } else if gateway == range.last_single() {
        "can't be the broadcast IP"
    } else {
        return Ok(gateway);
    };
    Err(Error::new(
        Kind::NetworkInvalidGateway,
        format!("Invalid gateway for network '{network}': {reason}"),
    ))
}

fn prefix(section: Section<'_>) -> Result<Option<u8>, Error> {
    match section.get("prefix") {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let number = value
                .as_u64()
                .or_else(|| value.as_str().and_then(|text| text.parse().ok()));
            let prefix = number
                .and_then(|number| u8::try_from(number).ok())
                .filter(|prefix| *prefix <= 128);
            prefix.map(Some).ok_or_else(|| {
                Error::new(
                    Kind::ValidationInvalidType,
                    format!("Property 'prefix' value ({value}) did not match the required type 'Integer'"),
                )
            })
        }
    }
}

fn name_servers(network: &str, section: Section<'_>) -> Result<Option<Vec<String>>, Error> {
    let Some(specs) = section.optional_array("dns")? else {
        return Ok(None);
    };
    let read = |value: &Value| {
        let server = address(value.as_str().unwrap_or_default())?;
        if server.is_single() {
            Ok(server.address().to_string())
        } else {
            Err(Error::new(
                Kind::NetworkInvalidDns,
                format!("Invalid DNS for network '{network}': must be a single IP"),
            ))
        }
    };
    specs.iter().map(read).collect::<Result<_, _>>().map(Some)
}

fn zones(section: Section<'_>, network: &str, azs: &[Arc<Az>]) -> Result<Vec<String>, Error> {
    if section.has("azs") && section.has("az") {
        return Err(Error::new(
            Kind::NetworkInvalidProperty,
            format!("Network '{network}' contains both 'az' and 'azs'. Choose one."),
        ));
    }
    let names: Vec<String> = if section.has("azs") {
        let names = section.array("azs")?;
        if names.is_empty() {
            return Err(Error::new(
                Kind::NetworkInvalidProperty,
                format!("Network '{network}' refers to an empty 'azs' array"),
            ));
        }
        names
            .iter()
            .filter(|name| !name.is_null())
            .map(|name| {
                name.as_str()
                    .map_or_else(|| name.to_string(), str::to_owned)
            })
            .collect()
    } else {
        section.optional_string("az")?.into_iter().collect()
    };
    for name in &names {
        if !azs.iter().any(|az| az.name == *name) {
            return Err(Error::new(
                Kind::NetworkSubnetUnknownAvailabilityZone,
                format!("Network '{network}' refers to an unknown availability zone '{name}'"),
            ));
        }
    }
    Ok(names)
}

fn dynamic(section: Section<'_>, azs: &[Arc<Az>]) -> Result<Network, Error> {
    let name = section.string("name")?;
    canonical(&name)?;
    for key in ["az", "azs", "managed", "prefix"] {
        if section.has(key) {
            return Err(Error::new(
                Kind::NetworkInvalidProperty,
                format!("Network '{name}' must not specify '{key}'."),
            ));
        }
    }
    let mut subnets = Vec::new();
    if section.has("subnets") {
        for key in ["dns", "cloud_properties"] {
            if section.has(key) {
                return Err(Error::new(
                    Kind::NetworkInvalidProperty,
                    format!(
                        "Network '{name}' must not specify '{key}' when also specifying 'subnets'. Instead, '{key}' should be \
                         specified on subnet entries."
                    ),
                ));
            }
        }
        for spec in section.array("subnets")? {
            let subnet = Section::of(spec)?;
            if subnet.optional_integer("prefix")?.unwrap_or(32) != 32 {
                return Err(Error::new(
                    Kind::NetworkInvalidProperty,
                    "Prefix property is not supported for dynamic networks.",
                ));
            }
            subnets.push(Subnet {
                name: subnet.optional_string("name")?,
                dns: name_servers(&subnet.optional_string("name")?.unwrap_or_default(), subnet)?,
                cloud_properties: subnet.hash_or_empty("cloud_properties")?,
                azs: zones(subnet, &name, azs)?,
                prefix: 32,
                ..Subnet::default()
            });
        }
    } else {
        subnets.push(Subnet {
            dns: name_servers(&name, section)?,
            cloud_properties: section.hash_or_empty("cloud_properties")?,
            prefix: 32,
            ..Subnet::default()
        });
    }
    Ok(Network {
        name,
        kind: NetworkKind::Dynamic,
        prefix: 32,
        subnets,
        cloud_properties: serde_json::Map::new(),
        managed: false,
    })
}

fn vip(section: Section<'_>, azs: &[Arc<Az>]) -> Result<Network, Error> {
    let name = section.string("name")?;
    canonical(&name)?;
    let mut subnets = Vec::new();
    for spec in section.array_or_empty("subnets")? {
        let subnet = Section::of(spec)?;
        subnet.optional_array("static")?;
        subnets.push(Subnet {
            statics: blocks(subnet.value("static"))?,
            azs: zones(subnet, &name, azs)?,
            prefix: prefix(subnet)?.unwrap_or(32),
            ..Subnet::default()
        });
    }
    Ok(Network {
        name,
        kind: NetworkKind::Vip,
        prefix: subnets.first().map_or(32, |subnet| subnet.prefix),
        subnets,
        cloud_properties: section.hash_or_empty("cloud_properties")?,
        managed: false,
    })
}
