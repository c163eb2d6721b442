//! VMs and instances of a deployment, and what is done to single ones.

use std::collections::HashMap;

use axum::body::Bytes;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use bosh_director_api::{Code, Ignore, Instance, InstanceDetails};
use serde_json::Value;

use super::auth::Permission;
use super::error::{Error, Result};
use super::{Request, reply};
use crate::db::{self, DeploymentId, InstanceId};
use crate::tasks::{Work, jobs};

pub(super) async fn vms(request: Request, Path(name): Path<String>) -> Result {
    let deployment = request.deployment(&name, Permission::Read).await?;
    if request.param("format") == Some("full") {
        return state(&request, &deployment, false).await;
    }
    let details = Details::load(&request, deployment.id).await?;
    let mut shown = Vec::new();
    for instance in &details.instances {
        for vm in details.vms.get(&instance.id).into_iter().flatten() {
            shown.push(Instance {
                active: Some(vm.is_active()),
                permanent_nats_credentials: Some(vm.permanent_nats_credentials),
                ..details.show(instance, Some(vm))
            });
        }
    }
    Ok(reply::json(&shown))
}

pub(super) async fn list(request: Request, Path(name): Path<String>) -> Result {
    let deployment = request.deployment(&name, Permission::Read).await?;
    if request.param("format") == Some("full") {
        return state(&request, &deployment, true).await;
    }
    let details = Details::load(&request, deployment.id).await?;
    let shown: Vec<Instance> = details
        .instances
        .iter()
        .map(|instance| {
            let vms = details.vms.get(&instance.id);
            let vm = vms.and_then(|vms| vms.iter().find(|vm| vm.is_active()));
            Instance {
                expects_vm: Some(instance.expects_vm()),
                ..details.show(instance, vm)
            }
        })
        .collect();
    Ok(reply::json(&shown))
}

async fn state(
    request: &Request,
    deployment: &db::deployments::Deployment,
    instances: bool,
) -> Result {
    let work = Work::VmState(jobs::vm_state::VmState {
        deployment_id: deployment.id,
        format: "full".to_owned(),
        instances,
    });
    reply::enqueue(request, work, Some(&deployment.name), "retrieve vm-stats").await
}

/// The instances of a deployment with all that is shown of them.
struct Details {
    instances: Vec<db::instances::Instance>,
    vms: HashMap<InstanceId, Vec<db::vms::Vm>>,
    addresses: HashMap<db::VmId, Vec<String>>,
}

impl Details {
    async fn load(request: &Request, id: DeploymentId) -> Result<Self> {
        let db = &request.director.db;
        let mut vms: HashMap<_, Vec<_>> = HashMap::new();
        for vm in db::vms::by_deployment(db, id).await? {
            vms.entry(vm.instance_id).or_default().push(vm);
        }
        let mut addresses: HashMap<_, Vec<_>> = HashMap::new();
        for address in db::ip_addresses::by_deployment(db, id).await? {
            if let Some(vm) = address.vm_id {
                addresses
                    .entry(vm)
                    .or_default()
                    .push(address.address().to_owned());
            }
        }
        Ok(Self {
            instances: db::instances::by_deployment(db, id).await?,
            vms,
            addresses,
        })
    }

    fn show(&self, instance: &db::instances::Instance, vm: Option<&db::vms::Vm>) -> Instance {
        Instance {
            agent_id: vm.and_then(|vm| vm.agent_id.clone()),
            cid: vm.and_then(|vm| vm.cid.clone()),
            job: instance.job.clone(),
            index: instance.index,
            id: instance.uuid.clone(),
            az: instance.availability_zone.clone(),
            ips: vm.map(|vm| self.ips(vm)).unwrap_or_default(),
            vm_created_at: vm.and_then(|vm| Some(vm.created_at?.to_iso8601())),
            active: None,
            permanent_nats_credentials: None,
            expects_vm: None,
        }
    }

    fn ips(&self, vm: &db::vms::Vm) -> Vec<String> {
        vm.ips(self.addresses.get(&vm.id).map_or(&[], Vec::as_slice))
    }
}

pub(super) async fn show(
    request: Request,
    Path((name, group, id)): Path<(String, String, String)>,
) -> Result {
    let deployment = request.deployment(&name, Permission::Admin).await?;
    let instance = find(&request, &deployment, &group, &id).await?;
    let disks = db::disks::by_instance(&request.director.db, instance.id).await?;
    Ok(reply::json(&InstanceDetails {
        deployment: name,
        job: instance.job,
        index: instance.index,
        id: instance.uuid,
        state: instance.state,
        disks: disks.into_iter().map(|disk| disk.disk_cid).collect(),
    }))
}

