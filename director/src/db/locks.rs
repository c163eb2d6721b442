//! Locks with a holder and an expiry.

use std::time::Duration;

use sea_orm::FromQueryResult;

use super::connection::{Connection, Error, all, first, params};
use super::row::{TaskId, Timestamp};

/// A row of `locks`.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct Lock {
    /// Such as `lock:deployment:NAME`.
    pub name: String,
    /// Of the holder; a new one each time.
    pub uid: String,
    /// When it is anyone's for the taking.
    pub expired_at: Timestamp,
    /// The task that holds it.
    pub task_id: String,
}

/// Takes a lock that is free or expired; false when it is held.
pub async fn acquire(
    db: &dyn Connection,
    name: &str,
    uid: &str,
    task: TaskId,
    lifetime: Duration,
) -> Result<bool, Error> {
    let now = Timestamp::now();
    let changed = db
        .execute(
            "insert into locks (name, uid, expired_at, task_id) values ($1, $2, $3, $4) \
             on conflict (name) do update set uid = excluded.uid, \
             expired_at = excluded.expired_at, task_id = excluded.task_id \
             where locks.expired_at < $5",
            params![name, uid, now + lifetime, task.to_string(), now],
        )
        .await?;
    Ok(changed == 1)
}

/// Moves the expiry; false when someone else has it by now.
pub async fn renew(
    db: &dyn Connection,
    name: &str,
    uid: &str,
    lifetime: Duration,
) -> Result<bool, Error> {
    let changed = db
        .execute(
            "update locks set expired_at = $1 where name = $2 and uid = $3",
            params![Timestamp::now() + lifetime, name, uid],
        )
        .await?;
    Ok(changed == 1)
}

/// Gives it back.
pub async fn release(db: &dyn Connection, name: &str, uid: &str) -> Result<(), Error> {
    db.execute(
        "delete from locks where name = $1 and uid = $2",
        params![name, uid],
    )
    .await?;
    Ok(())
}

/// The lock of that name, held or expired.
pub async fn find(db: &dyn Connection, name: &str) -> Result<Option<Lock>, Error> {
    first(db, "select * from locks where name = $1", params![name]).await
}

/// The locks that are held.
pub async fn list(db: &dyn Connection) -> Result<Vec<Lock>, Error> {
    all(
        db,
        "select * from locks where expired_at > $1 order by name",
        params![Timestamp::now()],
    )
    .await
}

/// Frees whatever a dead task holds.
pub async fn release_all(db: &dyn Connection, task: TaskId) -> Result<(), Error> {
    db.execute(
        "delete from locks where task_id = $1",
        params![task.to_string()],
    )
    .await?;
    Ok(())
}
