//! Everything before a plan: what is wanted, what is, which instances there will be, links, variables, templates.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Map, Value};

use super::load::{self, Rows};
use super::persist::{self, Written};
use super::plan::decision::{self, Bound, Compiled, Plan};
use super::plan::names::Index;
use super::plan::spec::Spec;
use super::plan::{Chance, Current, Placement, place, plan};
use super::render::Renderer;
use super::scope::Scope;
use super::subject::Subject;
use super::{Error, dns, links, networks, subjects, variables};
use crate::db::{self, ConfigId, InstanceId, VariableSetId};
use crate::manifest::resolved::{Desired, Lifecycle};
use crate::manifest::{Input, InstanceGroup, Options, Settings, raw, resolve};
use crate::template::Rendered;
use crate::variables::Values;

/// How often a placement is worked out anew because others take addresses of it.
const PLACEMENT_TRIES: usize = 10;

/// What is asked for.
pub struct Request {
    /// The manifest, YAML.
    pub manifest: String,
    /// The cloud configs to use.
    pub cloud_configs: Vec<ConfigId>,
    /// The runtime configs to use.
    pub runtime_configs: Vec<ConfigId>,
    /// What was asked for beside the manifest.
    pub options: Options,
    /// Whose agents are asked for their state.
    pub ask: Ask,
    /// The variable set to use.
    pub variable_set: Option<VariableSetId>,
    /// Whether variables take the newest values whatever their strategy.
    pub newest_variables: bool,
}

/// Whose agents are asked for their state.
pub enum Ask {
    /// Those of all instances that are to be.
    All,
    /// Only these instances.
    Only(BTreeSet<InstanceId>),
}

impl Request {
    /// The deployment as it was last deployed, with `options`.
    pub async fn deployed(scope: &Scope, options: Options, ask: Ask) -> Result<Self, Error> {
        let (db, id) = (scope.db(), scope.deployment.id);
        let Some(manifest) = scope.deployment.manifest.clone() else {
            return Err(Error::new(
                bosh_director_api::Code::BadManifest,
                "No successful BOSH deployment manifest available",
            ));
        };
        Ok(Self {
            manifest,
            cloud_configs: db::deployments::config_ids(db, id, "cloud").await?,
            runtime_configs: db::deployments::config_ids(db, id, "runtime").await?,
            options,
            ask,
            variable_set: Some(variables::current_set(scope).await?),
            newest_variables: false,
        })
    }

    /// Whether none of the stemcells that are wanted is in use now.
    async fn stemcell_changed(&self, scope: &Scope, desired: &Desired) -> Result<bool, Error> {
        if self.newest_variables {
            return Ok(true);
        }
        let used = db::deployments::stemcells(scope.db(), Some(scope.deployment.id)).await?;
        let kept = |version: &str| used.iter().any(|used| used.version == version);
        Ok(!desired
            .stemcells
            .iter()
            .any(|stemcell| kept(&stemcell.version)))
    }
}

/// Everything a plan is made of.
pub struct Prepared {
    /// What is wanted.
    pub desired: Desired,
    /// The deployment's rows.
    pub rows: Rows,
    /// What is.
    pub current: Current,
    /// Which instances there will be.
    pub placement: Placement,
    /// Rows of those instances, when the placement was written down.
    pub written: Written,
    /// Values of variables.
    pub values: Values,
    /// The set they are of.
    pub variable_set: VariableSetId,
    /// Links as kept; `None` in a dry run.
    pub kept: Option<links::Kept>,
    /// Renders templates.
    pub renderer: Renderer,
    /// Rendered templates by uuid.
    pub rendered: HashMap<String, Rendered>,
    /// The cloud configs that were used.
    pub cloud_configs: Vec<ConfigId>,
    /// Values that links from other deployments name.
    pub foreign: BTreeMap<String, Values>,
    /// Cloud properties that CPIs made of `vm_resources`, by group and CPI.
    pub vm_resources: BTreeMap<(String, String), Map<String, Value>>,
}

/// What the manifest of `request` means.
pub async fn wanted(scope: &Scope, request: &Request) -> Result<Desired, Error> {
    Ok(resolve(&input(scope, request).await?)?)
}

