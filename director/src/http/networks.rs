//! `/networks`: managed networks, those in use and those that no deployment uses (upstream: networks_controller.rb).

use axum::extract::Path;
use bosh_director_api::{Code, OrphanedNetwork};

use super::auth::Permission;
use super::error::{Error, Result};
use super::{Request, reply};
use crate::db::{self, Timestamp};
use crate::tasks::{Work, jobs};

pub(super) async fn list(request: Request) -> Result {
    request.require(Permission::Admin)?;
    // Upstream lists only orphans, and answers 500 to all else.
    let orphaned = !matches!(request.param("orphaned"), None | Some("false"));
    let networks = db::networks::list(&request.director.db).await?;
    let orphans: Vec<OrphanedNetwork> = networks
        .into_iter()
        .filter(|network| (network.orphaned == Some(true)) == orphaned)
        .map(|network| OrphanedNetwork {
            name: network.name,
            kind: network.kind,
            created_at: network.created_at.to_ruby(),
            orphaned_at: network
                .orphaned_at
                .map(Timestamp::to_ruby)
                .unwrap_or_default(),
        })
        .collect();
    Ok(reply::json(&orphans))
}

pub(super) async fn delete(request: Request, Path(name): Path<String>) -> Result {
    request.require(Permission::Admin)?;
    let Some(network) = db::networks::find(&request.director.db, &name).await? else {
        let why = format!("Deleting non-existing network {name}");
        return Err(Error::new(Code::NetworkNotFoundError, why));
    };
    if network.orphaned != Some(true) {
        let why = format!("Deleting unorphaned network is not supported: {name}");
        return Err(Error::new(Code::NetworkDeletingUnorphanedError, why));
    }
    let work = Work::DeleteOrphanNetworks(jobs::delete_orphan_networks::DeleteOrphanNetworks {
        networks: vec![name],
    });
    reply::enqueue(&request, work, None, "delete orphan networks").await
}
