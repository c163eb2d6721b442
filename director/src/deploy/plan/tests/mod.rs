//! Placing, planning, applying the plan to a make-believe deployment, and planning again.

mod any;
mod changes;
mod names;
mod places;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use time::macros::datetime;

use super::current::{AgentState, Disk, Instance, Ip, IpOwner, Vm};
use super::decision::{Compiled, CompiledPackage, DiskChange, Rendered};
use super::names::Index;
use super::placement::ReservationStatus;
use super::*;
use crate::links::{self, Others};
use crate::manifest::tests::{MANIFEST, input, minimal};
use crate::manifest::{Desired, Input, State, resolve};
use crate::variables::{Stored, Values};

/// A deployment that lives in memory.
#[derive(Default)]
struct World {
    current: Current,
    next_id: i64,
    next_uuid: u32,
}

/// What one deploy came to.
struct Deploy {
    desired: Desired,
    placement: Placement,
    links: links::Resolved,
    plan: Plan,
}

impl Deploy {
    /// `group/index` of every instance with what is to be done to it and why.
    fn actions(&self) -> BTreeMap<String, (Action, Vec<Change>)> {
        self.plan
            .instances()
            .map(|plan| {
                let reasons = plan.reasons.iter().map(|reason| reason.change).collect();
                (
                    format!("{}/{}", plan.placed.group, plan.placed.index),
                    (plan.action, reasons),
                )
            })
            .collect()
    }

    fn of(&self, name: &str) -> (Action, Vec<Change>) {
        self.actions()[name].clone()
    }

    fn instance(&self, name: &str) -> &InstancePlan {
        self.plan
            .instances()
            .find(|plan| format!("{}/{}", plan.placed.group, plan.placed.index) == name)
            .unwrap()
    }

