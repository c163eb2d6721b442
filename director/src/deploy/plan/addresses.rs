//! Addresses: which ones an instance has and may keep, which ones it still needs, and the next free one.
//!
//! Upstream: network_planner/{reservation_reconciler,vip_planner}.rb, ip_provider/, instance_network_reservations.rb.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::current::{Current, Instance, IpOwner};
use super::placement::{Reservation, ReservationStatus};
use crate::manifest::ip::Block;
use crate::manifest::resolved::{Desired, GroupNetwork, Network, NetworkKind, Subnet};
use crate::manifest::{Error, InstanceGroup, Kind};

/// An address an instance should have.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) network: Arc<Network>,
    pub(super) block: Option<Block>,
    pub(super) is_static: bool,
    pub(super) nic_group: Option<i64>,
}

impl Wanted {
    pub(super) fn dynamic(network: &GroupNetwork) -> Self {
        Self {
            network: Arc::clone(&network.network),
            block: None,
            is_static: false,
            nic_group: network.nic_group,
        }
    }

    pub(super) fn fixed(network: &GroupNetwork, block: Block) -> Self {
        Self {
            network: Arc::clone(&network.network),
            block: Some(Block::containing(block.address(), network.network.prefix)),
            is_static: true,
            nic_group: network.nic_group,
        }
    }

    fn reserve(self) -> Reservation {
        Reservation {
            network: self.network.name.clone(),
            block: self.block,
            is_static: self.is_static,
            nic_group: self.nic_group,
            status: ReservationStatus::New,
        }
    }
}

/// An address an instance has.
struct Held {
    /// Its network as the cloud config now has it; `None` when it fits no network any more.
    network: Option<Arc<Network>>,
    name: String,
    block: Option<Block>,
    /// `None` when the network no longer hands it out.
    is_static: Option<bool>,
    nic_group: Option<i64>,
}

/// The addresses an instance has, those of the VM made last.
fn held(instance: &Instance, desired: &Desired) -> Vec<Held> {
    let newest = instance
        .inactive_vms
        .iter()
        .chain(&instance.vm)
        .map(|vm| vm.id)
        .max();
    let mut ips: Vec<_> = instance
        .ips
        .iter()
        .filter(|ip| ip.vm.is_none() || ip.vm == newest)
        .collect();
    if ips.is_empty() {
        ips = instance.ips.iter().collect();
    }
    let mut all: Vec<Held> = ips
        .into_iter()
        .map(|ip| {
            let network = network_of(desired, &ip.network, &ip.block);
            let is_static = network.as_ref().and_then(|network| match network.kind {
                NetworkKind::Manual => network
                    .subnets
                    .iter()
                    .any(|subnet| subnet.is_reservable(&ip.block))
                    .then(|| network.is_static(&ip.block)),
                NetworkKind::Vip => Some(!network.allocates_vips()),
                // It was handed out by the director when the network was of another kind.
                NetworkKind::Dynamic => None,
            });
            Held {
                network,
                name: ip.network.clone(),
                block: Some(ip.block),
                is_static,
                nic_group: ip.nic_group,
            }
        })
        .collect();
    // Addresses in dynamic networks are nobody's business but the agent's; the spec tells that there is one.
    for (name, settings) in instance
        .spec
        .get("networks")
        .and_then(|value| value.as_object())
        .into_iter()
        .flatten()
    {
        if settings.get("type").and_then(|value| value.as_str()) != Some("dynamic") {
            continue;
        }
        let network = desired.network(name).cloned();
        all.push(Held {
            is_static: network
                .as_ref()
                .filter(|network| network.kind == NetworkKind::Dynamic)
                .map(|_| false),
            network,
            name: name.clone(),
            block: None,
            nic_group: None,
        });
    }
    all
}

/// The network an address belongs to now: the one of that name, or another that would hand it out.
fn network_of(desired: &Desired, name: &str, block: &Block) -> Option<Arc<Network>> {
    let by_name = desired.network(name);
    let check_subnets = by_name
        .is_none_or(|network| network.kind == NetworkKind::Manual || network.allocates_vips());
    if !check_subnets {
        return by_name.cloned();
    }
    by_name
        .into_iter()
        .chain(&desired.networks)
        .filter(|network| network.kind != NetworkKind::Dynamic)
        .find(|network| {
            network
                .subnets
                .iter()
                .any(|subnet| subnet.is_reservable(block))
        })
        .cloned()
}

