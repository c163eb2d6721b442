//! VMs that compile: made when needed, kept for the next package if the cloud config says so, deleted at the end.
//!
//! Upstream: deployment_plan/compilation_instance_pool.rb, instance_reuser.rb.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tokio::sync::Mutex;

use crate::db;
use crate::db::instances::NewInstance;
use crate::db::ip_addresses::NewIpAddress;
use crate::db::{InstanceId, VariableSetId};
use crate::deploy::plan::decision::Action;
use crate::deploy::plan::placement::{PlacedInstance, Reservation, ReservationStatus};
use crate::deploy::plan::{next_free, settings, spec::Spec};
use crate::deploy::scope::Scope;
use crate::deploy::steps::{
    create_vm, delete_instance, metadata, orphan_vm, settings as agent_settings, stop,
};
use crate::deploy::subject::Subject;
use crate::deploy::{Error, load, parallel};
use crate::manifest::resolved::{Desired, InstanceGroup, Lifecycle, NetworkKind, Stemcell};
use crate::manifest::update::Update;
use crate::manifest::{State, ip::Block};
use crate::variables::Values;

/// How often to look for a free address when others take the one that was found.
const ADDRESS_TRIES: usize = 20;

/// Compilation VMs of one deploy.
pub(super) struct Pool<'a> {
    scope: &'a Scope,
    desired: &'a Desired,
    values: &'a Values,
    variable_set: VariableSetId,
    cloud_properties: Map<String, Value>,
    state: Mutex<Vms>,
}

#[derive(Default)]
struct Vms {
    idle: Vec<Idle>,
    /// How many there are, idle or at work.
    count: usize,
}

struct Idle {
    stemcell: (String, String),
    vm: Box<Subject>,
}

impl<'a> Pool<'a> {
    pub(super) fn new(
        scope: &'a Scope,
        desired: &'a Desired,
        values: &'a Values,
        variable_set: VariableSetId,
        cloud_properties: Map<String, Value>,
    ) -> Self {
        Self {
            scope,
            desired,
            values,
            variable_set,
            cloud_properties,
            state: Mutex::default(),
        }
    }

    /// A VM of that stemcell, marked as compiling `package`. It has to be given back.
    pub(super) async fn obtain(
        &self,
        stemcell: &Arc<Stemcell>,
        package: &str,
    ) -> Result<Box<Subject>, Error> {
        let vm = self.find(stemcell).await?;
        let mut tags = Map::new();
        tags.insert("compiling".into(), json!(package));
        let tagged = match vm.vm() {
            Ok(own) => metadata::of_vm(self.scope, &vm, own, &tags).await,
            Err(error) => Err(error),
        };
        match tagged {
            Ok(()) => Ok(vm),
            Err(error) => self.give_back(stemcell, vm, Err(error)).await,
        }
    }

    /// Takes a VM back with what came of its work. One on which it failed is not used again.
    pub(super) async fn give_back<T>(
        &self,
        stemcell: &Stemcell,
        vm: Box<Subject>,
        done: Result<T, Error>,
    ) -> Result<T, Error> {
        match &done {
            Ok(_) if self.desired.compilation.reuse_compilation_vms => {
                let stemcell = key(stemcell);
                self.state.lock().await.idle.push(Idle { stemcell, vm });
            }
            Err(error) if self.scope.director.config.keep_unreachable_vms => {
                self.scope
                    .task
                    .debug(format!("keeping compilation VM for debugging: {error}"));
            }
            _ => self.destroy(*vm).await?,
        }
        done
    }

    /// Deletes the VMs that are left.
    pub(super) async fn delete_all(&self) -> Result<(), Error> {
        let idle = std::mem::take(&mut self.state.lock().await.idle);
        let workers = self.desired.compilation.workers as usize;
        parallel::each(workers, idle, |idle| self.destroy(*idle.vm)).await?;
        Ok(())
    }

