//! Tasks, and the queue of those that wait for a worker.

use sea_orm::{DbBackend, FromQueryResult};

use super::connection::{Connection, Error, Update, all, column, first, in_list, one, params};
use super::row::{TaskId, Timestamp};

/// A row of `tasks`, without the outputs.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct Task {
    /// Primary key; the number that clients see.
    pub id: TaskId,
    /// `queued`, `processing`, `cancelling`, `cancelled`, `done`, `error` or `timeout`.
    pub state: String,
    /// Of the last change of state.
    pub timestamp: Timestamp,
    /// What it does, in words.
    pub description: String,
    /// What came of it, in words.
    pub result: Option<String>,
    /// The directory of its logs.
    pub output: Option<String>,
    /// When its worker last said that it is alive.
    pub checkpoint_time: Option<Timestamp>,
    /// The kind, such as `update_deployment`.
    #[sea_orm(from_alias = "type")]
    pub kind: String,
    /// Who asked for it.
    pub username: Option<String>,
    /// For which deployment.
    pub deployment_name: Option<String>,
    /// When a worker took it.
    pub started_at: Option<Timestamp>,
    /// Chosen by the client, to find its tasks again.
    pub context_id: String,
}

const COLUMNS: &str = "id, state, timestamp, description, result, output, checkpoint_time, type, \
     username, deployment_name, started_at, context_id";

/// A task to insert.
#[derive(Debug, Clone, Default)]
pub struct NewTask {
    /// The kind, such as `update_deployment`.
    pub kind: String,
    /// What it does, in words.
    pub description: String,
    /// Who asked for it.
    pub username: String,
    /// For which deployment.
    pub deployment_name: Option<String>,
    /// Chosen by the client.
    pub context_id: String,
    /// The work itself, JSON.
    pub handler: String,
    /// `normal` or `urgent`.
    pub queue: String,
}

/// Which tasks to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only these states; empty for all.
    pub states: Vec<String>,
    /// Only these kinds; empty for all.
    pub kinds: Vec<String>,
    /// Not these kinds.
    pub not_kinds: Vec<String>,
    /// Only of this deployment.
    pub deployment: Option<String>,
    /// Only with this context id.
    pub context_id: Option<String>,
    /// Only of one of these teams, when given.
    pub teams: Option<Vec<String>>,
    /// At most so many, newest first.
    pub limit: Option<i64>,
}

/// A job that a worker took from the queue.
#[derive(Debug, Clone, FromQueryResult)]
pub struct Job {
    /// The queue's row.
    pub id: i32,
    /// The work, JSON.
    pub handler: String,
}

/// Inserts a task in state `queued` and its job. Use a transaction.
pub async fn create(db: &dyn Connection, new: NewTask) -> Result<Task, Error> {
    let now = Timestamp::now();
    let task: Task = one(
        db,
        &format!(
            "insert into tasks (state, timestamp, description, checkpoint_time, type, username, \
             deployment_name, context_id, event_output, result_output) \
             values ('queued', $1, $2, $1, $3, $4, $5, $6, '', '') returning {COLUMNS}"
        ),
        params![
            now,
            new.description,
            new.kind,
            new.username,
            new.deployment_name.clone(),
            new.context_id
        ],
    )
    .await?;
    if let Some(deployment) = new.deployment_name {
        db.execute(
            "insert into tasks_teams (task_id, team_id) select $1, t.team_id \
             from deployments_teams t join deployments d on d.id = t.deployment_id \
             where d.name = $2",
            params![task.id, deployment],
        )
        .await?;
    }
    let handler = format!("{{\"task\":{},\"work\":{}}}", task.id, new.handler);
    db.execute(
        "insert into delayed_jobs (priority, attempts, handler, run_at, queue) \
         values (0, 0, $1, $2, $3)",
        params![handler, now, new.queue],
    )
    .await?;
    Ok(task)
}

/// The task of that number.
pub async fn get(db: &dyn Connection, id: TaskId) -> Result<Option<Task>, Error> {
    first(
        db,
        &format!("select {COLUMNS} from tasks where id = $1"),
        params![id],
    )
    .await
}

/// The state of that task.
pub async fn state(db: &dyn Connection, id: TaskId) -> Result<Option<String>, Error> {
    super::connection::scalar(db, "select state from tasks where id = $1", params![id]).await
}

/// The teams that the task is for.
pub async fn teams(db: &dyn Connection, id: TaskId) -> Result<Vec<String>, Error> {
    column(
        db,
        "select t.name from tasks_teams m join teams t on t.id = m.team_id \
         where m.task_id = $1 order by t.name",
        params![id],
    )
    .await
}