/// Brings together what an instance has and what it should have.
///
/// With an instance whose VM is replaced by another that runs beside it, all addresses are new.
pub(super) fn reconcile(
    desired: &Desired,
    existing: Option<&Instance>,
    az: Option<&str>,
    wanted: Vec<Wanted>,
    strategy: Strategy,
) -> Vec<Reservation> {
    let Some(instance) = existing else {
        return wanted.into_iter().map(Wanted::reserve).collect();
    };
    let mut open = wanted.clone();
    let mut kept = Vec::new();
    let mut obsolete = Vec::new();
    for held in held(instance, desired) {
        let found = if fits_zone(&held, instance, az) {
            open.iter()
                .position(|wanted| may_be(&held, wanted, instance))
        } else {
            None
        };
        match found {
            Some(position) if can_keep(&held, &open[position]) => {
                let wanted = open.remove(position);
                kept.push(Reservation {
                    network: wanted.network.name.clone(),
                    block: held.block,
                    is_static: held.is_static.unwrap_or(false),
                    nic_group: wanted.nic_group,
                    status: ReservationStatus::Existing,
                });
            }
            _ => obsolete.push(Reservation {
                network: held.name.clone(),
                block: held.block,
                is_static: held.is_static.unwrap_or(false),
                nic_group: held.nic_group,
                status: ReservationStatus::Obsolete,
            }),
        }
    }
    let beside = match strategy {
        Strategy::DeleteCreate => false,
        Strategy::CreateSwapDelete { recreate } => {
            recreate || !open.is_empty() || !obsolete.is_empty()
        }
    };
    if beside {
        for reservation in kept.drain(..) {
            obsolete.push(Reservation {
                status: ReservationStatus::Obsolete,
                ..reservation
            });
        }
        open = wanted;
    }
    kept.extend(open.into_iter().map(Wanted::reserve));
    kept.extend(obsolete);
    kept
}

/// How the VM would be replaced.
#[derive(Debug, Clone, Copy)]
pub(super) enum Strategy {
    /// Addresses pass from the old one to the new one.
    DeleteCreate,
    /// Both run for a while; `recreate` tells that it is going to happen for other reasons than addresses.
    CreateSwapDelete {
        /// See above.
        recreate: bool,
    },
}

fn fits_zone(held: &Held, instance: &Instance, az: Option<&str>) -> bool {
    let Some(network) = &held.network else {
        return false;
    };
    let azs: Vec<&str> = match network.kind {
        NetworkKind::Vip if !network.allocates_vips() => {
            instance.az.as_deref().into_iter().collect()
        }
        NetworkKind::Dynamic => network
            .subnets
            .iter()
            .flat_map(|subnet| &subnet.azs)
            .map(String::as_str)
            .collect(),
        _ => {
            let subnet = held.block.and_then(|block| {
                network.subnets.iter().find(|subnet| {
                    subnet.range.is_some_and(|range| range.includes(&block))
                        || subnet.is_static(&block)
                })
            });
            subnet
                .into_iter()
                .flat_map(|subnet| &subnet.azs)
                .map(String::as_str)
                .collect()
        }
    };
    match az {
        None => azs.is_empty(),
        Some(az) => azs.contains(&az),
    }
}

fn may_be(held: &Held, wanted: &Wanted, instance: &Instance) -> bool {
    let Some(network) = &held.network else {
        return false;
    };
    if wanted.is_static && wanted.block != held.block {
        return false;
    }
    if network.name == wanted.network.name {
        return true;
    }
    if network.kind == NetworkKind::Dynamic || wanted.network.kind == NetworkKind::Dynamic {
        return false;
    }
    let Some(block) = held.block else {
        return false;
    };
    network.prefix == wanted.network.prefix
        && wanted.network.subnets.iter().any(|subnet| {
            let in_zone = subnet.azs.is_empty()
                || instance
                    .az
                    .as_ref()
                    .is_some_and(|az| subnet.azs.contains(az));
            in_zone && subnet.is_reservable(&block)
        })
}

