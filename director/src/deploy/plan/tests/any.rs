//! Whatever was applied is not applied again.

use proptest::prelude::*;

use super::*;

/// A manifest that may be anything an operator could come up with, in small.
#[derive(Debug, Clone)]
struct Wish {
    counts: Vec<u32>,
    azs: Vec<u8>,
    networks: Vec<u8>,
    disks: Vec<u64>,
    beside: bool,
    stemcell: bool,
    states: Vec<u8>,
    tag: bool,
}

fn wish() -> impl Strategy<Value = Wish> {
    let per_group = |range: std::ops::Range<u8>| prop::collection::vec(range, 3);
    (
        prop::collection::vec(0u32..6, 3),
        per_group(0..3),
        per_group(0..3),
        prop::collection::vec(prop_oneof![Just(0u64), Just(10), Just(20)], 3),
        any::<bool>(),
        any::<bool>(),
        per_group(0..4),
        any::<bool>(),
    )
        .prop_map(
            |(counts, azs, networks, disks, beside, stemcell, states, tag)| Wish {
                counts,
                azs,
                networks,
                disks,
                beside,
                stemcell,
                states,
                tag,
            },
        )
}

impl Wish {
    fn input(&self) -> Input {
        edited(|manifest| {
            let groups: Vec<Value> = (0..3)
                .map(|group| {
                    let azs: Value = match self.azs[group] {
                        0 => json!(["z1"]),
                        1 => json!(["z2"]),
                        _ => json!(["z2", "z1"]),
                    };
                    let mut network = json!({"name": if self.networks[group] == 2 { "cloudy" } else { "default" }});
                    let count = self.counts[group];
                    if self.networks[group] == 1 && count > 0 {
                        // Each group has addresses of its own; in both zones if it is in both.
                        let ips: Vec<String> = (0..count)
                            .map(|index| {
                                let zone = match self.azs[group] {
                                    0 => 1,
                                    1 => 2,
                                    _ => 1 + index % 2,
                                };
                                format!("10.0.{zone}.{}", 20 + u32::try_from(group).unwrap() * 3 + index / 2)
                            })
                            .collect();
                        let unique: BTreeSet<&String> = ips.iter().collect();
                        if unique.len() == ips.len() {
                            network["static_ips"] = json!(ips);
                        }
                    }
                    let mut spec = json!({
                        "name": format!("g{group}"), "instances": count, "azs": azs, "stemcell": "default", "vm_type": "small",
                        "jobs": [], "networks": [network], "persistent_disk": self.disks[group],
                        "update": {"serial": group != 1}
                    });
                    match self.states[group] {
                        0 => spec["state"] = json!("stopped"),
                        1 => spec["state"] = json!("detached"),
                        2 => spec["state"] = json!("started"),
                        _ => {}
                    }
                    spec
                })
                .collect();
            manifest["instance_groups"] = json!(groups);
            manifest["tags"] = json!({"t": self.tag});
            if self.beside {
                manifest["update"]["vm_strategy"] = json!("create-swap-delete");
            }
            if self.stemcell {
                manifest["stemcells"][0]["version"] = json!("2.0");
            }
        })
    }
}

/// How many histories are tried.
const CASES: u32 = 64;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn whatever_was_applied_is_not_applied_again(wishes in prop::collection::vec(wish(), 1..4)) {
        let mut world = World::default();
        for wish in &wishes {
            let input = wish.input();
            let before: BTreeMap<String, Instance> = world
                .current
                .instances
                .iter()
                .map(|instance| (instance.uuid.clone(), instance.clone()))
                .collect();
            // Static addresses may be those of an instance that is only about to let go of them.
            let deploy = match world.plan(&input) {
                Ok(deploy) => deploy,
                Err(error) => {
                    prop_assert_eq!(error.code(), 130_008, "{}", error);
                    continue;
                }
            };
            check_placement(&deploy, wish, &before);
            world.apply(&deploy);
            let mut again = world.plan(&input).unwrap();
            // Upstream starts new instances whatever the group's state, and only the next deploy stops them; and instances
            // that lose their disks are free to move to other zones from then on.
            let is_new = |plan: &InstancePlan| plan.action == Action::Create;
            let loses_disk = |plan: &InstancePlan| plan.disks.iter().any(|disk| matches!(disk, DiskChange::Delete { .. }));
            if deploy.plan.instances().any(|plan| is_new(plan) || loses_disk(plan)) {
                world.apply(&again);
                again = world.plan(&input).unwrap();
                let moves = again.plan.instances().all(|plan| matches!(plan.action, Action::None | Action::Stop | Action::Detach));
                prop_assert!(moves, "{:?}", again.actions());
                world.apply(&again);
                again = world.plan(&input).unwrap();
            }
            prop_assert!(again.plan.is_empty(), "{:?}", again.actions());
            for plan in again.plan.instances() {
                prop_assert!(plan.placed.reservations.iter().all(|r| r.status == ReservationStatus::Existing));
            }
        }
    }
}

fn check_placement(deploy: &Deploy, wish: &Wish, before: &BTreeMap<String, Instance>) {
    let mut addresses = BTreeSet::new();
    for (position, group) in deploy.plan.groups.iter().enumerate() {
        let count = usize::try_from(wish.counts[position]).unwrap();
        assert_eq!(group.instances.len(), count);
        let indexes: BTreeSet<u32> = group
            .instances
            .iter()
            .map(|plan| plan.placed.index)
            .collect();
        assert_eq!(indexes.len(), count);
        let bootstraps = group
            .instances
            .iter()
            .filter(|plan| plan.placed.bootstrap)
            .count();
        assert_eq!(bootstraps, count.min(1));
        let azs: Vec<&str> = match wish.azs[position] {
            0 => vec!["z1"],
            1 => vec!["z2"],
            _ => vec!["z1", "z2"],
        };
        let mut per_zone: BTreeMap<&str, usize> = azs.iter().map(|az| (*az, 0)).collect();
        for plan in &group.instances {
            *per_zone
                .get_mut(plan.placed.az.as_deref().unwrap())
                .unwrap() += 1;
            for reservation in &plan.placed.reservations {
                if reservation.status == ReservationStatus::Obsolete {
                    continue;
                }
                let network = deploy.desired.network(&reservation.network).unwrap();
                let Some(block) = reservation.block else {
                    continue;
                };
                if reservation.network == "cloudy" {
                    continue;
                }
                assert!(addresses.insert(block), "{block} twice");
                let subnet = network.subnet_of(&block).unwrap();
                assert!(!subnet.is_restricted(&block));
                assert_eq!(subnet.is_static(&block), reservation.is_static);
                assert!(subnet.azs.contains(plan.placed.az.as_ref().unwrap()));
            }
        }
        let (most, least) = (
            per_zone.values().max().unwrap(),
            per_zone.values().min().unwrap(),
        );
        let has_disks = group.instances.iter().any(|plan| {
            before
                .get(&plan.placed.uuid)
                .is_some_and(|instance| !instance.disks.is_empty())
        });
        if !has_disks && wish.networks[position] != 1 {
            assert!(most - least <= 1, "{per_zone:?}");
        }
        let updated: usize = group
            .rounds
            .iter()
            .map(|round| round.canaries.len() + round.rest.len())
            .sum();
        let acting = group
            .instances
            .iter()
            .filter(|plan| !matches!(plan.action, Action::None | Action::Ignore))
            .count();
        assert_eq!(updated, acting);
    }
}
