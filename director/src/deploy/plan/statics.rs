//! Matching instances with static addresses.
//!
//! An existing instance that has one of the listed addresses keeps it, and its zone; the other addresses are
//! spread evenly over the zones they can be in, the same way in every network.
//!
//! Upstream: placement_planner/{static_ips_availability_zone_picker,networks_to_static_ips,bruteforce_ip_allocation}.rb.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::current::Instance;
use super::zones::{Slot, check_ignored_networks};
use crate::manifest::ip::Block;
use crate::manifest::resolved::{Az, GroupNetwork, NetworkKind};
use crate::manifest::{Error, InstanceGroup, Kind};

/// A slot with the static addresses chosen for it, by position among the group's networks.
#[derive(Debug, Clone)]
pub(super) struct StaticSlot {
    /// Zone and present self.
    pub(super) slot: Slot,
    /// Position of a network -> address.
    pub(super) ips: BTreeMap<usize, Block>,
}

/// Where instances with static addresses go.
#[derive(Debug, Clone, Default)]
pub(super) struct StaticMatched {
    /// Instances that should be, existing ones first.
    pub(super) slots: Vec<StaticSlot>,
    /// Instances that should not be.
    pub(super) obsolete: Vec<usize>,
}

#[derive(Debug, Clone)]
struct StaticIp {
    block: Block,
    azs: Vec<Option<String>>,
    claimed: bool,
    subnet: usize,
}

struct Pool<'a> {
    group: &'a InstanceGroup,
    /// Position of a network -> its addresses.
    ips: BTreeMap<usize, Vec<StaticIp>>,
}

/// Combinations looked at before giving up.
const MOST_STEPS: usize = 200_000;

/// Addresses in several networks that are looked at together, at most.
const MOST_SEARCHED: usize = 4096;

/// Whether a network of the group lists static addresses and places instances by them.
pub(super) fn is_static(network: &GroupNetwork) -> bool {
    network.network.kind != NetworkKind::Vip
        && network
            .static_ips
            .as_ref()
            .is_some_and(|ips| !ips.is_empty())
}

/// Places the instances of a group with static addresses. `existing` is sorted by index.
pub(super) fn place(
    group: &InstanceGroup,
    existing: &[(usize, &Instance)],
) -> Result<StaticMatched, Error> {
    let mut pool = Pool::new(group)?;
    pool.check_zones()?;
    check_ignored_networks(group, existing)?;
    check_ignored_ips(group, existing)?;
    let mut left = usize::try_from(group.instances).unwrap_or(usize::MAX);
    let mut slots: Vec<StaticSlot> = Vec::new();
    let mut obsolete = Vec::new();
    let mut seen = Vec::new();
    for (index, instance) in existing {
        if pool.match_by_address(*index, instance, &mut left, &mut slots, &mut obsolete)? {
            seen.push(*index);
        }
    }
    for (index, instance) in existing {
        if seen.contains(index) {
            continue;
        }
        let fits = left > 0
            && pool
                .networks()
                .all(|network| pool.find(network, &instance.az).is_some());
        if !fits {
            obsolete.push(*index);
            continue;
        }
        left -= 1;
        slots.push(StaticSlot {
            slot: Slot {
                az: pool.az(&instance.az),
                existing: Some(*index),
            },
            ips: BTreeMap::new(),
        });
        let last = slots.len() - 1;
        for network in pool.networks().collect::<Vec<_>>() {
            pool.assign(last, network, &mut slots, true)?;
        }
    }
    for slot in 0..slots.len() {
        for network in pool.networks().collect::<Vec<_>>() {
            if !slots[slot].ips.contains_key(&network) {
                pool.assign(slot, network, &mut slots, true)?;
            }
        }
    }
    pool.distribute()?;
    for _ in 0..left {
        slots.push(StaticSlot {
            slot: Slot {
                az: None,
                existing: None,
            },
            ips: BTreeMap::new(),
        });
        let last = slots.len() - 1;
        for (at, network) in pool.networks().collect::<Vec<_>>().into_iter().enumerate() {
            pool.assign(last, network, &mut slots, at > 0)?;
        }
    }
    if existing
        .iter()
        .any(|(index, instance)| instance.ignore && obsolete.contains(index))
    {
        return Err(removed_ignored(&group.name));
    }
    Ok(StaticMatched { slots, obsolete })
}

