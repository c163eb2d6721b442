//! Variable sets of deployments, and the sealed values of generated variables.

use sea_orm::FromQueryResult;

use super::connection::{Connection, Error, all, first, insert_many, one, params};
use super::row::{DeploymentId, Timestamp, VariableSetId, VariableValueId};

/// A row of `variable_sets`: the values that one deploy used.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct VariableSet {
    /// Primary key.
    pub id: VariableSetId,
    /// Whose.
    pub deployment_id: DeploymentId,
    /// When the deploy began.
    pub created_at: Timestamp,
    /// Whether it ended well.
    pub deployed_successfully: Option<bool>,
    /// Whether values may still be added.
    pub writable: Option<bool>,
}

/// A row of `variables`: one value in a set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, FromQueryResult)]
pub struct Variable {
    /// The value's id.
    pub variable_id: String,
    /// The absolute name: `/director/deployment/name`.
    pub variable_name: String,
    /// Used by the set's own deployment, rather than through a link.
    pub is_local: Option<bool>,
    /// The deployment that provides it through a link.
    pub provider_deployment: Option<String>,
}

/// A row of `variable_values`. `value` is sealed; only the director opens it.
#[derive(Clone, PartialEq, Eq, FromQueryResult)]
pub struct Value {
    /// Primary key.
    pub id: VariableValueId,
    /// What `variables.variable_id` refers to.
    pub variable_id: String,
    /// The absolute name.
    pub name: String,
    /// `password`, `certificate`, `rsa`, `ssh`, ...
    #[sea_orm(from_alias = "type")]
    pub kind: String,
    /// The sealed JSON value.
    pub value: Vec<u8>,
    /// When it was generated.
    pub created_at: Timestamp,
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Value")
            .field("variable_id", &self.variable_id)
            .field("name", &self.name)
            .field("value", &"<redacted>")
            .finish_non_exhaustive()
    }
}

/// Starts a new, writable set.
pub async fn create_set(db: &dyn Connection, id: DeploymentId) -> Result<VariableSet, Error> {
    one(
        db,
        "insert into variable_sets (deployment_id, created_at, deployed_successfully, writable) \
         values ($1, $2, $3, $4) returning *",
        params![id, Timestamp::now(), false, true],
    )
    .await
}

/// The newest set of a deployment.
pub async fn current_set(
    db: &dyn Connection,
    id: DeploymentId,
) -> Result<Option<VariableSet>, Error> {
    first(
        db,
        "select * from variable_sets where deployment_id = $1 order by created_at desc, id desc \
         limit 1",
        params![id],
    )
    .await
}

/// The newest set of a deployment that was deployed to the end.
pub async fn last_successful_set(
    db: &dyn Connection,
    id: DeploymentId,
) -> Result<Option<VariableSet>, Error> {
    first(
        db,
        "select * from variable_sets where deployment_id = $1 and deployed_successfully = $2 \
         order by created_at desc, id desc limit 1",
        params![id, true],
    )
    .await
}

/// Closes a set: no more values, and whether the deploy ended well.
pub async fn finish_set(
    db: &dyn Connection,
    id: VariableSetId,
    successfully: bool,
) -> Result<(), Error> {
    db.execute(
        "update variable_sets set writable = $1, deployed_successfully = $2 where id = $3",
        params![false, successfully, id],
    )
    .await?;
    Ok(())
}

/// Forgets the sets of a deployment that neither an instance nor `keep` refers to.
pub async fn remove_unused_sets(
    db: &dyn Connection,
    id: DeploymentId,
    keep: VariableSetId,
) -> Result<u64, Error> {
    db.execute(
        "delete from variable_sets where deployment_id = $1 and id <> $2 and not exists \
         (select 1 from instances i where i.variable_set_id = variable_sets.id)",
        params![id, keep],
    )
    .await
}

/// The values of a set, by name.
pub async fn in_set(db: &dyn Connection, id: VariableSetId) -> Result<Vec<Variable>, Error> {
    all(
        db,
        "select variable_id, variable_name, is_local, provider_deployment from variables \
         where variable_set_id = $1 order by variable_name, id",
        params![id],
    )
    .await
}

/// Adds values to a set; those already there stay as they are.
pub async fn add_to_set(
    db: &dyn Connection,
    id: VariableSetId,
    variables: &[Variable],
) -> Result<(), Error> {
    insert_many(
        db,
        "variables (variable_set_id, variable_id, variable_name, is_local, provider_deployment)",
        variables
            .iter()
            .map(|variable| {
                params![
                    id,
                    variable.variable_id.clone(),
                    variable.variable_name.clone(),
                    variable.is_local.unwrap_or(true),
                    variable.provider_deployment.clone().unwrap_or_default()
                ]
            })
            .collect(),
        "on conflict do nothing",
    )
    .await
}

/// Stores a newly generated, sealed value.
pub async fn put_value(
    db: &dyn Connection,
    variable_id: &str,
    name: &str,
    kind: &str,
    sealed: Vec<u8>,
) -> Result<Value, Error> {
    one(
        db,
        "insert into variable_values (variable_id, name, type, value, created_at) \
         values ($1, $2, $3, $4, $5) returning *",
        params![variable_id, name, kind, sealed, Timestamp::now()],
    )
    .await
}

/// The newest value of a name.
pub async fn latest_value(db: &dyn Connection, name: &str) -> Result<Option<Value>, Error> {
    first(
        db,
        "select * from variable_values where name = $1 order by id desc limit 1",
        params![name],
    )
    .await
}

/// The newest value of every name that starts with `prefix`.
pub async fn latest_values(db: &dyn Connection, prefix: &str) -> Result<Vec<Value>, Error> {
    let pattern = prefix
        .replace('\\', "\\\\")
        .replace('%', "\\%")
        .replace('_', "\\_")
        + "%";
    all(
        db,
        "select * from variable_values where id in (select max(id) from variable_values \
         where name like $1 escape '\\' group by name) order by name",
        params![pattern],
    )
    .await
}

/// The value of that id.
pub async fn value(db: &dyn Connection, variable_id: &str) -> Result<Option<Value>, Error> {
    first(
        db,
        "select * from variable_values where variable_id = $1",
        params![variable_id],
    )
    .await
}

/// `(deployment, value's id)` of the deployments whose last successful set has
/// a value of that name of its own, by deployment.
pub async fn deployments_using(
    db: &dyn Connection,
    name: &str,
) -> Result<Vec<(String, String)>, Error> {
    super::connection::pairs(
        db,
        "select d.name, v.variable_id from variables v \
         join deployments d on v.variable_set_id = (select s.id from variable_sets s \
         where s.deployment_id = d.id and s.deployed_successfully = $1 \
         order by s.created_at desc, s.id desc limit 1) \
         where v.variable_name = $2 and v.is_local = $1 order by d.name",
        params![true, name],
    )
    .await
}

/// `(value's id, name)` of every value in any set of a deployment, by name.
pub async fn of_deployment(
    db: &dyn Connection,
    id: DeploymentId,
) -> Result<Vec<(String, String)>, Error> {
    super::connection::pairs(
        db,
        "select v.variable_id, v.variable_name from variables v \
         join variable_sets s on s.id = v.variable_set_id where s.deployment_id = $1 \
         group by v.variable_id, v.variable_name order by min(v.id)",
        params![id],
    )
    .await
}
