//! Loads what a deployment is and what its manifest depends on, with few queries whatever its size.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bosh_director_api::Code;
use serde_json::{Map, Value};

use super::plan::current::{AgentState, Current, Disk, Instance, Ip, IpOwner, Vm};
use super::scope::Scope;
use super::{Error, parallel};
use crate::db::disks::Disk as DiskRow;
use crate::db::instances::Instance as InstanceRow;
use crate::db::vms::Vm as VmRow;
use crate::db::{self, ConfigId, InstanceId};
use crate::manifest::ip::Block;
use crate::manifest::{Config, State, catalog, raw};

/// The rows of a deployment, by what they belong to.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    /// Instances, compilation VMs left out, in the order of [`Current::instances`].
    pub instances: Vec<InstanceRow>,
    /// Compilation VMs that an earlier task left.
    pub compilation: Vec<InstanceRow>,
    /// All VMs.
    pub vms: HashMap<InstanceId, Vec<VmRow>>,
    /// All disks.
    pub disks: HashMap<InstanceId, Vec<DiskRow>>,
}

impl Rows {
    /// Reads them.
    pub async fn of(scope: &Scope) -> Result<Self, Error> {
        let (db, id) = (scope.db(), scope.deployment.id);
        let mut rows = Self::default();
        for instance in db::instances::by_deployment(db, id).await? {
            match instance.compilation {
                Some(true) => rows.compilation.push(instance),
                _ => rows.instances.push(instance),
            }
        }
        for vm in db::vms::by_deployment(db, id).await? {
            rows.vms.entry(vm.instance_id).or_default().push(vm);
        }
        for disk in db::disks::by_deployment(db, id).await? {
            rows.disks.entry(disk.instance_id).or_default().push(disk);
        }
        Ok(rows)
    }

    /// The VM that is the instance's own.
    pub fn active_vm(&self, id: InstanceId) -> Option<&VmRow> {
        self.vms.get(&id)?.iter().find(|vm| vm.is_active())
    }

    /// The others.
    pub fn inactive_vms(&self, id: InstanceId) -> Vec<VmRow> {
        let all = self.vms.get(&id).map(Vec::as_slice).unwrap_or_default();
        all.iter().filter(|vm| !vm.is_active()).cloned().collect()
    }

    /// The instance's disks, active or not.
    pub fn disks(&self, id: InstanceId) -> Vec<DiskRow> {
        self.disks.get(&id).cloned().unwrap_or_default()
    }
}

/// Properties set apart from the manifest, dots in their names as levels and their values read as YAML.
pub async fn properties(scope: &Scope) -> Result<Map<String, Value>, Error> {
    let mut all = Map::new();
    for property in db::properties::list(scope.db(), scope.deployment.id).await? {
        let value = raw::parse(&property.value).unwrap_or(Value::String(property.value));
        let mut nested = Map::new();
        let mut parts = property.name.rsplit('.');
        if let Some(last) = parts.next() {
            nested.insert(last.to_owned(), value);
        }
        for part in parts {
            nested = Map::from_iter([(part.to_owned(), Value::Object(nested))]);
        }
        raw::merge(&mut all, &nested);
    }
    Ok(all)
}

/// Configs of these ids, parsed.
pub async fn configs(scope: &Scope, ids: &[ConfigId]) -> Result<Vec<Config>, Error> {
    db::configs::by_ids(scope.db(), ids)
        .await?
        .into_iter()
        .map(|row| {
            Ok(Config {
                id: i64::from(row.id.0),
                name: row.name,
                content: raw::parse(&row.content)?,
            })
        })
        .collect()
}

/// The uploaded versions of the releases that these documents name, with all their jobs and packages. Where a version
/// is named exactly, only that one.
pub async fn releases(
    scope: &Scope,
    documents: &[&Value],
) -> Result<Vec<Arc<catalog::ReleaseVersion>>, Error> {
    let mut wanted: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for document in documents {
        let releases = document.get("releases").and_then(Value::as_array);
        for release in releases.into_iter().flatten() {
            let Some(name) = release.get("name").and_then(Value::as_str) else {
                continue;
            };
            let version = match release.get("version") {
                Some(Value::String(version)) => version.clone(),
                Some(version) => version.to_string(),
                None => "latest".into(),
            };
            wanted.entry(name).or_default().insert(version);
        }
    }
    let mut found = Vec::new();
    for (name, versions) in wanted {
        let rows = db::releases::versions(scope.db(), name).await?;
        let exact = versions
            .iter()
            .all(|version| rows.iter().any(|row| row.version == *version));
        for row in rows {
            if !row.update_completed || (exact && !versions.contains(&row.version)) {
                continue;
            }
            found.push(Arc::new(release(scope, &row).await?));
        }
    }
    Ok(found)
}

async fn release(
    scope: &Scope,
    row: &db::releases::ReleaseVersion,
) -> Result<catalog::ReleaseVersion, Error> {
    let jobs = db::templates::by_release_version(scope.db(), row.id).await?;
    let packages = db::packages::by_release_version(scope.db(), row.id).await?;
    Ok(catalog::ReleaseVersion {
        id: i64::from(row.id.0),
        name: row.name.clone(),
        version: row.version.clone(),
        jobs: jobs
            .into_iter()
            .map(|job| self::job(job).map(Arc::new))
            .collect::<Result<_, _>>()?,
        packages: packages
            .into_iter()
            .map(|package| Arc::new(self::package(package)))
            .collect(),
    })
}