    fn ip(&self, name: &str) -> String {
        self.instance(name).placed.networks["default"]["ip"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}

fn values() -> Values {
    let password = Stored {
        id: "1".into(),
        value: json!("s3cret"),
    };
    Values::new(
        "director",
        "dep",
        [("/director/dep/pw".to_owned(), password)].into(),
    )
}

fn compiled(desired: &Desired) -> Compiled {
    let mut all = BTreeMap::new();
    for group in &desired.instance_groups {
        for package in &group.packages {
            let compiled = CompiledPackage {
                name: package.name.clone(),
                version: format!("{}.1", package.version),
                sha1: format!("{}-compiled", package.fingerprint),
                blobstore_id: format!("{}-blob", package.name),
            };
            let stemcell = &group.stemcell;
            all.insert(
                (package.id, stemcell.os.clone(), stemcell.version.clone()),
                compiled,
            );
        }
    }
    Compiled(all)
}

/// A stand-in for Ruby: what a template could see decides what comes out.
fn rendered(
    deploy: &Desired,
    placement: &Placement,
    links: &links::Resolved,
) -> BTreeMap<String, Rendered> {
    let bound = Bound::default();
    let mut all = BTreeMap::new();
    for (group, placed) in deploy.instance_groups.iter().zip(&placement.groups) {
        for instance in &placed.instances {
            let stemcell = compare::stemcell_for(group, "");
            let spec = Spec::build(deploy, group, instance, &stemcell, &bound);
            let shared = spec
                .template_shared(links, &values(), &BTreeMap::new())
                .unwrap();
            let rendered = Rendered {
                configuration_hash: format!("{shared}{}", spec.template().unwrap()),
                template_hashes: BTreeMap::new(),
                archive: Some(("blob".into(), "sha1".into())),
            };
            all.insert(instance.uuid.clone(), rendered);
        }
    }
    all
}

impl World {
    fn plan(&mut self, input: &Input) -> Result<Deploy, Error> {
        let desired = resolve(input)?;
        let next = &mut self.next_uuid;
        let mut uuid = || {
            *next += 1;
            format!("uuid-{next:04}")
        };
        let mut below = |_| 0;
        let mut chance = Chance {
            uuid: &mut uuid,
            below: &mut below,
        };
        let placement = place(&desired, &self.current, &values(), &mut chance)?;
        let links = links::resolve(&desired, &placement, &Index::default(), &Others::default())?;
        let bound = Bound {
            values: values(),
            compiled: compiled(&desired),
            rendered: rendered(&desired, &placement, &links),
            ..Bound::default()
        };
        let plan = plan(&desired, &self.current, &placement, &bound);
        Ok(Deploy {
            desired,
            placement,
            links,
            plan,
        })
    }

    /// What the world looks like when all of it was done.
    fn apply(&mut self, deploy: &Deploy) {
        let mut instances = Vec::new();
        for plan in deploy.plan.instances() {
            let old = plan
                .placed
                .existing
                .map(|index| self.current.instances[index].clone());
            if plan.action == Action::Ignore {
                instances.extend(old);
                continue;
            }
            let id = plan.id.unwrap_or_else(|| {
                self.next_id += 1;
                self.next_id
            });
            let starts = deploy
                .plan
                .groups
                .iter()
                .any(|group| group.name == plan.placed.group && group.starts_on_deploy);
            let has_vm = starts && plan.state != State::Detached;
            let job_state = match plan.state {
                State::Started => "running",
                _ => "stopped",
            };
            let settings = &deploy.desired.settings;
            let ips: Vec<Ip> = plan
                .placed
                .reservations
                .iter()
                .filter(|reservation| reservation.status != ReservationStatus::Obsolete)
                .filter_map(|reservation| {
                    Some(Ip {
                        network: reservation.network.clone(),
                        block: reservation.block?,
                        is_static: reservation.is_static,
                        nic_group: reservation.nic_group,
                        vm: None,
                    })
                })
                .collect();
            let agent = AgentState {
                job_state: job_state.into(),
                networks: json!({"cloudy": {"ip": format!("192.168.0.{id}")}}),
            };
            let mut spec = plan.spec.clone();
            spec.add_agent_networks(&agent.networks);
            let shared = spec
                .template_shared(&deploy.links, &values(), &BTreeMap::new())
                .unwrap();
            let hash = format!("{shared}{}", spec.template().unwrap());
            spec.0.insert("configuration_hash".into(), json!(hash));
            let disks = plan.desired_disks.iter().map(|disk| Disk {
                id: 1,
                cid: "disk".into(),
                name: disk.name.clone(),
                size: disk.size,
                cloud_properties: disk.cloud_properties.clone(),
            });
            instances.push(Instance {
                id,
                uuid: plan.placed.uuid.clone(),
                group: plan.placed.group.clone(),
                index: plan.placed.index,
                az: plan.placed.az.clone(),
                state: plan.state,
                bootstrap: plan.placed.bootstrap,
                spec: Value::Object(if starts { spec.0 } else { Map::new() }),
                cloud_properties: plan.cloud_properties.clone(),
                variable_set: 1,
                vm: has_vm.then(|| Vm {
                    id,
                    cid: format!("vm-{id}"),
                    agent_id: format!("agent-{id}"),
                    cpi: String::new(),
                    stemcell_name: Some(plan.stemcell.name.clone()),
                    stemcell_version: Some(plan.stemcell.version.clone()),
                    env: Some(plan.env.clone()),
                    cloud_properties: Some(plan.cloud_properties.clone()),
                    created_at: Some(datetime!(2030-01-01 0:00 UTC)),
                    trusted_certs_sha1: Some(settings.trusted_certs_sha1.clone()),
                    blobstore_config_sha1: Some(settings.blobstore_config_sha1.clone()),
                    nats_config_sha1: Some(settings.nats_config_sha1.clone()),
                }),
                agent: has_vm.then_some(agent),
                ips,
                disks: disks.collect(),
                ..Instance::default()
            });
        }
        let used_ips = instances
            .iter()
            .flat_map(|instance| {
                let owner = IpOwner {
                    instance: Some(instance.id),
                    name: format!("{}/{}", instance.group, instance.uuid),
                    deployment: "dep".into(),
                };
                instance.ips.iter().map(move |ip| (ip.block, owner.clone()))
            })
            .collect();
        self.current = Current {
            deployed: true,
            tags: deploy.desired.tags.clone(),
            instances,
            used_ips,
            variable_sets: [(1, values())].into(),
        };
    }

    fn deploy(&mut self, input: &Input) -> Deploy {
        let deploy = self.plan(input).unwrap();
        self.apply(&deploy);
        deploy
    }
}

/// A world in which the ordinary manifest was deployed.
fn deployed() -> World {
    let mut world = World::default();
    world.deploy(&input(MANIFEST));
    world
}

fn edited(edit: impl FnOnce(&mut Value)) -> Input {
    let mut input = input(MANIFEST);
    edit(&mut input.manifest);
    input
}
