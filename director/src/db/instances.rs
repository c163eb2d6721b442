//! Instances of deployments.

use std::collections::HashMap;

use sea_orm::FromQueryResult;
use serde_json::Value as Json;

use super::connection::{
    Connection, Error, Update, all, column, first, insert_many, one, pairs, params, scalar,
};
use super::row::{DeploymentId, InstanceId, TemplateId, VariableSetId};

/// A row of `instances`.
#[derive(Debug, Clone, PartialEq, FromQueryResult)]
pub struct Instance {
    /// Primary key.
    pub id: InstanceId,
    /// The instance group's name.
    pub job: String,
    /// The number within the group.
    pub index: i32,
    /// Whose.
    pub deployment_id: DeploymentId,
    /// What the operator wants: `started`, `stopped` or `detached`.
    pub state: String,
    /// The id that clients see.
    pub uuid: Option<String>,
    /// The name of its availability zone.
    pub availability_zone: Option<String>,
    /// The merged cloud properties of its VM, JSON.
    pub cloud_properties: Option<String>,
    /// A VM that compiles packages, gone when done.
    pub compilation: Option<bool>,
    /// The one of its group that does what only one may do.
    pub bootstrap: Option<bool>,
    /// The spec it was last given, JSON.
    pub spec_json: Option<String>,
    /// Whether the last update reached its end.
    pub update_completed: Option<bool>,
    /// Left alone by deploys and repairs.
    pub ignore: Option<bool>,
    /// The values its templates were rendered with.
    pub variable_set_id: VariableSetId,
}

impl Instance {
    /// `job/uuid`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.job, self.uuid())
    }

    /// `job/uuid (index)`, as event logs name it.
    pub fn label(&self) -> String {
        format!("{}/{} ({})", self.job, self.uuid(), self.index)
    }

    /// The uuid, or nothing for rows from before there were any.
    pub fn uuid(&self) -> &str {
        self.uuid.as_deref().unwrap_or_default()
    }

    /// The spec, parsed; `Null` when there is none or it is broken.
    pub fn spec(&self) -> Json {
        self.spec_json
            .as_deref()
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or(Json::Null)
    }

    /// Whether the operator had it ignored.
    pub fn is_ignored(&self) -> bool {
        self.ignore.unwrap_or(false)
    }

    /// `service` or `errand`, from the spec.
    pub fn lifecycle(&self) -> Option<String> {
        Some(self.spec().get("lifecycle")?.as_str()?.to_owned())
    }

    /// Whether there should be a VM: a service that is not detached.
    pub fn expects_vm(&self) -> bool {
        self.state != "detached" && self.lifecycle().as_deref() == Some("service")
    }
}

/// What a new instance starts with.
#[derive(Debug, Clone)]
pub struct NewInstance {
    /// The instance group's name.
    pub job: String,
    /// The number within the group.
    pub index: i32,
    /// Whose.
    pub deployment_id: DeploymentId,
    /// `started`, `stopped` or `detached`.
    pub state: String,
    /// The id that clients will see.
    pub uuid: String,
    /// The name of its availability zone.
    pub availability_zone: Option<String>,
    /// Whether it exists only to compile.
    pub compilation: bool,
    /// Whether it is its group's bootstrap instance.
    pub bootstrap: bool,
    /// The values its templates are rendered with.
    pub variable_set_id: VariableSetId,
}

/// The columns to change; `None` leaves one alone.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// The group's name (after `migrated_from`).
    pub job: Option<String>,
    /// The number within the group.
    pub index: Option<i32>,
    /// `started`, `stopped` or `detached`.
    pub state: Option<String>,
    /// The availability zone.
    pub availability_zone: Option<String>,
    /// The VM's cloud properties.
    pub cloud_properties: Option<Json>,
    /// Bootstrap of its group.
    pub bootstrap: Option<bool>,
    /// The spec given to the agent.
    pub spec: Option<Json>,
    /// Whether the update reached its end.
    pub update_completed: Option<bool>,
    /// Whether deploys leave it alone.
    pub ignore: Option<bool>,
    /// The values its templates were rendered with.
    pub variable_set_id: Option<VariableSetId>,
}

/// Inserts an instance.
pub async fn create(db: &dyn Connection, new: NewInstance) -> Result<Instance, Error> {
    one(
        db,
        "insert into instances (job, \"index\", deployment_id, state, uuid, availability_zone, \
         compilation, bootstrap, variable_set_id, update_completed, ignore) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) returning *",
        params![
            new.job,
            new.index,
            new.deployment_id,
            new.state,
            new.uuid,
            new.availability_zone,
            new.compilation,
            new.bootstrap,
            new.variable_set_id,
            false,
            false
        ],
    )
    .await
}

