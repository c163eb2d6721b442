//! The processes that run tasks, each with a counter that it moves as long as it lives (not of upstream's schema).

use sea_orm::FromQueryResult;

use super::connection::{Connection, Error, all, params};

/// A row of `director_workers`.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct Worker {
    /// As `delayed_jobs.locked_by` has it.
    pub name: String,
    /// The id of the directory with its task logs and uploads.
    pub directory: String,
    /// Grows as long as the process lives. Whoever watches takes the time by its own clock: those of two machines differ.
    pub beat: i64,
}

/// Says that a process is alive.
pub async fn beat(db: &dyn Connection, name: &str, directory: &str) -> Result<(), Error> {
    db.execute(
        "insert into director_workers (name, directory, beat) values ($1, $2, 1) \
         on conflict (name) do update set beat = director_workers.beat + 1",
        params![name, directory],
    )
    .await?;
    Ok(())
}

/// All of them, dead or alive.
pub async fn list(db: &dyn Connection) -> Result<Vec<Worker>, Error> {
    all(
        db,
        "select name, directory, beat from director_workers order by name",
        vec![],
    )
    .await
}

/// Forgets a process that is gone.
pub async fn forget(db: &dyn Connection, name: &str) -> Result<(), Error> {
    db.execute(
        "delete from director_workers where name = $1",
        params![name],
    )
    .await?;
    Ok(())
}