/// Tasks, newest first.
pub async fn list(db: &dyn Connection, filter: &Filter) -> Result<Vec<Task>, Error> {
    let mut values = Vec::new();
    let mut sql = format!("select {COLUMNS} from tasks where 1 = 1");
    if !filter.states.is_empty() {
        let list = in_list(&mut values, filter.states.iter().cloned());
        sql.push_str(&format!(" and state in {list}"));
    }
    if !filter.kinds.is_empty() {
        let list = in_list(&mut values, filter.kinds.iter().cloned());
        sql.push_str(&format!(" and type in {list}"));
    }
    if !filter.not_kinds.is_empty() {
        let list = in_list(&mut values, filter.not_kinds.iter().cloned());
        sql.push_str(&format!(" and type not in {list}"));
    }
    if let Some(deployment) = &filter.deployment {
        values.push(deployment.clone().into());
        sql.push_str(&format!(" and deployment_name = ${}", values.len()));
    }
    if let Some(context) = &filter.context_id {
        values.push(context.clone().into());
        sql.push_str(&format!(" and context_id = ${}", values.len()));
    }
    if let Some(teams) = &filter.teams {
        let list = in_list(&mut values, teams.iter().cloned());
        sql.push_str(&format!(
            " and id in (select m.task_id from tasks_teams m join teams t on t.id = m.team_id \
             where t.name in {list})"
        ));
    }
    sql.push_str(" order by timestamp desc, id desc");
    if let Some(limit) = filter.limit {
        values.push(limit.into());
        sql.push_str(&format!(" limit ${}", values.len()));
    }
    all(db, &sql, values).await
}

/// Notes where the task's logs are.
pub async fn set_output(db: &dyn Connection, id: TaskId, directory: &str) -> Result<(), Error> {
    Update::new()
        .set("output", Some(directory))
        .by_id(db, "tasks", id)
        .await
}

/// Moves a task from one of `from` to `to`; false when it was in none of them.
pub async fn transition(
    db: &dyn Connection,
    id: TaskId,
    from: &[&str],
    to: &str,
    result: Option<&str>,
) -> Result<bool, Error> {
    let now = Timestamp::now();
    let mut values = params![to, now, result.map(str::to_owned), id];
    let list = in_list(&mut values, from.iter().map(|state| (*state).to_owned()));
    let changed = db
        .execute(
            &format!(
                "update tasks set state = $1, timestamp = $2, checkpoint_time = $2, \
                 result = coalesce($3, result) where id = $4 and state in {list}"
            ),
            values,
        )
        .await?;
    Ok(changed == 1)
}

/// Notes that a worker has begun.
pub async fn set_started(db: &dyn Connection, id: TaskId) -> Result<(), Error> {
    db.execute(
        "update tasks set started_at = $1, checkpoint_time = $1, timestamp = $1 where id = $2",
        params![Timestamp::now(), id],
    )
    .await?;
    Ok(())
}

/// Notes that the workers of these tasks are alive.
pub async fn checkpoint(db: &dyn Connection, ids: &[TaskId]) -> Result<(), Error> {
    let mut values = params![Timestamp::now()];
    let list = in_list(&mut values, ids.iter().copied());
    db.execute(
        &format!("update tasks set checkpoint_time = $1 where id in {list}"),
        values,
    )
    .await?;
    Ok(())
}

/// Takes the oldest waiting job of these queues, if there is one.
pub async fn claim(
    db: &dyn Connection,
    worker: &str,
    queues: &[impl AsRef<str> + Sync],
) -> Result<Option<Job>, Error> {
    let mut values = params![worker, Timestamp::now()];
    let list = in_list(
        &mut values,
        queues.iter().map(|queue| queue.as_ref().to_owned()),
    );
    let skip_locked = match db.backend() {
        DbBackend::Postgres => "for update skip locked",
        _ => "",
    };
    let sql = format!(
        "update delayed_jobs set locked_by = $1, locked_at = $2, attempts = attempts + 1 \
         where id = (select id from delayed_jobs where locked_by is null and failed_at is null \
         and queue in {list} order by priority, id limit 1 {skip_locked}) \
         returning id, handler"
    );
    first(db, &sql, values).await
}