/// Changes the given columns of one instance.
pub async fn update(db: &dyn Connection, id: InstanceId, changes: Changes) -> Result<(), Error> {
    Update::new()
        .set("job", changes.job)
        .set("index", changes.index)
        .set("state", changes.state)
        .set("availability_zone", changes.availability_zone)
        .set(
            "cloud_properties",
            changes.cloud_properties.map(|json| json.to_string()),
        )
        .set("bootstrap", changes.bootstrap)
        .set("spec_json", changes.spec.map(|json| json.to_string()))
        .set("update_completed", changes.update_completed)
        .set("ignore", changes.ignore)
        .set("variable_set_id", changes.variable_set_id)
        .by_id(db, "instances", id)
        .await
}

/// All instances of a deployment, by group and index; compilation VMs too.
pub async fn by_deployment(db: &dyn Connection, id: DeploymentId) -> Result<Vec<Instance>, Error> {
    all(
        db,
        "select * from instances where deployment_id = $1 order by job, \"index\", id",
        params![id],
    )
    .await
}

/// All instances there are.
pub async fn list(db: &dyn Connection) -> Result<Vec<Instance>, Error> {
    all(
        db,
        "select * from instances order by deployment_id, job, \"index\", id",
        vec![],
    )
    .await
}

/// The instance with that key.
pub async fn get(db: &dyn Connection, id: InstanceId) -> Result<Option<Instance>, Error> {
    first(db, "select * from instances where id = $1", params![id]).await
}

/// The instance of that id in the world outside.
pub async fn by_uuid(db: &dyn Connection, uuid: &str) -> Result<Option<Instance>, Error> {
    first(db, "select * from instances where uuid = $1", params![uuid]).await
}

/// The instance with that group and uuid, or group and index.
pub async fn find(
    db: &dyn Connection,
    deployment: DeploymentId,
    job: &str,
    uuid_or_index: &str,
) -> Result<Option<Instance>, Error> {
    let index: i32 = uuid_or_index.parse().unwrap_or(-1);
    first(
        db,
        "select * from instances where deployment_id = $1 and job = $2 \
         and (uuid = $3 or \"index\" = $4)",
        params![deployment, job, uuid_or_index, index],
    )
    .await
}

/// How many instances a deployment has.
pub async fn count(db: &dyn Connection, id: DeploymentId) -> Result<i64, Error> {
    let count = scalar(
        db,
        "select count(*) from instances where deployment_id = $1",
        params![id],
    )
    .await?;
    Ok(count.unwrap_or(0))
}

/// Replaces the jobs that the instance runs.
pub async fn set_templates(
    db: &dyn Connection,
    id: InstanceId,
    templates: &[TemplateId],
) -> Result<(), Error> {
    db.execute(
        "delete from instances_templates where instance_id = $1",
        params![id],
    )
    .await?;
    insert_many(
        db,
        "instances_templates (instance_id, template_id)",
        templates
            .iter()
            .map(|template| params![id, *template])
            .collect(),
        "on conflict do nothing",
    )
    .await
}

/// The jobs that each instance of a deployment runs.
pub async fn templates(
    db: &dyn Connection,
    id: DeploymentId,
) -> Result<HashMap<InstanceId, Vec<TemplateId>>, Error> {
    let rows: Vec<(InstanceId, TemplateId)> = pairs(
        db,
        "select t.instance_id, t.template_id from instances_templates t \
         join instances i on i.id = t.instance_id where i.deployment_id = $1",
        params![id],
    )
    .await?;
    let mut map: HashMap<_, Vec<_>> = HashMap::new();
    for (instance, template) in rows {
        map.entry(instance).or_default().push(template);
    }
    Ok(map)
}

/// Names of the instance groups that have instances, sorted.
pub async fn groups(db: &dyn Connection, id: DeploymentId) -> Result<Vec<String>, Error> {
    column(
        db,
        "select distinct job from instances where deployment_id = $1 order by job",
        params![id],
    )
    .await
}

/// Sets or clears `ignore` of one instance.
pub async fn set_ignore(db: &dyn Connection, id: InstanceId, ignore: bool) -> Result<(), Error> {
    update(
        db,
        id,
        Changes {
            ignore: Some(ignore),
            ..Changes::default()
        },
    )
    .await
}

/// Deletes the instance with its addresses, templates, links and DNS records.
/// Its VMs and disks must be gone already.
pub async fn delete(db: &dyn Connection, id: InstanceId) -> Result<(), Error> {
    for table in [
        "ip_addresses",
        "instances_templates",
        "instances_links",
        "rendered_templates_archives",
        "local_dns_records",
    ] {
        db.execute(
            &format!("delete from {table} where instance_id = $1"),
            params![id],
        )
        .await?;
    }
    db.execute("delete from instances where id = $1", params![id])
        .await?;
    Ok(())
}