fn can_keep(held: &Held, wanted: &Wanted) -> bool {
    let both_vip = wanted.network.kind == NetworkKind::Vip
        && held
            .network
            .as_ref()
            .is_some_and(|network| network.kind == NetworkKind::Vip);
    both_vip || held.is_static == Some(wanted.is_static)
}

/// Adds what the group wants of vip networks. `existing` goes with `wanted`, instance by instance.
pub(super) fn add_vips(
    group: &InstanceGroup,
    existing: &[Option<&Instance>],
    wanted: &mut [Vec<Wanted>],
) -> Result<(), Error> {
    for network in &group.networks {
        if network.network.kind != NetworkKind::Vip {
            continue;
        }
        let mut ips = network.static_ips.clone().unwrap_or_default();
        if network.network.allocates_vips() {
            if !ips.is_empty() {
                return Err(Error::new(
                    Kind::NetworkReservationVipMisconfigured,
                    "IPs cannot be specified in both the instance group and the cloud config",
                ));
            }
            for wanted in wanted.iter_mut() {
                wanted.push(Wanted::dynamic(network));
            }
            continue;
        }
        let mut without = Vec::new();
        for (position, instance) in existing.iter().enumerate() {
            let own = instance
                .and_then(|instance| {
                    instance
                        .ips
                        .iter()
                        .find(|ip| ip.network == network.network.name)
                })
                .and_then(|ip| ips.iter().position(|listed| *listed == ip.block));
            match own {
                Some(at) => wanted[position].push(Wanted::fixed(network, ips.remove(at))),
                None => without.push(position),
            }
        }
        let mut rest = ips.into_iter();
        for position in without {
            let ip = rest.next().ok_or_else(|| {
                Error::new(
                    Kind::NetworkReservationIpMissing,
                    format!(
                        "Instance group '{}' lacks static IPs in vip network '{}'",
                        group.name, network.network.name
                    ),
                )
            })?;
            wanted[position].push(Wanted::fixed(network, ip));
        }
    }
    Ok(())
}

/// Addresses in use, growing while instances are placed.
pub(super) struct Ledger {
    used: BTreeMap<Block, IpOwner>,
    /// Where the last search in a subnet ended: the next one starts there.
    next: BTreeMap<Block, u128>,
}

impl Ledger {
    pub(super) fn new(current: &Current) -> Self {
        Self {
            used: current.used_ips.clone(),
            next: BTreeMap::new(),
        }
    }

    /// Settles every new reservation of an instance. `display` is `group/uuid (index)`.
    pub(super) fn settle(
        &mut self,
        reservations: &mut [Reservation],
        desired: &Desired,
        owner: &IpOwner,
        display: &str,
        az: Option<&str>,
    ) -> Result<(), Error> {
        for reservation in reservations {
            if reservation.status != ReservationStatus::New {
                continue;
            }
            let Some(network) = desired.network(&reservation.network) else {
                continue;
            };
            if network.kind == NetworkKind::Dynamic {
                continue;
            }
            match reservation.block {
                Some(block) => self.take(block, network, reservation, owner, display)?,
                None => {
                    let block = self.allocate(network, az).ok_or_else(|| {
                        let kind = match network.kind {
                            NetworkKind::Vip => "vip",
                            _ => "manual",
                        };
                        Error::new(
                            Kind::NetworkReservationNotEnoughCapacity,
                            format!(
                                "Failed to reserve IP for '{display}' for {kind} network '{}': no more available",
                                network.name
                            ),
                        )
                    })?;
                    self.used.insert(block, owner.clone());
                    reservation.block = Some(block);
                }
            }
        }
        Ok(())
    }

