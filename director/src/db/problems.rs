//! What cloud check found wrong.

use sea_orm::FromQueryResult;
use serde_json::Value as Json;

use super::connection::{Connection, Error, all, in_list, one, params, scalar};
use super::row::{DeploymentId, ProblemId, Timestamp};

/// A row of `deployment_problems`.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct Problem {
    /// Primary key.
    pub id: ProblemId,
    /// Whose.
    pub deployment_id: DeploymentId,
    /// `open`, `closed` or `resolved`.
    pub state: String,
    /// The id of the instance, VM or disk row.
    pub resource_id: i32,
    /// `unresponsive_agent`, `missing_vm`, `missing_disk`, `inactive_disk`, `mount_info_mismatch`.
    #[sea_orm(from_alias = "type")]
    pub kind: String,
    /// More, JSON object.
    pub data_json: String,
    /// Found first.
    pub created_at: Timestamp,
    /// Found last.
    pub last_seen_at: Timestamp,
    /// How often it was found.
    pub counter: i32,
}

impl Problem {
    /// What the scan noted, parsed.
    pub fn data(&self) -> Json {
        serde_json::from_str(&self.data_json).unwrap_or(Json::Null)
    }
}

/// Records that a problem was found: a new one, or the open one seen again. Use a transaction.
pub async fn found(
    db: &dyn Connection,
    deployment: DeploymentId,
    kind: &str,
    resource_id: i32,
    data: &Json,
) -> Result<ProblemId, Error> {
    let now = Timestamp::now();
    let open: Option<ProblemId> = scalar(
        db,
        "update deployment_problems set last_seen_at = $1, counter = counter + 1, data_json = $2 \
         where deployment_id = $3 and type = $4 and resource_id = $5 and state = 'open' \
         returning id",
        params![now, data.to_string(), deployment, kind, resource_id],
    )
    .await?;
    if let Some(id) = open {
        return Ok(id);
    }
    let problem: Problem = one(
        db,
        "insert into deployment_problems (deployment_id, state, resource_id, type, data_json, \
         created_at, last_seen_at, counter) values ($1, 'open', $2, $3, $4, $5, $5, 1) \
         returning *",
        params![deployment, resource_id, kind, data.to_string(), now],
    )
    .await?;
    Ok(problem.id)
}

/// The open problems of a deployment, in the order they were found.
pub async fn open(db: &dyn Connection, id: DeploymentId) -> Result<Vec<Problem>, Error> {
    all(
        db,
        "select * from deployment_problems where deployment_id = $1 and state = 'open' \
         order by created_at, id",
        params![id],
    )
    .await
}

/// Sets the state of one problem.
pub async fn set_state(db: &dyn Connection, id: ProblemId, state: &str) -> Result<(), Error> {
    db.execute(
        "update deployment_problems set state = $1 where id = $2",
        params![state, id],
    )
    .await?;
    Ok(())
}

/// Closes the open problems that a scan did not find again; how many.
pub async fn close_others(
    db: &dyn Connection,
    deployment: DeploymentId,
    seen: &[ProblemId],
) -> Result<u64, Error> {
    let mut values = params![deployment];
    let filter = if seen.is_empty() {
        String::new()
    } else {
        format!(
            "and id not in {}",
            in_list(&mut values, seen.iter().copied())
        )
    };
    db.execute(
        &format!(
            "update deployment_problems set state = 'closed' \
             where deployment_id = $1 and state = 'open' {filter}"
        ),
        values,
    )
    .await
}