/// Whether any job waits in these queues. Cheaper than [`claim`]: it only reads.
pub async fn any_waiting(
    db: &dyn Connection,
    queues: &[impl AsRef<str> + Sync],
) -> Result<bool, Error> {
    let mut values = vec![];
    let list = in_list(
        &mut values,
        queues.iter().map(|queue| queue.as_ref().to_owned()),
    );
    let sql = format!(
        "select id from delayed_jobs where locked_by is null and failed_at is null \
         and queue in {list} limit 1"
    );
    Ok(super::connection::scalar::<i32>(db, &sql, values)
        .await?
        .is_some())
}

/// Forgets a job that is over.
pub async fn delete_job(db: &dyn Connection, id: i32) -> Result<(), Error> {
    db.execute("delete from delayed_jobs where id = $1", params![id])
        .await?;
    Ok(())
}

/// The names of the workers that hold jobs, with the jobs.
pub async fn held_jobs(db: &dyn Connection) -> Result<Vec<(i32, String, String)>, Error> {
    #[derive(FromQueryResult)]
    struct Held {
        id: i32,
        locked_by: String,
        handler: String,
    }
    let rows: Vec<Held> = all(
        db,
        "select id, locked_by, handler from delayed_jobs where locked_by is not null",
        vec![],
    )
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.id, row.locked_by, row.handler))
        .collect())
}

/// Jobs that wait for a process of a certain directory: id, queue, handler.
pub async fn bound_jobs(db: &dyn Connection) -> Result<Vec<(i32, String, String)>, Error> {
    #[derive(FromQueryResult)]
    struct Bound {
        id: i32,
        queue: String,
        handler: String,
    }
    let rows: Vec<Bound> = all(
        db,
        "select id, queue, handler from delayed_jobs where locked_by is null and queue like '%@%'",
        vec![],
    )
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.id, row.queue, row.handler))
        .collect())
}

/// Adds to what is kept of a task's event log and result.
pub async fn append_outputs(
    db: &dyn Connection,
    id: TaskId,
    event: &str,
    result: &str,
) -> Result<(), Error> {
    db.execute(
        "update tasks set event_output = coalesce(event_output, '') || $1, \
         result_output = coalesce(result_output, '') || $2 where id = $3",
        params![event, result, id],
    )
    .await?;
    Ok(())
}

/// What is kept of a task's event log and result.
pub async fn outputs(
    db: &dyn Connection,
    id: TaskId,
) -> Result<Option<(Option<String>, Option<String>)>, Error> {
    let found = super::connection::pairs(
        db,
        "select event_output, result_output from tasks where id = $1",
        params![id],
    )
    .await?;
    Ok(found.into_iter().next())
}

/// The oldest finished tasks of a kind beyond the newest `keep`, with their log directories.
pub async fn removable(
    db: &dyn Connection,
    kind: &str,
    deployment: Option<&str>,
    keep: i64,
) -> Result<Vec<(TaskId, Option<String>)>, Error> {
    let mut values = params![kind, keep];
    let only = deployment.map_or_else(String::new, |name| {
        values.push(name.to_owned().into());
        "and deployment_name = $3".to_owned()
    });
    // A `limit -1` is SQLite's alone; a large one serves both.
    let sql = format!(
        "select id, output from tasks where type = $1 {only} and state not in \
         ('queued', 'processing', 'cancelling') order by id desc limit 1000000 offset $2"
    );
    super::connection::pairs(db, &sql, values).await
}

/// Finished tasks of a kind that ended before a time, with their log directories.
pub async fn ended_before(
    db: &dyn Connection,
    kind: &str,
    deployment: Option<&str>,
    before: Timestamp,
) -> Result<Vec<(TaskId, Option<String>)>, Error> {
    let mut values = params![kind, before];
    let only = deployment.map_or_else(String::new, |name| {
        values.push(name.to_owned().into());
        "and deployment_name = $3".to_owned()
    });
    let sql = format!(
        "select id, output from tasks where type = $1 and checkpoint_time < $2 {only} \
         and state not in ('queued', 'processing', 'cancelling') order by id"
    );
    super::connection::pairs(db, &sql, values).await
}

/// The kinds of which there are finished tasks.
pub async fn kinds(db: &dyn Connection) -> Result<Vec<String>, Error> {
    column(
        db,
        "select distinct type from tasks where state not in ('queued', 'processing', 'cancelling') \
         order by type",
        vec![],
    )
    .await
}

/// Forgets a task.
pub async fn delete(db: &dyn Connection, id: TaskId) -> Result<(), Error> {
    db.execute("delete from tasks where id = $1", params![id])
        .await?;
    Ok(())
}
