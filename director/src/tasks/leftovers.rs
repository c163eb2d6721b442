//! What a director that was killed had the cloud make and could not write down: deleted again.

use std::sync::Arc;
use std::time::Duration;

use bosh_cpi::{Cpi, Leftover};
use tokio_util::sync::CancellationToken;

use crate::app::Director;
use crate::db;

/// How often to look. What a program still makes is found when it has ended.
const PAUSE: Duration = Duration::from_secs(5);
/// How long tasks wait for the first look: what is deleted may have the addresses that they are to use.
const FIRST: Duration = Duration::from_secs(60);

/// Once, before tasks begin.
pub(super) async fn first(director: &Director) {
    if tokio::time::timeout(FIRST, look(director)).await.is_err() {
        tracing::warn!("what the cloud was left with takes long to delete; tasks begin meanwhile");
    }
}

/// Until `shutdown`.
pub(super) async fn keep_looking(director: Director, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = look(&director) => {}
        }
    }
}

async fn look(director: &Director) {
    let Some(journal) = &director.config.cpi.journal else {
        return;
    };
    let found = match bosh_cpi::leftovers(journal) {
        Ok(found) => found,
        Err(error) => {
            tracing::error!(directory = %journal.display(), %error, "CPI calls of dead directors not found");
            return;
        }
    };
    for leftover in found {
        let asked = leftover.asked.clone();
        match settle(director, &leftover).await {
            Ok(()) => leftover.forget(),
            // Tried again in the next round.
            Err(error) => tracing::error!(
                method = asked.method,
                request = asked.request_id,
                error = format!("{error:#}"),
                "what a dead director had made is still there"
            ),
        }
    }
}

async fn settle(director: &Director, leftover: &Leftover) -> anyhow::Result<()> {
    let asked = &leftover.asked;
    // Nothing was made, or nothing that the program could name.
    let Some(cid) = leftover.cid() else {
        return Ok(());
    };
    if db::misc::is_known(&director.db, &cid).await? {
        return Ok(());
    }
    tracing::warn!(
        method = asked.method,
        cid,
        "a dead director had this made and not written down; deleting it"
    );
    let mut options = bosh_cpi::Options::new(&asked.executable, &director.uuid);
    options.properties = asked.properties.clone();
    options.preferred_api_version = director.config.cpi.preferred_api_version;
    options.timeout = director.config.cpi.timeout;
    let cpi = Cpi::new(options).for_stemcell(asked.stemcell_api_version);
    let log = Arc::new(());
    let deleted = match asked.method.as_str() {
        "create_vm" => cpi.delete_vm(&cid, &*log).await,
        _ => cpi.delete_disk(&cid, &*log).await,
    };
    match deleted {
        Err(error) if !error.is_vm_not_found() && !error.is_disk_not_found() => Err(error.into()),
        _ => Ok(()),
    }
}