fn removed_ignored(group: &str) -> Error {
    Error::new(
        Kind::DeploymentIgnoredInstancesModification,
        format!(
            "In instance group '{group}', an attempt was made to remove a static ip that is used by an ignored instance. \
             This operation is not allowed."
        ),
    )
}

fn check_ignored_ips(group: &InstanceGroup, existing: &[(usize, &Instance)]) -> Result<(), Error> {
    for (_, instance) in existing.iter().filter(|(_, instance)| instance.ignore) {
        for ip in &instance.ips {
            let network = group
                .networks
                .iter()
                .find(|network| network.network.name == ip.network);
            let listed = network
                .and_then(|network| network.static_ips.as_ref())
                .is_some_and(|ips| ips.contains(&ip.block));
            if network.is_some_and(is_static) && !listed {
                return Err(removed_ignored(&group.name));
            }
        }
    }
    Ok(())
}

impl<'a> Pool<'a> {
    fn new(group: &'a InstanceGroup) -> Result<Self, Error> {
        let wanted: Vec<Option<&str>> = if group.azs.is_empty() {
            vec![None]
        } else {
            group.azs.iter().map(|az| Some(az.name.as_str())).collect()
        };
        let mut ips: BTreeMap<usize, Vec<StaticIp>> = BTreeMap::new();
        for (position, network) in group
            .networks
            .iter()
            .enumerate()
            .filter(|(_, network)| is_static(network))
        {
            for block in network.static_ips.iter().flatten() {
                let subnets = &network.network.subnets;
                let subnet = subnets.iter().position(|subnet| subnet.is_static(block)).ok_or_else(|| {
                    Error::new(
                        Kind::InstanceGroupNetworkInstanceIpMismatch,
                        format!(
                            "Instance group '{}' with network '{}' declares static ip '{block}', which belongs to no subnet",
                            group.name, network.network.name
                        ),
                    )
                })?;
                let zones: Vec<Option<&str>> = if subnets[subnet].azs.is_empty() {
                    vec![None]
                } else {
                    subnets[subnet]
                        .azs
                        .iter()
                        .map(|az| Some(az.as_str()))
                        .collect()
                };
                let mut azs: Vec<Option<String>> = Vec::new();
                for zone in zones.into_iter().filter(|zone| wanted.contains(zone)) {
                    let zone = zone.map(str::to_owned);
                    if !azs.contains(&zone) {
                        azs.push(zone);
                    }
                }
                ips.entry(position).or_default().push(StaticIp {
                    block: *block,
                    azs,
                    claimed: false,
                    subnet,
                });
            }
        }
        Ok(Self { group, ips })
    }

    fn networks(&self) -> impl Iterator<Item = usize> + use<> {
        self.ips.keys().copied().collect::<Vec<_>>().into_iter()
    }

    fn az(&self, name: &Option<String>) -> Option<Arc<Az>> {
        self.group
            .azs
            .iter()
            .find(|az| Some(&az.name) == name.as_ref())
            .cloned()
    }

    fn check_zones(&self) -> Result<(), Error> {
        let group = &self.group.name;
        for ip in self.ips.values().flatten() {
            if self.group.azs.is_empty() && !ip.azs.contains(&None) {
                return Err(Error::new(
                    Kind::JobInvalidAvailabilityZone,
                    format!(
                        "Instance group '{group}' subnets declare availability zones and the instance group does not"
                    ),
                ));
            }
            if ip.azs.is_empty() {
                return Err(Error::new(
                    Kind::JobStaticIpsFromInvalidAvailabilityZone,
                    format!(
                        "Instance group '{group}' declares static ip '{}' which does not belong to any of the instance group's \
                         availability zones.",
                        ip.block
                    ),
                ));
            }
        }
        Ok(())
    }

    fn unclaimed(&self, network: usize) -> impl Iterator<Item = &StaticIp> {
        self.ips
            .get(&network)
            .into_iter()
            .flatten()
            .filter(|ip| !ip.claimed)
    }

    fn find(&self, network: usize, az: &Option<String>) -> Option<&StaticIp> {
        self.unclaimed(network).find(|ip| ip.azs.contains(az))
    }