    async fn find(&self, stemcell: &Arc<Stemcell>) -> Result<Box<Subject>, Error> {
        let wanted = key(stemcell);
        let mut state = self.state.lock().await;
        if let Some(at) = state.idle.iter().position(|idle| idle.stemcell == wanted) {
            return Ok(state.idle.swap_remove(at).vm);
        }
        let full = state.count >= self.desired.compilation.workers as usize;
        let other = if full { state.idle.pop() } else { None };
        state.count += 1;
        drop(state);
        if let Some(other) = other {
            self.destroy(*other.vm).await?;
        }
        let made = self.make(stemcell).await;
        if made.is_err() {
            self.state.lock().await.count -= 1;
        }
        made.map(Box::new)
    }

    async fn make(&self, stemcell: &Arc<Stemcell>) -> Result<Subject, Error> {
        let scope = self.scope;
        let az = self.desired.compilation.az.as_deref();
        let uuid = uuid::Uuid::new_v4().to_string();
        let group = format!("compilation-{}", uuid::Uuid::new_v4());
        let cpi = az.and_then(|az| az.cpi.clone()).unwrap_or_default();
        let Some(image) = stemcell.for_cpi(&cpi) else {
            return Err(Error::other(format!(
                "Required stemcell {{\"name\"=>\"{}\", \"version\"=>\"{}\"}} not found for cpi {cpi}, please upload again",
                stemcell.name, stemcell.version
            )));
        };
        let row = db::instances::create(
            scope.db(),
            NewInstance {
                job: group.clone(),
                index: 0,
                deployment_id: scope.deployment.id,
                state: "started".into(),
                uuid: uuid.clone(),
                availability_zone: az.map(|az| az.name.clone()),
                compilation: true,
                bootstrap: false,
                variable_set_id: self.variable_set,
            },
        )
        .await?;
        let mut subject = Subject {
            id: row.id,
            uuid,
            index: 0,
            az: az.map(|az| az.name.clone()),
            compilation: true,
            was: "started".into(),
            state: State::Started,
            action: Action::Create,
            verb: "create",
            changes: Vec::new(),
            spec: Spec::default(),
            stemcell: image.clone(),
            cpi,
            cloud_properties: self.cloud_properties.clone(),
            env: self.desired.compilation.env.clone(),
            tags: self.desired.tags.clone(),
            values: self.values.clone(),
            variable_set: self.variable_set,
            update: Update::default(),
            desired_disks: Vec::new(),
            disk_changes: Vec::new(),
            templates: Vec::new(),
            rendered: None,
            obsolete_ips: Vec::new(),
            skip_drain: true,
            unresponsive: false,
            swap: false,
            vm: None,
            inactive: Vec::new(),
            disks: Vec::new(),
            link_groups: Vec::new(),
            fresh: true,
            group,
        };
        let name = subject.name();
        let event = scope.instance_event("create", "instance", Some(name.clone()), &name);
        let made = scope
            .task
            .recorded(event, self.bring_up(&mut subject, stemcell))
            .await;
        if let Err(error) = made {
            if scope.director.config.keep_unreachable_vms && subject.vm.is_some() {
                scope.task.debug("keeping compilation VM for debugging");
            } else {
                self.delete(subject).await?;
            }
            return Err(error);
        }
        Ok(subject)
    }

    async fn bring_up(&self, subject: &mut Subject, stemcell: &Arc<Stemcell>) -> Result<(), Error> {
        let networks = self.networks(subject, stemcell).await?;
        let spec = &mut subject.spec.0;
        spec.insert("deployment".into(), json!(self.scope.name()));
        spec.insert("job".into(), json!({"name": subject.group}));
        spec.insert("index".into(), json!(0));
        spec.insert("id".into(), json!(subject.uuid));
        spec.insert("networks".into(), Value::Object(networks));
        create_vm::run(self.scope, subject).await?;
        agent_settings::run(self.scope, subject).await
    }

