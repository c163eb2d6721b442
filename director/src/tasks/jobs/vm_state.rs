//! Asks agents for state and vitals; one JSON object per VM or instance in the result.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::app::Director;
use crate::db::disks::Disk;
use crate::db::instances::Instance;
use crate::db::vms::Vm;
use crate::db::{self, DeploymentId, VmId};
use crate::deploy::load::Rows;
use crate::deploy::parallel;
use crate::deploy::scope::Scope;
use crate::tasks::{Context, Error};

/// How long an agent may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Asks agents for state and vitals; one JSON object per VM or instance in the result.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VmState {
    /// The deployment.
    pub deployment_id: DeploymentId,
    /// `full`, passed to `get_state`.
    pub format: String,
    /// Every instance once, with or without VM; else every VM.
    #[serde(default)]
    pub instances: bool,
}

impl VmState {
    /// Runs the task.
    pub async fn run(self, director: &Director, task: &Context) -> Result<String, Error> {
        let Some(deployment) = db::deployments::get(&director.db, self.deployment_id).await? else {
            return Err(Error::other(format!(
                "deployment {} is gone",
                self.deployment_id
            )));
        };
        let scope = Scope::new(director, task, deployment).await?;
        let rows = Rows::of(&scope).await?;
        let ips = reserved(&scope).await?;
        let mut shown: Vec<(&Instance, Option<&Vm>)> = Vec::new();
        for instance in rows.instances.iter().chain(&rows.compilation) {
            if self.instances {
                shown.push((instance, rows.active_vm(instance.id)));
            } else if rows.active_vm(instance.id).is_some() {
                let vms = rows.vms.get(&instance.id).into_iter().flatten();
                shown.extend(vms.map(|vm| (instance, Some(vm))));
            }
        }
        let full = self.format == "full";
        parallel::each(scope.max_threads(), shown, |(instance, vm)| {
            let (scope, rows, ips) = (&scope, &rows, &ips);
            async move {
                let ips = vm.map(|vm| vm.ips(ips.get(&vm.id).map_or(&[], Vec::as_slice)));
                let state = ask(scope, instance, vm, full).await?;
                let line = line(
                    instance,
                    vm,
                    &rows.disks(instance.id),
                    ips.unwrap_or_default(),
                    state,
                );
                task.result_line(&line)
            }
        })
        .await?;
        Ok(String::new())
    }
}

/// Addresses by the VM that has them.
async fn reserved(scope: &Scope) -> Result<HashMap<VmId, Vec<String>>, Error> {
    let mut ips: HashMap<VmId, Vec<String>> = HashMap::new();
    for row in db::ip_addresses::by_deployment(scope.db(), scope.deployment.id).await? {
        if let Some(vm) = row.vm_id {
            ips.entry(vm).or_default().push(row.address().to_owned());
        }
    }
    Ok(ips)
}

/// What an agent says of its VM.
#[derive(Debug, Default, PartialEq)]
struct State {
    job_state: Value,
    vitals: Value,
    processes: Value,
}

async fn ask(
    scope: &Scope,
    instance: &Instance,
    vm: Option<&Vm>,
    full: bool,
) -> Result<State, Error> {
    let none = State {
        job_state: Value::Null,
        vitals: Value::Null,
        processes: json!([]),
    };
    let Some(vm) = vm else { return Ok(none) };
    let arguments = if full {
        vec![json!("full")]
    } else {
        Vec::new()
    };
    let agent = scope.agent(vm, &instance.name())?;
    match agent.call_within("get_state", arguments, TIMEOUT).await {
        Ok(mut state) => Ok(State {
            job_state: state["job_state"].take(),
            vitals: state["vitals"].take(),
            processes: match state["processes"].take() {
                Value::Null => json!([]),
                processes => processes,
            },
        }),
        Err(error) if error.is_timeout() || error.is_remote() => Ok(State {
            job_state: json!("unresponsive agent"),
            ..none
        }),
        Err(error) => Err(error.into()),
    }
}

/// A line of the result.
fn line(
    instance: &Instance,
    vm: Option<&Vm>,
    disks: &[Disk],
    ips: Vec<String>,
    state: State,
) -> Value {
    let spec = instance.spec();
    let active: Vec<&Disk> = disks.iter().filter(|disk| disk.is_active()).collect();
    let managed = active
        .iter()
        .find(|disk| disk.is_managed())
        .map(|disk| &disk.disk_cid);
    json!({
        "vm_cid": vm.map(|vm| &vm.cid),
        "active": vm.map(Vm::is_active),
        "vm_created_at": vm.and_then(|vm| vm.created_at).map(|time| time.to_iso8601()),
        "cloud_properties": cloud_properties(instance, &spec),
        "disk_cid": managed,
        "disk_cids": active.iter().map(|disk| &disk.disk_cid).collect::<Vec<_>>(),
        "ips": ips,
        "agent_id": vm.map(|vm| &vm.agent_id),
        "job_name": instance.job,
        "index": instance.index,
        "job_state": state.job_state,
        "state": instance.state,
        "vm_type": spec["vm_type"]["name"],
        "vitals": state.vitals,
        "processes": state.processes,
        "az": instance.availability_zone,
        "id": instance.uuid,
        "bootstrap": instance.bootstrap.unwrap_or(false),
        "ignore": instance.is_ignored(),
        "stemcell": {
            "name": vm.map(|vm| &vm.stemcell_name),
            "version": vm.map(|vm| &vm.stemcell_version),
            "api_version": vm.map(|vm| vm.stemcell_api_version),
        },
    })
}

fn cloud_properties(instance: &Instance, spec: &Value) -> Value {
    let own = instance
        .cloud_properties
        .as_deref()
        .and_then(|text| serde_json::from_str(text).ok());
    own.unwrap_or_else(|| match &spec["vm_type"]["cloud_properties"] {
        Value::Null => Value::Object(Map::new()),
        other => other.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::{InstanceId, VariableSetId};

    #[test]
    fn an_instance_without_vm_is_shown_too() {
        let instance = Instance {
            id: InstanceId(1),
            job: "redis".into(),
            index: 2,
            deployment_id: DeploymentId(1),
            state: "detached".into(),
            uuid: Some("u".into()),
            availability_zone: Some("z1".into()),
            cloud_properties: None,
            compilation: Some(false),
            bootstrap: Some(true),
            spec_json: Some(
                json!({"vm_type": {"name": "small", "cloud_properties": {"ram": 1}}}).to_string(),
            ),
            update_completed: Some(true),
            ignore: Some(false),
            variable_set_id: VariableSetId(1),
        };
        let state = State {
            job_state: Value::Null,
            vitals: Value::Null,
            processes: json!([]),
        };
        let line = line(&instance, None, &[], Vec::new(), state);
        assert_eq!(line["vm_cid"], Value::Null);
        assert_eq!(line["cloud_properties"], json!({"ram": 1}));
        assert_eq!(line["vm_type"], "small");
        assert_eq!(line["disk_cids"], json!([]));
        assert_eq!(
            line["stemcell"],
            json!({"name": null, "version": null, "api_version": null})
        );
        assert_eq!(
            (&line["az"], &line["id"], &line["bootstrap"]),
            (&json!("z1"), &json!("u"), &json!(true))
        );
    }
}