    fn claim(&mut self, block: Block, az: &Option<String>) {
        for ip in self
            .ips
            .values_mut()
            .flatten()
            .filter(|ip| ip.block == block)
        {
            ip.claimed = true;
            ip.azs = vec![az.clone()];
        }
    }

    fn match_by_address(
        &mut self,
        index: usize,
        instance: &Instance,
        left: &mut usize,
        slots: &mut Vec<StaticSlot>,
        obsolete: &mut Vec<usize>,
    ) -> Result<bool, Error> {
        let mut slot: Option<usize> = None;
        let mut gone = false;
        for network in self.networks().collect::<Vec<_>>() {
            let listed = self.group.networks[network]
                .static_ips
                .as_deref()
                .unwrap_or_default();
            let own: Vec<Block> = instance
                .ips
                .iter()
                .map(|ip| ip.block)
                .filter(|block| listed.iter().any(|ip| ip.includes(block)))
                .collect();
            for block in own {
                if slot.is_none() && !gone {
                    if *left == 0 {
                        gone = true;
                        obsolete.push(index);
                    } else {
                        let fits = self
                            .unclaimed(network)
                            .any(|ip| ip.block == block && ip.azs.contains(&instance.az));
                        if !fits {
                            return Err(Error::new(
                                Kind::NetworkReservationError,
                                format!(
                                    "Existing instance '{}/{}' is using IP '{block}' in availability zone '{}'",
                                    instance.group,
                                    instance.index,
                                    instance.az.as_deref().unwrap_or_default()
                                ),
                            ));
                        }
                        *left -= 1;
                        slots.push(StaticSlot {
                            slot: Slot {
                                az: self.az(&instance.az),
                                existing: Some(index),
                            },
                            ips: BTreeMap::new(),
                        });
                        slot = Some(slots.len() - 1);
                    }
                }
                match slot {
                    Some(slot) => {
                        let fits = self
                            .unclaimed(network)
                            .any(|ip| ip.block == block && ip.azs.contains(&instance.az));
                        if fits {
                            slots[slot].ips.entry(network).or_insert(block);
                        }
                        self.claim(block, &instance.az);
                    }
                    None => {
                        // The address of an instance that goes is not there for the others.
                        for ips in self.ips.values_mut() {
                            ips.retain(|ip| ip.block != block);
                        }
                    }
                }
            }
        }
        Ok(slot.is_some() || gone)
    }

    /// Chooses an address in `network` for the slot, and the slot's zone if it has none and `placed` is false.
    fn assign(
        &mut self,
        slot: usize,
        network: usize,
        slots: &mut [StaticSlot],
        placed: bool,
    ) -> Result<(), Error> {
        let failed = || {
            Error::new(
                Kind::NetworkReservationError,
                "Failed to distribute static IPs to satisfy existing instance reservations",
            )
        };
        let sibling = self.sibling_subnet(&slots[slot], network);
        let here = &self.group.networks[network];
        let name = &here.network.name;
        let nic = here.nic_group.unwrap_or_default();
        let fits = |ip: &&StaticIp| match &sibling {
            None => true,
            Some(properties) => here.network.subnets[ip.subnet].cloud_properties == *properties,
        };
        let zone = slots[slot].slot.az.as_ref().map(|az| az.name.clone());
        let (block, az) = if !placed && zone.is_none() {
            let ip = self.unclaimed(network).find(fits).ok_or_else(|| match sibling {
                Some(_) => Error::new(
                    Kind::NetworkReservationError,
                    format!("Failed to find a static IP for network '{name}' on a matching subnet in nic_group '{nic}'"),
                ),
                None => failed(),
            })?;
            let used = |az: &Option<String>| {
                slots
                    .iter()
                    .filter(|slot| slot.slot.az.as_ref().map(|az| &az.name) == az.as_ref())
                    .count()
            };
            let az = ip.azs.iter().min_by_key(|az| used(az)).cloned().flatten();
            (ip.block, az)
        } else {
            let ip = self
                .unclaimed(network)
                .filter(|ip| ip.azs.contains(&zone))
                .find(fits);
            let ip = ip.ok_or_else(|| match sibling {
                Some(_) => Error::new(
                    Kind::NetworkReservationError,
                    format!(
                        "Failed to find a static IP for network '{name}' on a matching subnet in nic_group '{nic}' in \
                         availability zone '{}'",
                        zone.as_deref().unwrap_or_default()
                    ),
                ),
                None => failed(),
            })?;
            (ip.block, zone)
        };
        slots[slot].slot.az = self.az(&az);
        slots[slot].ips.insert(network, block);
        self.claim(block, &az);
        Ok(())
    }