/// Works everything out that comes before rendering; nothing is written in a dry run.
pub async fn prepare(scope: &Scope, request: Request) -> Result<Prepared, Error> {
    let dry = request.options.dry_run;
    let mut input = input(scope, &request).await?;
    let known = input.values.clone();
    let mut desired = resolve(&input)?;
    if !dry && networks::ensure(scope, &desired, &known).await? {
        // Only now is it known which addresses they have.
        input.settings.managed_networks = networks::known(scope).await?;
        desired = resolve(&input)?;
    }
    let rows = Rows::of(scope).await?;
    let fix = request.options.fix;
    let mut current =
        load::current(scope, &rows, &asked(&request.ask, &rows, &desired), fix).await?;
    let sets: BTreeSet<VariableSetId> = rows
        .instances
        .iter()
        .map(|row| row.variable_set_id)
        .collect();
    for set in sets {
        current
            .variable_sets
            .insert(set.0, variables::of_set(scope, set).await?);
    }
    let variable_set = match request.variable_set {
        Some(set) => set,
        None => variables::current_set(scope).await?,
    };
    let (placement, written) = settle(
        scope,
        &desired,
        &mut current,
        &rows,
        &known,
        variable_set,
        dry,
    )
    .await?;
    let taken = written.clone();
    let settled = Settled {
        desired,
        rows,
        current,
        placement,
        written,
        known,
        variable_set,
    };
    match bind(scope, &request, settled).await {
        Ok(prepared) => Ok(prepared),
        Err(error) => {
            persist::give_back(scope, &taken).await?;
            Err(error)
        }
    }
}

/// What is known once instances have their places.
struct Settled {
    desired: Desired,
    rows: Rows,
    current: Current,
    placement: Placement,
    written: Written,
    known: Values,
    variable_set: VariableSetId,
}

/// Links, variables and jobs.
async fn bind(scope: &Scope, request: &Request, settled: Settled) -> Result<Prepared, Error> {
    let dry = request.options.dry_run;
    let Settled {
        desired,
        rows,
        current,
        mut placement,
        written,
        known,
        variable_set,
    } = settled;
    let others = links::others(scope, &desired).await?;
    let mut index = index(scope, &rows, &placement, &written).await?;
    let mut resolved = crate::links::resolve(&desired, &placement, &index, &others)?;
    if !dry {
        number(scope, &desired, &resolved).await?;
        index = self::index(scope, &rows, &placement, &written).await?;
    }
    if desired.features.use_short_dns_addresses || desired.features.use_link_dns_names {
        placement.name_addresses(&desired, &index)?;
        resolved = crate::links::resolve(&desired, &placement, &index, &others)?;
    }
    let kept = if dry || !request.options.deploy {
        None
    } else {
        Some(links::keep(scope, &resolved).await?)
    };
    let foreign = variables::foreign(scope, &resolved).await?;
    let values = if !request.options.deploy {
        variables::of_set(scope, variable_set).await?
    } else {
        let making = variables::Making {
            desired: &desired,
            links: &resolved,
            index: &index,
            set: variable_set,
            stemcell_changed: request.stemcell_changed(scope, &desired).await?,
            dry,
        };
        variables::generate(scope, making, known).await?
    };
    let groups: Vec<&InstanceGroup> = desired.instance_groups.iter().collect();
    let vm_resources = computed(scope, &desired, &placement).await?;
    let renderer =
        Renderer::new(scope, &desired, &groups, resolved, foreign.clone(), index).await?;
    Ok(Prepared {
        desired,
        rows,
        current,
        placement,
        written,
        values,
        variable_set,
        kept,
        renderer,
        rendered: HashMap::new(),
        cloud_configs: request.cloud_configs.clone(),
        foreign,
        vm_resources,
    })
}

async fn input(scope: &Scope, request: &Request) -> Result<Input, Error> {
    let manifest = raw::parse(&request.manifest)?;
    let cloud_configs = load::configs(scope, &request.cloud_configs).await?;
    let runtime_configs = load::configs(scope, &request.runtime_configs).await?;
    let mut documents = vec![&manifest];
    documents.extend(runtime_configs.iter().map(|config| &config.content));
    let releases = load::releases(scope, &documents).await?;
    documents.extend(cloud_configs.iter().map(|config| &config.content));
    let values = variables::known(scope, &documents).await?;
    let cpis = if scope.cpis.uses_cpi_config() {
        scope.cpis.all_names()
    } else {
        Vec::new()
    };
    Ok(Input {
        releases,
        stemcells: load::stemcells(scope).await?,
        cpis,
        values,
        teams: load::teams(scope).await?,
        options: Options {
            properties: load::properties(scope).await?,
            ..request.options.clone()
        },
        settings: Settings {
            managed_networks: networks::known(scope).await?,
            ..(*scope.settings).clone()
        },
        manifest,
        cloud_configs,
        runtime_configs,
    })
}

fn asked(ask: &Ask, rows: &Rows, desired: &Desired) -> BTreeSet<InstanceId> {
    match ask {
        Ask::Only(ids) => ids.clone(),
        Ask::All => {
            let names: BTreeSet<&str> = desired
                .instance_groups
                .iter()
                .flat_map(|group| {
                    let former = group.migrated_from.iter().map(|from| from.name.as_str());
                    former.chain([group.name.as_str()])
                })
                .collect();
            rows.instances
                .iter()
                .filter(|row| names.contains(row.job.as_str()))
                .map(|row| row.id)
                .collect()
        }
    }
}