/// A job as the catalog has it.
pub(crate) fn job(row: db::templates::Template) -> Result<catalog::Job, Error> {
    let mut spec: catalog::JobSpec = match row.spec_json.as_deref() {
        Some(text) => serde_json::from_str(text)
            .map_err(|error| Error::because(Code::JobInvalidPackageSpec.number(), error))?,
        None => catalog::JobSpec::default(),
    };
    if spec.packages.is_empty() {
        spec.packages = row.packages();
    }
    Ok(catalog::Job {
        id: i64::from(row.id.0),
        name: row.name,
        version: row.version,
        fingerprint: row.fingerprint.unwrap_or_default(),
        sha1: row.sha1,
        blobstore_id: row.blobstore_id,
        spec,
    })
}

fn package(row: db::packages::Package) -> catalog::Package {
    catalog::Package {
        id: i64::from(row.id.0),
        dependencies: row.dependencies(),
        name: row.name,
        version: row.version,
        fingerprint: row.fingerprint.unwrap_or_default(),
        sha1: row.sha1,
        blobstore_id: row.blobstore_id,
    }
}

/// All uploaded stemcells.
pub async fn stemcells(scope: &Scope) -> Result<Vec<catalog::Stemcell>, Error> {
    Ok(db::stemcells::list(scope.db())
        .await?
        .into_iter()
        .map(stemcell)
        .collect())
}

/// A stemcell as the catalog has it.
pub(crate) fn stemcell(row: db::stemcells::Stemcell) -> catalog::Stemcell {
    catalog::Stemcell {
        id: i64::from(row.id.0),
        os: row.os().to_owned(),
        name: row.name,
        version: row.version,
        cid: row.cid,
        cpi: row.cpi.unwrap_or_default(),
        api_version: row
            .api_version
            .and_then(|version| u32::try_from(version).ok()),
    }
}

/// The deployment as it is. Agents of the instances in `asked` are asked for their state; with `fix` one that does not answer counts as
/// unresponsive, else it is an error. Variable sets are left for the caller to fill in.
pub async fn current(
    scope: &Scope,
    rows: &Rows,
    asked: &BTreeSet<InstanceId>,
    fix: bool,
) -> Result<Current, Error> {
    let states = agent_states(scope, rows, asked, fix).await?;
    let mut current = Current {
        deployed: scope.deployment.manifest.is_some(),
        tags: deployed_tags(scope).await?,
        used_ips: used_ips(scope).await?,
        ..Current::default()
    };
    let mut ips: HashMap<InstanceId, Vec<Ip>> = HashMap::new();
    for row in db::ip_addresses::by_deployment(scope.db(), scope.deployment.id).await? {
        let Some(id) = row.instance_id else { continue };
        let block = block(&row.address_str)?;
        ips.entry(id).or_default().push(Ip {
            network: row.network_name.unwrap_or_default(),
            block,
            is_static: row.is_static.unwrap_or(false),
            nic_group: row.nic_group.map(i64::from),
            vm: row.vm_id.map(|id| i64::from(id.0)),
        });
    }
    for row in &rows.instances {
        current.instances.push(Instance {
            id: i64::from(row.id.0),
            uuid: row.uuid().to_owned(),
            group: row.job.clone(),
            index: u32::try_from(row.index).unwrap_or_default(),
            az: row.availability_zone.clone(),
            state: state(&row.state),
            bootstrap: row.bootstrap.unwrap_or(false),
            ignore: row.is_ignored(),
            update_completed: row.update_completed.unwrap_or(false),
            spec: match row.spec() {
                spec @ Value::Object(_) => spec,
                _ => Value::Object(Map::new()),
            },
            cloud_properties: object(row.cloud_properties.as_deref()).unwrap_or_default(),
            variable_set: row.variable_set_id.0,
            vm: rows.active_vm(row.id).map(vm),
            inactive_vms: rows.inactive_vms(row.id).iter().map(vm).collect(),
            ips: ips.remove(&row.id).unwrap_or_default(),
            disks: rows
                .disks(row.id)
                .iter()
                .filter(|disk| disk.is_active())
                .map(disk)
                .collect(),
            agent: states.get(&row.id).cloned(),
        });
    }
    Ok(current)
}

async fn agent_states(
    scope: &Scope,
    rows: &Rows,
    asked: &BTreeSet<InstanceId>,
    fix: bool,
) -> Result<HashMap<InstanceId, AgentState>, Error> {
    let asked = rows.instances.iter().filter_map(|row| {
        let vm = rows.active_vm(row.id)?;
        (!row.is_ignored() && asked.contains(&row.id)).then_some((row, vm))
    });
    let states = parallel::each(scope.max_threads(), asked, |(row, vm)| async move {
        agent_state(scope, row, vm, fix)
            .await
            .map(|state| (row.id, state))
    })
    .await?;
    Ok(states.into_iter().collect())
}