    fn take(
        &mut self,
        block: Block,
        network: &Network,
        reservation: &Reservation,
        owner: &IpOwner,
        display: &str,
    ) -> Result<(), Error> {
        if network.kind == NetworkKind::Manual {
            let subnet = network.subnet_of(&block).ok_or_else(|| {
                Error::new(
                    Kind::NetworkReservationIpOutsideSubnet,
                    format!(
                        "Provided static IP '{block}' does not belong to any subnet in network '{}'",
                        network.name
                    ),
                )
            })?;
            if subnet.is_restricted(&block) {
                return Err(Error::new(
                    Kind::NetworkReservationIpReserved,
                    format!(
                        "Failed to reserve IP '{block}' for network '{}': IP belongs to reserved range",
                        network.name
                    ),
                ));
            }
        }
        match self.used.get(&block) {
            Some(other) if other.instance.is_some() && other.instance == owner.instance => {}
            Some(IpOwner {
                instance: None,
                name,
                ..
            }) if name.is_empty() => {
                return Err(Error::new(
                    Kind::NetworkReservationAlreadyInUse,
                    format!(
                        "Failed to reserve IP '{block}' for instance '{display}': already reserved by orphaned instance"
                    ),
                ));
            }
            Some(other) => {
                return Err(Error::new(
                    Kind::NetworkReservationAlreadyInUse,
                    format!(
                        "Failed to reserve IP '{block}' for instance '{display}': already reserved by instance '{}' from \
                         deployment '{}'",
                        other.name, other.deployment
                    ),
                ));
            }
            None => {
                self.used.insert(block, owner.clone());
            }
        }
        if reservation.is_static && !network.is_static(&block) {
            return Err(Error::new(
                Kind::NetworkReservationWrongType,
                format!(
                    "IP '{block}' on network '{}' does not belong to static pool",
                    network.name
                ),
            ));
        }
        Ok(())
    }

    fn allocate(&mut self, network: &Network, az: Option<&str>) -> Option<Block> {
        let subnets: Vec<&Subnet> = network
            .subnets
            .iter()
            .filter(|subnet| az.is_none_or(|az| subnet.azs.iter().any(|name| name == az)))
            .collect();
        subnets.into_iter().find_map(|subnet| match network.kind {
            NetworkKind::Vip => subnet
                .statics
                .iter()
                .flat_map(|block| block.blocks(if block.is_v6() { 128 } else { 32 }))
                .find(|block| !self.used.contains_key(block)),
            _ => {
                let range = subnet.range?;
                let from = self.next.get(&range).copied();
                let block = next_free(subnet, from, |block| self.blocker(block))?;
                self.next.insert(range, block.first());
                Some(block)
            }
        })
    }

    /// The block in use that `block` would collide with.
    fn blocker(&self, block: &Block) -> Option<Block> {
        // A wider block in use that holds it, or blocks in use that begin in it.
        let wider = (0..block.prefix())
            .rev()
            .map(|prefix| Block::at(block.is_v6(), block.first(), prefix))
            .find(|wider| self.used.contains_key(wider));
        wider.or_else(|| {
            let inside = self.used.range(*block..=block.last_single()).next();
            inside.map(|(used, _)| *used)
        })
    }
}

/// The lowest free block of a subnet: not restricted, not static, not in use.
///
/// `in_use` yields a block in use that overlaps with the one asked about.
pub fn next_free(
    subnet: &Subnet,
    from: Option<u128>,
    in_use: impl Fn(&Block) -> Option<Block>,
) -> Option<Block> {
    let range = subnet.range?;
    let prefix = subnet.prefix;
    let closed: BTreeSet<Block> = subnet
        .restricted
        .iter()
        .chain(&subnet.statics)
        .copied()
        .collect();
    let mut at = from.unwrap_or_else(|| range.first()).max(range.first());
    loop {
        let candidate = Block::at(range.is_v6(), at, prefix);
        let candidate = if candidate.first() < at {
            Block::at(range.is_v6(), candidate.last().checked_add(1)?, prefix)
        } else {
            candidate
        };
        if !range.includes(&candidate) {
            return None;
        }
        let blocker = closed
            .iter()
            .find(|block| block.overlaps(&candidate))
            .copied()
            .or_else(|| in_use(&candidate));
        match blocker {
            None => return Some(candidate),
            Some(blocker) => at = blocker.last().max(candidate.last()).checked_add(1)?,
        }
    }
}