/// Places instances and writes that down, again if another deployment took one of the addresses meanwhile.
async fn settle(
    scope: &Scope,
    desired: &Desired,
    current: &mut Current,
    rows: &Rows,
    values: &Values,
    variable_set: VariableSetId,
    dry: bool,
) -> Result<(Placement, Written), Error> {
    for _ in 0..PLACEMENT_TRIES {
        let placement = {
            let mut uuid = || uuid::Uuid::new_v4().to_string();
            let mut below = below;
            place(
                desired,
                current,
                values,
                &mut Chance {
                    uuid: &mut uuid,
                    below: &mut below,
                },
            )?
        };
        if dry {
            return Ok((placement, Written::default()));
        }
        if let Some(written) =
            persist::write(scope, &placement, current, rows, variable_set).await?
        {
            return Ok((placement, written));
        }
        current.used_ips = load::used_ips(scope).await?;
    }
    Err(Error::other(
        "every free address was taken by other deployments first",
    ))
}

/// A random number below `limit`.
fn below(limit: usize) -> usize {
    let (random, _) = uuid::Uuid::new_v4().as_u64_pair();
    let limit = limit.max(1) as u64;
    usize::try_from(random % limit).unwrap_or(0)
}

/// Numbers what DNS names are made of.
async fn number(
    scope: &Scope,
    desired: &Desired,
    resolved: &crate::links::Resolved,
) -> Result<(), Error> {
    let azs: Vec<String> = desired.azs.iter().map(|az| az.name.clone()).collect();
    let networks: Vec<String> = desired
        .networks
        .iter()
        .map(|network| network.name.clone())
        .collect();
    let groups = desired
        .instance_groups
        .iter()
        .map(|group| (group.name.clone(), "instance-group".to_owned()));
    let links = resolved
        .providers
        .iter()
        .map(|provider| (provider.group_name(), "link".to_owned()));
    let groups: BTreeSet<(String, String)> = groups.chain(links).collect();
    let groups: Vec<(String, String)> = groups.into_iter().collect();
    let tx = scope.db().begin().await?;
    db::dns::encode_azs(&tx, &azs).await?;
    db::dns::encode_networks(&tx, &networks).await?;
    db::dns::encode_groups(&tx, scope.deployment.id, &groups).await?;
    Ok(tx.commit().await?)
}

/// The numbers of zones, networks and groups that short DNS names are made of.
pub(crate) async fn numbers(db: &dyn db::Connection) -> Result<Index, db::Error> {
    let named = |(id, name): (i32, String)| (name, i64::from(id));
    let mut index = Index {
        azs: db::dns::azs(db).await?.into_iter().map(named).collect(),
        networks: db::dns::networks(db)
            .await?
            .into_iter()
            .map(named)
            .collect(),
        ..Index::default()
    };
    for group in db::dns::groups(db).await? {
        index.groups.insert(
            (group.kind, group.name, group.deployment),
            i64::from(group.id),
        );
    }
    Ok(index)
}

/// The numbers there are.
async fn index(
    scope: &Scope,
    rows: &Rows,
    placement: &Placement,
    written: &Written,
) -> Result<Index, Error> {
    let mut index = numbers(scope.db()).await?;
    for row in &rows.instances {
        index
            .instances
            .insert(row.uuid().to_owned(), i64::from(row.id.0));
    }
    for (group, ids) in placement.groups.iter().zip(&written.ids) {
        for (instance, id) in group.instances.iter().zip(ids) {
            index
                .instances
                .insert(instance.uuid.clone(), i64::from(id.0));
        }
    }
    Ok(index)
}

/// Has CPIs turn `vm_resources` into cloud properties.
async fn computed(
    scope: &Scope,
    desired: &Desired,
    placement: &Placement,
) -> Result<BTreeMap<(String, String), Map<String, Value>>, Error> {
    let mut all = BTreeMap::new();
    for (group, placed) in desired.instance_groups.iter().zip(&placement.groups) {
        let Some(resources) = group.vm_resources else {
            continue;
        };
        let cpis: BTreeSet<&str> = placed
            .instances
            .iter()
            .map(|instance| instance.cpi.as_str())
            .collect();
        for cpi in cpis {
            let properties = of_resources(scope, cpi, resources).await?;
            all.insert((group.name.clone(), cpi.to_owned()), properties);
        }
    }
    Ok(all)
}

/// Has a CPI turn resources into cloud properties.
pub(crate) async fn of_resources(
    scope: &Scope,
    cpi: &str,
    resources: crate::manifest::resolved::VmResources,
) -> Result<Map<String, Value>, Error> {
    let size = |number: i64| u64::try_from(number).unwrap_or(0);
    let requirements = bosh_cpi::VmRequirements {
        cpu: size(resources.cpu),
        ram: size(resources.ram),
        ephemeral_disk_size: size(resources.ephemeral_disk_size),
    };
    Ok(scope
        .cpi(cpi, None)?
        .calculate_vm_cloud_properties(requirements, scope.log())
        .await?)
}