/// Asks the agent of `vm`; `unresponsive` when it does not answer and that is to be taken as it comes.
///
/// A VM that the cloud no longer has is always taken so: a director that died between deleting a VM and writing that down
/// leaves one behind, and the next deploy has to get past it.
pub async fn agent_state(
    scope: &Scope,
    row: &InstanceRow,
    vm: &VmRow,
    tolerant: bool,
) -> Result<AgentState, Error> {
    let agent = scope.agent(vm, &row.name())?;
    let unresponsive = |why: String| {
        scope
            .task
            .debug(format!("{} does not answer: {why}", row.name()));
        AgentState {
            job_state: "unresponsive".into(),
            networks: Value::Null,
        }
    };
    let Some(state) = scope.unless_gone(vm, agent.get_state(false)).await else {
        return Ok(unresponsive("the cloud does not have its VM".into()));
    };
    match state {
        Ok(state) => Ok(AgentState {
            job_state: state.job_state.as_str().to_owned(),
            networks: Value::Object(state.spec.networks),
        }),
        Err(error) if error.is_timeout() || error.is_remote() => {
            if tolerant || !scope.has_vm(vm).await? {
                return Ok(unresponsive(error.to_string()));
            }
            Err(Error::from(error).context(row.name()))
        }
        Err(error) => Err(error.into()),
    }
}

pub(crate) async fn used_ips(scope: &Scope) -> Result<BTreeMap<Block, IpOwner>, Error> {
    let mut used = BTreeMap::new();
    for row in db::ip_addresses::list_with_owners(scope.db()).await? {
        let owner = IpOwner {
            instance: row.instance_id.map(|id| i64::from(id.0)),
            name: row.instance_name.unwrap_or_default(),
            deployment: row.deployment_name.unwrap_or_default(),
        };
        used.insert(block(&row.address_str)?, owner);
    }
    Ok(used)
}

/// Tags as last deployed: those of the runtime configs, beaten by the manifest's.
pub async fn deployed_tags(scope: &Scope) -> Result<Map<String, Value>, Error> {
    let Some(manifest) = &scope.deployment.manifest else {
        return Ok(Map::new());
    };
    let ids = db::deployments::config_ids(scope.db(), scope.deployment.id, "runtime").await?;
    let mut tags = Map::new();
    let manifest = raw::parse(manifest)?;
    let documents = configs(scope, &ids).await?;
    for document in documents
        .iter()
        .map(|config| &config.content)
        .chain([&manifest])
    {
        if let Some(Value::Object(more)) = document.get("tags") {
            tags.extend(more.clone());
        }
    }
    Ok(tags)
}

/// The names of the teams that own the deployment.
pub async fn teams(scope: &Scope) -> Result<Vec<String>, Error> {
    let mut all = db::deployments::teams(scope.db()).await?;
    Ok(all.remove(&scope.deployment.id).unwrap_or_default())
}

/// A word of `instances.state`.
pub(crate) fn state(word: &str) -> State {
    match word {
        "stopped" => State::Stopped,
        "detached" => State::Detached,
        _ => State::Started,
    }
}

fn vm(row: &VmRow) -> Vm {
    Vm {
        id: i64::from(row.id.0),
        cid: row.cid.clone().unwrap_or_default(),
        agent_id: row.agent_id.clone().unwrap_or_default(),
        cpi: row.cpi.clone().unwrap_or_default(),
        stemcell_name: row.stemcell_name.clone(),
        stemcell_version: row.stemcell_version.clone(),
        env: object(row.env_json.as_deref()),
        cloud_properties: object(row.cloud_properties_json.as_deref()),
        created_at: row.created_at.map(|time| time.0),
        trusted_certs_sha1: row.trusted_certs_sha1.clone(),
        blobstore_config_sha1: row.blobstore_config_sha1.clone(),
        nats_config_sha1: row.nats_config_sha1.clone(),
    }
}

fn disk(row: &DiskRow) -> Disk {
    Disk {
        id: i64::from(row.id.0),
        cid: row.disk_cid.clone(),
        name: row.name.clone().unwrap_or_default(),
        size: row
            .size
            .and_then(|size| u64::try_from(size).ok())
            .unwrap_or_default(),
        cloud_properties: match row.cloud_properties() {
            Value::Object(map) => map,
            _ => Map::new(),
        },
    }
}

pub(crate) fn object(text: Option<&str>) -> Option<Map<String, Value>> {
    serde_json::from_str(text?).ok()
}

fn block(text: &str) -> Result<Block, Error> {
    Block::parse(text).map_err(|reason| Error::other(format!("ip_addresses: {reason}")))
}

/// Row ids as the plan has them.
pub(crate) fn instance_id(id: i64) -> InstanceId {
    InstanceId(i32::try_from(id).unwrap_or(-1))
}

/// Every address in use.
pub(crate) async fn used_blocks(scope: &Scope) -> Result<Vec<Block>, Error> {
    let rows = db::ip_addresses::list(scope.db()).await?;
    rows.iter().map(|row| block(&row.address_str)).collect()
}
