//! The audit trail.

use sea_orm::FromQueryResult;
use serde_json::{Value as Json, json};

use super::connection::{Connection, Error, all, first, one, params, scalar};
use super::row::{EventId, Timestamp};

/// A row of `events`.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct Event {
    /// Primary key; clients see it as a string.
    pub id: EventId,
    /// The event that this one ends.
    pub parent_id: Option<EventId>,
    /// Who did it.
    pub user: String,
    /// When.
    pub timestamp: Timestamp,
    /// `create`, `update`, `delete`, ...
    pub action: String,
    /// What kind of thing it was done to.
    pub object_type: String,
    /// Which.
    pub object_name: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// In which task.
    pub task: Option<String>,
    /// Of which deployment.
    pub deployment: Option<String>,
    /// Of which instance: `group/uuid`.
    pub instance: Option<String>,
    /// More, JSON object.
    pub context_json: Option<String>,
}

/// An event to insert.
#[derive(Debug, Clone, Default)]
pub struct NewEvent {
    /// The event that this one ends.
    pub parent_id: Option<EventId>,
    /// When, unless now.
    pub timestamp: Option<Timestamp>,
    /// Who did it.
    pub user: String,
    /// `create`, `update`, `delete`, ...
    pub action: String,
    /// What kind of thing it was done to.
    pub object_type: String,
    /// Which.
    pub object_name: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// In which task.
    pub task: Option<String>,
    /// Of which deployment.
    pub deployment: Option<String>,
    /// Of which instance: `group/uuid`.
    pub instance: Option<String>,
    /// More; an object.
    pub context: Option<Json>,
}

/// Which events to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only older than this event.
    pub before_id: Option<i64>,
    /// Only before this time.
    pub before: Option<Timestamp>,
    /// Only after this time.
    pub after: Option<Timestamp>,
    /// `(column, value)` that must be equal; columns from [`FILTERS`].
    pub equal: Vec<(&'static str, String)>,
}

/// The columns that a client may filter by (upstream: events_controller.rb),
/// as its parameters name them.
pub const FILTERS: [&str; 7] = [
    "task",
    "deployment",
    "instance",
    "user",
    "action",
    "object_type",
    "object_name",
];

/// Most events in one answer.
pub const PAGE: i64 = 200;

/// Records an event, in the audit log too.
pub async fn create(db: &dyn Connection, new: NewEvent) -> Result<EventId, Error> {
    #[derive(FromQueryResult)]
    struct Row {
        id: EventId,
    }
    let timestamp = new.timestamp.unwrap_or_else(Timestamp::now);
    let context = new
        .context
        .as_ref()
        .map_or_else(|| "{}".to_owned(), Json::to_string);
    let told = db.audit().is_open().then(|| {
        // Upstream's row, key by key.
        json!({
            "id": null,
            "parent_id": new.parent_id,
            "user": &new.user,
            "timestamp": timestamp.to_ruby(),
            "action": &new.action,
            "object_type": &new.object_type,
            "object_name": &new.object_name,
            "error": &new.error,
            "task": &new.task,
            "deployment": &new.deployment,
            "instance": &new.instance,
            "context_json": &context,
        })
    });
    let row: Row = one(
        db,
        "insert into events (parent_id, \"user\", timestamp, action, object_type, object_name, \
         error, task, deployment, instance, context_json) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) returning id",
        params![
            new.parent_id,
            new.user,
            timestamp,
            new.action,
            new.object_type,
            new.object_name,
            new.error,
            new.task,
            new.deployment,
            new.instance,
            context
        ],
    )
    .await?;
    if let Some(mut told) = told {
        told["id"] = json!(row.id);
        db.audit().write(&told.to_string());
    }
    Ok(row.id)
}

/// Events, newest first, at most [`PAGE`].
pub async fn list(db: &dyn Connection, filter: &Filter) -> Result<Vec<Event>, Error> {
    let mut values = Vec::new();
    let mut sql = String::from("select * from events where 1 = 1");
    let mut add = |condition: &str, value: sea_orm::Value| {
        values.push(value);
        sql.push_str(&format!(" and {condition} ${}", values.len()));
    };
    if let Some(id) = filter.before_id {
        add("id <", id.into());
    }
    if let Some(time) = filter.before {
        add("timestamp <", time.into());
    }
    if let Some(time) = filter.after {
        add("timestamp >", time.into());
    }
    for (column, value) in &filter.equal {
        add(&format!("\"{column}\" ="), value.clone().into());
    }
    sql.push_str(&format!(" order by id desc limit {PAGE}"));
    all(db, &sql, values).await
}

/// The event of that id.
pub async fn get(db: &dyn Connection, id: EventId) -> Result<Option<Event>, Error> {
    first(db, "select * from events where id = $1", params![id]).await
}

/// Keeps the newest `keep` events and those that one of them ends.
pub async fn remove_old(db: &dyn Connection, keep: i64) -> Result<u64, Error> {
    let oldest_kept: Option<i64> = scalar(
        db,
        "select id from events order by id desc limit 1 offset $1",
        params![keep - 1],
    )
    .await?;
    let Some(mut from) = oldest_kept else {
        return Ok(0);
    };
    let parent: Option<Option<i64>> = scalar(
        db,
        "select min(parent_id) from events where id >= $1",
        params![from],
    )
    .await?;
    if let Some(Some(parent)) = parent {
        from = from.min(parent);
    }
    db.execute("delete from events where id < $1", params![from])
        .await
}

/// How many there are.
pub async fn count(db: &dyn Connection) -> Result<i64, Error> {
    Ok(scalar(db, "select count(*) from events", vec![])
        .await?
        .unwrap_or(0))
}