    /// Cloud properties of the subnet that another network of the same interface has an address of.
    fn sibling_subnet(
        &self,
        slot: &StaticSlot,
        network: usize,
    ) -> Option<serde_json::Map<String, serde_json::Value>> {
        let nic_group = self.group.networks[network].nic_group?;
        slot.ips.iter().find_map(|(other, block)| {
            let sibling = &self.group.networks[*other];
            if *other == network || sibling.nic_group != Some(nic_group) {
                return None;
            }
            sibling
                .network
                .subnet_of(block)
                .map(|subnet| subnet.cloud_properties.clone())
        })
    }

    /// Decides for every address that can be in several zones on one, evenly, and alike in all networks.
    fn distribute(&mut self) -> Result<(), Error> {
        let mut flat: Vec<(usize, usize)> = Vec::new();
        for (network, ips) in &self.ips {
            flat.extend((0..ips.len()).map(|ip| (*network, ip)));
        }
        let mut chosen: Vec<Option<String>> = Vec::with_capacity(flat.len());
        let mut steps = 0;
        let found = if self.ips.len() <= 1 {
            chosen = self.spread(&flat);
            true
        } else {
            flat.len() <= MOST_SEARCHED && self.search(&flat, &mut chosen, &mut steps)
        };
        if found {
            for ((network, ip), az) in flat.iter().zip(chosen) {
                if let Some(ip) = self.ips.get_mut(network).and_then(|ips| ips.get_mut(*ip)) {
                    ip.azs = vec![az];
                }
            }
            return Ok(());
        }
        Err(Error::new(
            Kind::InstanceGroupNetworkInstanceIpMismatch,
            format!(
                "Failed to evenly distribute static IPs between zones for instance group '{}'",
                self.group.name
            ),
        ))
    }

    /// With one network there is nothing to be alike: each address goes where the fewest went so far.
    fn spread(&self, flat: &[(usize, usize)]) -> Vec<Option<String>> {
        let mut counts: BTreeMap<Option<String>, usize> = BTreeMap::new();
        let least = |ip: &StaticIp, counts: &BTreeMap<Option<String>, usize>| {
            let az = ip
                .azs
                .iter()
                .min_by_key(|az| counts.get(*az).copied().unwrap_or(0));
            az.cloned().flatten()
        };
        flat.iter()
            .map(|(network, ip)| {
                let az = least(&self.ips[network][*ip], &counts);
                *counts.entry(az.clone()).or_default() += 1;
                az
            })
            .collect()
    }

    fn search(
        &self,
        flat: &[(usize, usize)],
        chosen: &mut Vec<Option<String>>,
        steps: &mut usize,
    ) -> bool {
        *steps += 1;
        if *steps > MOST_STEPS {
            return false;
        }
        let at = chosen.len();
        let ends_network = at > 0 && (at == flat.len() || flat[at].0 != flat[at - 1].0);
        if ends_network
            && self.counts(flat, chosen, flat[at - 1].0) != self.counts(flat, chosen, flat[0].0)
        {
            return false;
        }
        if at == flat.len() {
            return true;
        }
        let (network, ip) = flat[at];
        let mut azs = self.ips[&network][ip].azs.clone();
        azs.sort_by_key(|az| chosen.iter().filter(|other| *other == az).count());
        for az in azs {
            chosen.push(az);
            if self.search(flat, chosen, steps) {
                return true;
            }
            chosen.pop();
        }
        false
    }

    fn counts<'b>(
        &self,
        flat: &[(usize, usize)],
        chosen: &'b [Option<String>],
        network: usize,
    ) -> BTreeMap<&'b Option<String>, usize> {
        let mut counts = BTreeMap::new();
        for (az, _) in chosen
            .iter()
            .zip(flat)
            .filter(|(_, (other, _))| *other == network)
        {
            *counts.entry(az).or_default() += 1;
        }
        counts
    }
}