/// `PUT /deployments/NAME/jobs/GROUP`, and for all groups `.../jobs/*` or `.../jobs`.
pub(super) async fn change_group(
    request: Request,
    Path((name, group)): Path<(String, String)>,
    body: Bytes,
) -> Result {
    let deployment = request.deployment(&name, Permission::Admin).await?;
    change(&request, &deployment, &group, None, &body).await
}

/// `PUT /deployments/NAME/jobs/GROUP/ID`.
pub(super) async fn change_instance(
    request: Request,
    Path((name, group, id)): Path<(String, String, String)>,
    body: Bytes,
) -> Result {
    let deployment = request.deployment(&name, Permission::Admin).await?;
    check_id(&id)?;
    let instance = find(&request, &deployment, &group, &id).await?;
    change(&request, &deployment, &group, Some(instance.index), &body).await
}

async fn change(
    request: &Request,
    deployment: &db::deployments::Deployment,
    group: &str,
    index: Option<i32>,
    body: &[u8],
) -> Result {
    request.expect(super::Media::Yaml)?;
    let state = request.param("state").map(str::to_owned);
    let mut wanted = jobs::update_deployment::GroupState::default();
    match index {
        Some(index) => {
            wanted
                .instance_states
                .insert(index, state.clone().unwrap_or_default());
        }
        None => wanted.state.clone_from(&state),
    }
    let mut options = jobs::update_deployment::Options {
        fix: request.flag("fix"),
        dry_run: request.flag("dry_run"),
        skip_drain: request.flag("skip_drain").then(|| group.to_owned()),
        canaries: request.param("canaries").map(str::to_owned),
        max_in_flight: request.param("max_in_flight").map(str::to_owned),
        ..jobs::update_deployment::Options::default()
    };
    options.job_states.insert(group.to_owned(), wanted);
    if let Some(before) = request.param("recreate_vms_created_before") {
        let recreate = state.as_deref() == Some("recreate");
        options.recreate_vms_created_before = Some(super::deployments::created_before(
            before,
            recreate,
            "state=recreate",
        )?);
    }
    let db = &request.director.db;
    let (manifest, cloud_config_ids, runtime_config_ids) = if body.is_empty() {
        let manifest = deployment.manifest.clone().ok_or_else(|| {
            let why = format!(
                "Deployment '{}' has never been deployed to the end",
                deployment.name
            );
            Error::new(Code::BadManifest, why)
        })?;
        options.manifest_text.clone_from(&deployment.manifest_text);
        (
            manifest,
            db::deployments::config_ids(db, deployment.id, "cloud").await?,
            db::deployments::config_ids(db, deployment.id, "runtime").await?,
        )
    } else {
        let (_, mut manifest) = request.yaml(body)?;
        manifest["name"] = Value::String(deployment.name.clone());
        (
            crate::manifest::raw::to_yaml(&manifest)?,
            db::deployments::latest_config_ids(db, "cloud").await?,
            db::deployments::latest_config_ids(db, "runtime").await?,
        )
    };
    let description = if options.dry_run {
        "create deployment (dry run)"
    } else {
        "create deployment"
    };
    let work = Work::UpdateDeployment(jobs::update_deployment::UpdateDeployment {
        deployment: deployment.name.clone(),
        manifest,
        cloud_config_ids,
        runtime_config_ids,
        options,
    });
    reply::enqueue(request, work, Some(&deployment.name), description).await
}

/// `POST .../instance_groups/GROUP/ID/actions/{start,stop,restart,recreate}`.
pub(super) async fn act(
    request: Request,
    Path((name, group, id, action)): Path<(String, String, String, String)>,
) -> Result {
    use jobs::update_instance::{Action, UpdateInstance};
    let deployment = request.deployment(&name, Permission::Admin).await?;
    check_id(&id)?;
    let instance = find(&request, &deployment, &group, &id).await?;
    let skip_drain = request.flag("skip_drain");
    let (act, hard, skip_drain) = match action.as_str() {
        "start" => (Action::Start, false, false),
        "stop" => (Action::Stop, request.flag("hard"), skip_drain),
        "restart" => (Action::Restart, false, skip_drain),
        "recreate" => (Action::Restart, true, skip_drain),
        _ => return Err(request.no_endpoint()),
    };
    let work = Work::UpdateInstance(UpdateInstance {
        deployment: name.clone(),
        instance: instance.id,
        action: act,
        skip_drain,
        hard,
        ignore_unresponsive_agent: action == "recreate"
            && request.flag("ignore_unresponsive_agent"),
    });
    reply::enqueue(&request, work, Some(&name), format!("{action} instance")).await
}

