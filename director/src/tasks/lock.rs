//! Locks that tasks hold (upstream: bosh-director/lib/bosh/director/lock.rb).

use std::time::Duration;

use bosh_director_api::Code;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::context::Context;
use super::error::Error;
use crate::db::{self, Db};

/// How long a lock outlives a director that died with it.
const LIFETIME: Duration = Duration::from_secs(241);
/// How often a holder says that it is alive.
const RENEWAL: Duration = Duration::from_secs(60);
/// How long a waiting task sleeps between looks, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// A lock that this task holds; dropping it gives it back.
#[derive(Debug)]
pub struct Lock {
    name: String,
    held: Option<DropGuard>,
    released: Option<tokio::task::JoinHandle<()>>,
}

impl Lock {
    /// Such as `lock:deployment:NAME`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Gives it back and waits until it is.
    pub async fn release(mut self) {
        drop(self.held.take());
        if let Some(released) = self.released.take() {
            // A panic in there was already reported by the runtime.
            let _ = released.await;
        }
    }
}

pub(super) async fn acquire(
    task: &Context,
    db: &Db,
    name: &str,
    wait: Duration,
    deployment: Option<&str>,
) -> Result<Lock, Error> {
    let uid = Uuid::new_v4().to_string();
    let deadline = Instant::now() + wait;
    let mut pause = FIRST_PAUSE;
    task.debug(format!("acquiring lock {name}"));
    while !db::locks::acquire(db, name, &uid, task.id(), LIFETIME).await? {
        task.checkpoint()?;
        if Instant::now() >= deadline {
            return Err(Error::new(
                Code::Generic,
                format!(
                    "Failed to acquire lock for {name} uid: {uid}. {}",
                    holder(db, name).await?
                ),
            ));
        }
        tokio::time::sleep(pause.min(deadline - Instant::now())).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    record(task, "acquire", name, deployment, None).await?;

    let token = CancellationToken::new();
    let held = token.clone().drop_guard();
    let (task, db, owned, deployment) = (
        task.clone(),
        db.clone(),
        name.to_owned(),
        deployment.map(str::to_owned),
    );
    let released = tokio::spawn(async move {
        hold(&task, &db, &owned, &uid, deployment.as_deref(), &token).await;
    });
    Ok(Lock {
        name: name.to_owned(),
        held: Some(held),
        released: Some(released),
    })
}

/// Renews the lock until the token fires, then releases it.
async fn hold(
    task: &Context,
    db: &Db,
    name: &str,
    uid: &str,
    deployment: Option<&str>,
    until: &CancellationToken,
) {
    loop {
        tokio::select! {
            () = until.cancelled() => break,
            () = tokio::time::sleep(RENEWAL) => {}
        }
        match db::locks::renew(db, name, uid, LIFETIME).await {
            Ok(true) => {}
            Ok(false) => {
                task.debug(format!("lock {name} was lost"));
                let why = Some("the lock expired and someone else took it".to_owned());
                if let Err(error) = record(task, "lost", name, deployment, why).await {
                    tracing::warn!(lock = name, %error, "event not recorded");
                }
                task.cancel_self();
                return;
            }
            // The next renewal still comes before the lock expires.
            Err(error) => tracing::warn!(lock = name, %error, "lock not renewed"),
        }
    }
    if let Err(error) = db::locks::release(db, name, uid).await {
        tracing::warn!(lock = name, %error, "lock not released, it will expire");
    }
    if let Err(error) = record(task, "release", name, deployment, None).await {
        tracing::warn!(lock = name, %error, "event not recorded");
    }
}

async fn holder(db: &Db, name: &str) -> Result<String, Error> {
    let Some(lock) = db::locks::find(db, name).await? else {
        return Ok("Lock is gone".to_owned());
    };
    let description = match lock.task_id.parse() {
        Ok(id) => db::tasks::get(db, id).await?.map(|task| task.description),
        Err(_) => None,
    };
    Ok(format!(
        "Locking task id is {}, description: '{}'",
        lock.task_id,
        description.unwrap_or_default()
    ))
}

async fn record(
    task: &Context,
    action: &str,
    name: &str,
    deployment: Option<&str>,
    error: Option<String>,
) -> Result<(), Error> {
    task.event(db::events::NewEvent {
        action: action.to_owned(),
        object_type: "lock".to_owned(),
        object_name: Some(name.to_owned()),
        deployment: deployment.map(str::to_owned),
        error,
        ..db::events::NewEvent::default()
    })
    .await?;
    Ok(())
}
