//! What a deployment uses: written down before anything is made of it, and again, exactly, when all went well.
//!
//! Upstream: deployment_plan/stages/{persist_deployment,cleanup_stemcell_references}_stage.rb.

use super::prepare::Prepared;
use super::scope::Scope;
use super::{Error, dns, links};
use crate::db::{self, ConfigId, InstanceId, ReleaseVersionId, StemcellId};
use crate::manifest::raw;
use crate::manifest::resolved::Desired;

/// Notes the releases and stemcells that are going to be used, beside those in use, so that nobody deletes them; and
/// which links and aliases instances use.
pub async fn begin(scope: &Scope, prepared: &Prepared) -> Result<(), Error> {
    let id = scope.deployment.id;
    let tx = scope.db().begin().await?;
    db::deployments::add_release_versions(&tx, id, &releases(&prepared.desired)).await?;
    db::deployments::add_stemcells(&tx, id, &stemcells(&prepared.desired)).await?;
    tx.commit().await?;
    if let Some(kept) = &prepared.kept {
        links::bind(scope, kept, &instances(prepared)).await?;
    }
    dns::write_aliases(scope, prepared.renderer.links(), prepared.renderer.index()).await
}

/// Notes what was deployed.
pub async fn end(scope: &Scope, prepared: &Prepared, manifest_text: &str) -> Result<(), Error> {
    let (id, desired) = (scope.deployment.id, &prepared.desired);
    let manifest = format!("---\n{}", raw::to_yaml(&desired.manifest)?);
    let configs: Vec<ConfigId> = prepared
        .cloud_configs
        .iter()
        .copied()
        .chain(desired.runtime_configs.iter().filter_map(config))
        .collect();
    let tx = scope.db().begin().await?;
    db::deployments::set_manifest(&tx, id, &manifest, manifest_text).await?;
    db::deployments::set_release_versions(&tx, id, &releases(desired)).await?;
    db::deployments::set_stemcells(&tx, id, &stemcells(desired)).await?;
    db::deployments::set_configs(&tx, id, &configs).await?;
    if prepared.kept.is_some() {
        db::deployments::set_stale_errand_links(&tx, id, false).await?;
    }
    Ok(tx.commit().await?)
}

/// Forgets what is no longer used.
pub async fn tidy(scope: &Scope, prepared: &Prepared) -> Result<(), Error> {
    match &prepared.kept {
        Some(kept) => links::remove_stale(scope, kept).await,
        None => Ok(()),
    }
}

fn config(id: &i64) -> Option<ConfigId> {
    i32::try_from(*id).ok().map(ConfigId)
}

fn releases(desired: &Desired) -> Vec<ReleaseVersionId> {
    let ids = desired.releases.iter().map(|release| release.catalog.id);
    ids.filter_map(|id| i32::try_from(id).ok().map(ReleaseVersionId))
        .collect()
}

fn stemcells(desired: &Desired) -> Vec<StemcellId> {
    let ids = desired
        .stemcells
        .iter()
        .flat_map(|stemcell| &stemcell.candidates)
        .map(|stemcell| stemcell.id);
    ids.filter_map(|id| i32::try_from(id).ok().map(StemcellId))
        .collect()
}

fn instances(prepared: &Prepared) -> Vec<(InstanceId, String)> {
    let groups = prepared.placement.groups.iter().zip(&prepared.written.ids);
    groups
        .flat_map(|(group, ids)| ids.iter().map(|id| (*id, group.name.clone())))
        .collect()
}