pub(super) async fn ignore(
    request: Request,
    Path((name, group, id)): Path<(String, String, String)>,
    body: Bytes,
) -> Result {
    let deployment = request.deployment(&name, Permission::Admin).await?;
    let wanted: Ignore = request.json(&body)?;
    let instance = find(&request, &deployment, &group, &id).await?;
    db::instances::set_ignore(&request.director.db, instance.id, wanted.ignore).await?;
    Ok(StatusCode::OK.into_response())
}

/// An endpoint of the past that says where to go.
pub(super) async fn resurrection_gone(
    request: Request,
    Path((name, _, _)): Path<(String, String, String)>,
) -> Result {
    request.deployment(&name, Permission::Admin).await?;
    Err(Error::Plain(
        StatusCode::GONE,
        "This endpoint has been removed. Resurrection is configured with a config of type \
         'resurrection' for deployments and instance groups; to keep a single instance from being \
         resurrected, ignore it."
            .to_owned(),
    ))
}

pub(super) async fn logs(
    request: Request,
    Path((name, group, id)): Path<(String, String, String)>,
) -> Result {
    let deployment = request.deployment(&name, Permission::Admin).await?;
    let db = &request.director.db;
    let by_index = id.chars().all(|c| c.is_ascii_digit()) && !id.is_empty();
    let wanted: Vec<db::instances::Instance> = if by_index {
        vec![find(&request, &deployment, &group, &id).await?]
    } else {
        let is = |wanted: &str, is: &str| wanted == "*" || wanted == is;
        let mut all = db::instances::by_deployment(db, deployment.id).await?;
        all.retain(|instance| is(&group, &instance.job) && is(&id, instance.uuid()));
        if all.is_empty() {
            return Err(Error::new(
                Code::InstanceNotFound,
                format!("No instances matched {group}/{id} in deployment '{name}'"),
            ));
        }
        all
    };
    let mut instances = Vec::new();
    for vm in db::vms::by_deployment(db, deployment.id).await? {
        if vm.is_active() && wanted.iter().any(|instance| instance.id == vm.instance_id) {
            instances.push(vm.instance_id);
        }
    }
    if instances.is_empty() {
        return Err(Error::Coded {
            code: Code::Generic.number(),
            status: 500,
            description: format!(
                "No appropriate instance with a VM was found in deployment '{name}'"
            ),
        });
    }
    let log_type = request.param("type").unwrap_or_default().trim();
    let filters = request.param("filters").unwrap_or_default();
    let work = Work::FetchLogs(jobs::fetch_logs::FetchLogs {
        instances,
        log_type: if log_type.is_empty() { "job" } else { log_type }.to_owned(),
        filters: filters
            .split(|c: char| c.is_whitespace() || c == ',')
            .filter(|filter| !filter.is_empty())
            .map(str::to_owned)
            .collect(),
    });
    reply::enqueue(&request, work, Some(&name), "fetch logs").await
}

pub(super) async fn ssh(request: Request, Path(name): Path<String>, body: Bytes) -> Result {
    let deployment = request.deployment(&name, Permission::Admin).await?;
    let wanted: Value = request.json(&body)?;
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let description = format!(
        "ssh: {}:{}",
        text(&wanted["command"]),
        text(&wanted["target"])
    );
    let work = Work::Ssh(jobs::ssh::Ssh {
        deployment_id: deployment.id,
        request: wanted,
    });
    reply::enqueue(&request, work, Some(&name), description).await
}

/// The instance by group and index or id.
pub(super) async fn find(
    request: &Request,
    deployment: &db::deployments::Deployment,
    group: &str,
    id: &str,
) -> Result<db::instances::Instance> {
    let found = db::instances::find(&request.director.db, deployment.id, group, id).await?;
    found.ok_or_else(|| {
        Error::new(
            Code::InstanceNotFound,
            format!("'{}/{group}/{id}' doesn't exist", deployment.name),
        )
    })
}

/// An index, or what looks like a uuid.
fn check_id(text: &str) -> Result<()> {
    let (head, tail) = text.split_once('-').unwrap_or((text, ""));
    let hex = |text: &str| text.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    let uuid = head.len() == 8 && hex(head) && tail.len() == 27 && hex(tail);
    if uuid || text.parse::<i32>().is_ok() {
        return Ok(());
    }
    let why = format!("Invalid instance index or id '{text}'");
    Err(Error::new(Code::InstanceInvalidIndex, why))
}
