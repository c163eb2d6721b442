//! An instance in the hands of the executor: its rows, what it should become, and what is known of it by now.

use bosh_director_api::Code;
use serde_json::{Map, Value};

use super::Error;
use super::plan::decision::{Action, Change, DiskChange};
use super::plan::spec::Spec;
use super::scope::{Scope, api_version};
use crate::agents::Agent;
use crate::db::disks::Disk as DiskRow;
use crate::db::vms::Vm;
use crate::db::{InstanceId, TemplateId, VariableSetId};
use crate::manifest::State;
use crate::manifest::catalog;
use crate::manifest::resolved::Disk;
use crate::manifest::update::Update;
use crate::template;
use crate::variables::Values;

/// An instance that is being worked on.
pub struct Subject {
    /// Its row.
    pub id: InstanceId,
    /// Its id in the world outside.
    pub uuid: String,
    /// Its group.
    pub group: String,
    /// Its index.
    pub index: i32,
    /// Its zone.
    pub az: Option<String>,
    /// Whether it exists only to compile.
    pub compilation: bool,
    /// What the row says: the state it was last asked to be in.
    pub was: String,
    /// What it should be: `Started`, `Stopped` or `Detached`.
    pub state: State,
    /// What is to be done.
    pub action: Action,
    /// What events call that: `create`, `recreate`, `update`, `start`, `stop`, `restart`.
    pub verb: &'static str,
    /// What differs.
    pub changes: Vec<Change>,
    /// Full spec; grows as templates are uploaded and dynamic addresses become known.
    pub spec: Spec,
    /// Its stemcell on its CPI.
    pub stemcell: catalog::Stemcell,
    /// The name of its CPI, empty for the director's own.
    pub cpi: String,
    /// For `create_vm`, placeholders unfilled.
    pub cloud_properties: Map<String, Value>,
    /// For `create_vm`, placeholders unfilled.
    pub env: Map<String, Value>,
    /// Tags for its VM and disks.
    pub tags: Map<String, Value>,
    /// Values that fill placeholders.
    pub values: Values,
    /// The variable set they are of.
    pub variable_set: VariableSetId,
    /// How long to wait for it, and the like.
    pub update: Update,
    /// The disks it should have.
    pub desired_disks: Vec<Disk>,
    /// What has to be done for that.
    pub disk_changes: Vec<DiskChange>,
    /// The jobs it runs.
    pub templates: Vec<TemplateId>,
    /// What they were rendered to; `None` when it has no jobs.
    pub rendered: Option<template::Rendered>,
    /// Addresses to give up once nothing has them any more.
    pub obsolete_ips: Vec<String>,
    /// Stop without draining.
    pub skip_drain: bool,
    /// Its agent does not answer.
    pub unresponsive: bool,
    /// Whether VMs are replaced by making the new one first.
    pub swap: bool,
    /// Its VM.
    pub vm: Option<Vm>,
    /// VMs that are not its own yet, or no longer.
    pub inactive: Vec<Vm>,
    /// Its disks, active or not.
    pub disks: Vec<DiskRow>,
    /// Links it offers, as DNS names them: `<link>-<type>`, sorted.
    pub link_groups: Vec<String>,
    /// Whether its VM was made by this task and never ran anything.
    pub fresh: bool,
}

impl Subject {
    /// `group/uuid`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.group, self.uuid)
    }

    /// `group/uuid (index)`.
    pub fn display(&self) -> String {
        format!("{}/{} ({})", self.group, self.uuid, self.index)
    }

    /// Whether `change` is among what differs.
    pub fn has(&self, change: Change) -> bool {
        self.changes.contains(&change)
    }

    /// Its VM, or an error that says that there is none.
    pub fn vm(&self) -> Result<&Vm, Error> {
        self.vm.as_ref().ok_or_else(|| {
            Error::new(
                Code::InstanceVmMissing,
                format!("'{}' doesn't reference a VM", self.display()),
            )
        })
    }

    /// Its agent.
    pub fn agent(&self, scope: &Scope) -> Result<Agent, Error> {
        scope.agent(self.vm()?, &self.name())
    }

    /// `api_version` of the agent in its VM; of its stemcell when there is no VM yet.
    pub fn api_version(&self) -> Option<u32> {
        match &self.vm {
            Some(vm) => api_version(vm),
            None => self.stemcell.api_version,
        }
    }

    /// Its active disks.
    pub fn active_disks(&self) -> impl Iterator<Item = &DiskRow> {
        self.disks.iter().filter(|disk| disk.is_active())
    }

    /// The disk that the agent mounts.
    pub fn managed_disk(&self) -> Option<&DiskRow> {
        self.active_disks().find(|disk| disk.is_managed())
    }

    /// `networks` of its spec.
    pub fn networks(&self) -> Map<String, Value> {
        match self.spec.0.get("networks") {
            Some(Value::Object(networks)) => networks.clone(),
            _ => Map::new(),
        }
    }

    /// Whether its VM has to go or come, rather than only what runs on it.
    pub fn replaces_vm(&self) -> bool {
        matches!(self.action, Action::Recreate | Action::Detach)
    }

    /// The word in `instances.state`.
    pub fn state_word(&self) -> &'static str {
        match self.state {
            State::Stopped => "stopped",
            State::Detached => "detached",
            State::Started | State::Recreate | State::Restart => "started",
        }
    }
}