    /// Network settings with an address that is now taken.
    async fn networks(
        &self,
        subject: &Subject,
        stemcell: &Arc<Stemcell>,
    ) -> Result<Map<String, Value>, Error> {
        let block = self.address(subject).await?;
        let network = self.desired.compilation.network.clone();
        let group = InstanceGroup {
            name: subject.group.clone(),
            lifecycle: Lifecycle::Service,
            instances: 1,
            jobs: Vec::new(),
            packages: Vec::new(),
            stemcell: stemcell.clone(),
            vm_type: None,
            vm_resources: None,
            vm_extensions: Vec::new(),
            env: Map::new(),
            update: Update::default(),
            networks: Vec::new(),
            default_networks: ["dns", "gateway"]
                .map(|what| (what.to_owned(), network.clone()))
                .into(),
            azs: Vec::new(),
            migrated_from: Vec::new(),
            state: None,
            instance_states: Default::default(),
            disks: Vec::new(),
            tags: Map::new(),
        };
        let placed = PlacedInstance {
            group: subject.group.clone(),
            uuid: subject.uuid.clone(),
            index: 0,
            az: subject.az.clone(),
            cpi: subject.cpi.clone(),
            bootstrap: false,
            ignore: false,
            state: State::Started,
            existing: None,
            reservations: vec![Reservation {
                network,
                block,
                is_static: false,
                nic_group: None,
                status: ReservationStatus::Existing,
            }],
            networks: Map::new(),
            address: String::new(),
        };
        Ok(settings::networks(&group, &placed, self.desired, None)?)
    }

    /// Takes an address of the compilation network; none in a dynamic one.
    async fn address(&self, subject: &Subject) -> Result<Option<Block>, Error> {
        let name = &self.desired.compilation.network;
        let Some(network) = self.desired.network(name) else {
            return Err(Error::other(format!(
                "compilation network '{name}' is not in the cloud config"
            )));
        };
        if network.kind != NetworkKind::Manual {
            return Ok(None);
        }
        let in_zone = |azs: &[String]| {
            subject
                .az
                .as_ref()
                .is_none_or(|az| azs.is_empty() || azs.contains(az))
        };
        for _ in 0..ADDRESS_TRIES {
            let used = load::used_blocks(self.scope).await?;
            let in_use = |block: &Block| used.iter().find(|other| other.overlaps(block)).copied();
            let free = network
                .subnets
                .iter()
                .filter(|subnet| in_zone(&subnet.azs))
                .find_map(|subnet| next_free(subnet, None, in_use));
            let Some(block) = free else {
                let message = format!(
                    "Failed to reserve IP for '{}' for manual network '{name}': no more available",
                    subject.display()
                );
                return Err(Error::new(
                    bosh_director_api::Code::NetworkReservationNotEnoughCapacity,
                    message,
                ));
            };
            if self.reserve(subject.id, name, block).await? {
                return Ok(Some(block));
            }
        }
        Err(Error::other(format!(
            "network '{name}': every free address was taken by others first"
        )))
    }

    async fn reserve(&self, id: InstanceId, network: &str, block: Block) -> Result<bool, Error> {
        let new = NewIpAddress {
            network_name: network.to_owned(),
            is_static: false,
            instance_id: id,
            task_id: self.scope.task.id(),
            address: block.to_string(),
            nic_group: None,
        };
        Ok(db::ip_addresses::reserve(self.scope.db(), new).await?)
    }

    async fn destroy(&self, vm: Subject) -> Result<(), Error> {
        self.state.lock().await.count -= 1;
        self.delete(vm).await
    }

    async fn delete(&self, mut vm: Subject) -> Result<(), Error> {
        let scope = self.scope.uncancellable();
        if self.desired.compilation.orphan_workers
            && let Some(own) = vm.vm.take()
        {
            orphan_vm::run(&scope, &vm, &own).await?;
        }
        delete_instance::run(&scope, &mut vm, stop::Intent::DeleteInstance, false).await
    }
}

fn key(stemcell: &Stemcell) -> (String, String) {
    (stemcell.name.clone(), stemcell.version.clone())
}