impl Prepared {
    /// Renders the templates of all instances that take part, ignored ones left out.
    pub async fn render(&mut self, scope: &Scope) -> Result<(), Error> {
        let draft = self.plan(&Compiled::default(), &BTreeSet::new());
        let groups = draft
            .groups
            .iter()
            .filter(|group| group.starts_on_deploy)
            .map(|group| {
                let instances = group
                    .instances
                    .iter()
                    .filter(|plan| plan.action != decision::Action::Ignore);
                let specs: Vec<(String, &Spec)> = instances
                    .map(|plan| (plan.placed.uuid.clone(), &plan.spec))
                    .collect();
                (group.name.as_str(), specs)
            });
        let rendered = self.renderer.render(scope, groups, &self.values).await?;
        for group in draft.groups.iter().filter(|group| !group.starts_on_deploy) {
            if let Some(first) = group.instances.first() {
                self.renderer.check(&first.spec, &self.values)?;
            }
        }
        self.rendered = rendered;
        Ok(())
    }

    /// Renders the templates of one group.
    pub async fn render_group(&mut self, scope: &Scope, name: &str) -> Result<(), Error> {
        let draft = self.plan(&Compiled::default(), &BTreeSet::new());
        let group = draft
            .groups
            .iter()
            .filter(|group| group.name == name)
            .map(|group| {
                let specs: Vec<(String, &Spec)> = group
                    .instances
                    .iter()
                    .map(|plan| (plan.placed.uuid.clone(), &plan.spec))
                    .collect();
                (group.name.as_str(), specs)
            });
        self.rendered = self.renderer.render(scope, group, &self.values).await?;
        Ok(())
    }

    /// What has to happen, given what is compiled.
    pub fn plan(&self, compiled: &Compiled, dns_changed: &BTreeSet<String>) -> Plan {
        let rendered = self.rendered.iter().map(|(uuid, rendered)| {
            let rendered = decision::Rendered {
                configuration_hash: rendered.configuration_hash.clone(),
                template_hashes: rendered.template_hashes.clone(),
                archive: None,
            };
            (uuid.clone(), rendered)
        });
        let bound = Bound {
            values: self.values.clone(),
            compiled: compiled.clone(),
            rendered: rendered.collect(),
            vm_resources: self.vm_resources.clone(),
            dns_changed: dns_changed.clone(),
            foreign: self.foreign.clone(),
        };
        plan(&self.desired, &self.current, &self.placement, &bound)
    }

    /// The same, with DNS records that differ taken into account.
    pub async fn plan_with_names(&self, scope: &Scope, compiled: &Compiled) -> Result<Plan, Error> {
        let draft = self.plan(compiled, &BTreeSet::new());
        let groups = subjects::of_plan(self, &draft).groups;
        let instances = groups
            .into_iter()
            .filter(|group| group.plan.starts_on_deploy)
            .flat_map(|group| group.instances);
        let instances: Vec<Subject> = instances.map(tokio::sync::Mutex::into_inner).collect();
        let changed = dns::changed(scope, &instances.iter().collect::<Vec<_>>()).await?;
        Ok(if changed.is_empty() {
            draft
        } else {
            self.plan(compiled, &changed)
        })
    }

    /// Cloud properties of compilation VMs.
    pub async fn compilation_properties(&self, scope: &Scope) -> Result<Map<String, Value>, Error> {
        let compilation = &self.desired.compilation;
        let mut properties = compilation.cloud_properties.clone();
        if let Some(resources) = compilation.vm_resources {
            let cpi = compilation
                .az
                .as_ref()
                .and_then(|az| az.cpi.clone())
                .unwrap_or_default();
            properties.extend(of_resources(scope, &cpi, resources).await?);
        }
        Ok(properties)
    }

    /// Row of the instance at these positions of the placement.
    pub fn id(&self, group: usize, instance: usize) -> InstanceId {
        let written = self
            .written
            .ids
            .get(group)
            .and_then(|ids| ids.get(instance));
        let known = || {
            let placed = self.placement.groups.get(group)?.instances.get(instance)?;
            self.rows.instances.get(placed.existing?).map(|row| row.id)
        };
        // Only an instance that was never written down has none: nothing can be done to it.
        written.copied().or_else(known).unwrap_or(InstanceId(-1))
    }

    /// The groups that are errands.
    pub fn errands(&self) -> impl Iterator<Item = &InstanceGroup> {
        self.desired
            .instance_groups
            .iter()
            .filter(|group| group.lifecycle == Lifecycle::Errand)
    }
}
