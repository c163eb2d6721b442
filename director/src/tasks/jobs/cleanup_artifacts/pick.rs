//! What a clean-up may delete (upstream: jobs/helpers/*_to_delete_picker.rb).

use std::collections::{BTreeMap, HashSet};

use super::CleanupArtifacts;
use crate::db::{self, Db};
use crate::manifest::raw;
use crate::manifest::version::Version;
use crate::tasks::Error;
use crate::tasks::jobs::clean_dns_blobs::CleanDnsBlobs;

/// How many unused versions of a release or stemcell stay, unless all are to go.
const KEEP: usize = 2;
/// How many blobs of DNS records stay, and for how many seconds all do.
const KEEP_DNS: usize = 10;
const DNS_AGE: u64 = 3600;

/// What may be deleted.
#[derive(Debug, Default)]
pub(super) struct Picked {
    /// Versions by release, oldest first.
    pub(super) releases: Vec<(String, Vec<String>)>,
    pub(super) stemcells: Vec<db::stemcells::Stemcell>,
    /// With the package's name.
    pub(super) compiled: Vec<(String, db::packages::CompiledPackage)>,
    pub(super) disks: Vec<db::disks::OrphanDisk>,
    pub(super) vms: Vec<db::vms::OrphanedVm>,
    pub(super) exported: Vec<db::misc::Blob>,
    pub(super) dns: Vec<db::misc::Blob>,
}

impl CleanupArtifacts {
    pub(super) async fn pick(&self, db: &Db) -> Result<Picked, Error> {
        let keep = if self.remove_all { 0 } else { KEEP };
        let stemcells = stemcells(db, keep).await?;
        Ok(Picked {
            releases: releases(db, keep).await?,
            compiled: if self.remove_all {
                compiled(db, &stemcells).await?
            } else {
                Vec::new()
            },
            disks: if self.remove_all && !self.keep_orphaned_disks {
                db::disks::orphans(db).await?
            } else {
                Vec::new()
            },
            vms: db::vms::orphans(db).await?,
            exported: db::misc::blobs(db, "exported-release").await?,
            dns: self.dns(db).await?,
            stemcells,
        })
    }

    async fn dns(&self, db: &Db) -> Result<Vec<db::misc::Blob>, Error> {
        let in_use = !db::deployments::names(db).await?.is_empty();
        let (max_blob_age, num_dns_blobs_to_keep) = match (self.remove_all, in_use) {
            (true, true) => (0, 1),
            (true, false) => (0, 0),
            (false, _) => (DNS_AGE, KEEP_DNS),
        };
        CleanDnsBlobs {
            max_blob_age,
            num_dns_blobs_to_keep,
        }
        .pick(db)
        .await
    }
}

async fn releases(db: &Db, keep: usize) -> Result<Vec<(String, Vec<String>)>, Error> {
    let used: HashSet<_> = db::releases::versions_in_use(db)
        .await?
        .into_iter()
        .collect();
    // What addons of runtime configs name is needed by the next deploy.
    let mut named = HashSet::new();
    for config in db::configs::latest_set(db, "runtime").await? {
        let config = raw::parse(&config.content)?;
        for release in config["releases"].as_array().into_iter().flatten() {
            let text = |key: &str| release[key].as_str().unwrap_or_default().to_owned();
            named.insert((text("name"), text("version")));
        }
    }
    let mut by_name: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for version in db::releases::all_versions(db).await? {
        let versions = by_name.entry(version.name.clone()).or_default();
        if !used.contains(&version.id) && !named.contains(&(version.name, version.version.clone()))
        {
            versions.push(version.version);
        }
    }
    let mut picked = Vec::new();
    for (name, mut versions) in by_name {
        versions.sort_by_key(|version| Version::of_release(version));
        versions.truncate(versions.len().saturating_sub(keep));
        if !versions.is_empty() {
            picked.push((name, versions));
        }
    }
    Ok(picked)
}

async fn stemcells(db: &Db, keep: usize) -> Result<Vec<db::stemcells::Stemcell>, Error> {
    let used = db::stemcells::deployments_using(db).await?;
    let mut by_name: BTreeMap<String, Vec<db::stemcells::Stemcell>> = BTreeMap::new();
    for stemcell in db::stemcells::list(db).await? {
        if !used.contains_key(&stemcell.id) {
            by_name
                .entry(stemcell.name.clone())
                .or_default()
                .push(stemcell);
        }
    }
    let mut picked = Vec::new();
    for mut stemcells in by_name.into_values() {
        stemcells.sort_by_key(|stemcell| Version::of_stemcell(&stemcell.version));
        stemcells.truncate(stemcells.len().saturating_sub(keep));
        picked.extend(stemcells);
    }
    Ok(picked)
}

/// Compiled packages for whose stemcell nothing is left.
async fn compiled(
    db: &Db,
    going: &[db::stemcells::Stemcell],
) -> Result<Vec<(String, db::packages::CompiledPackage)>, Error> {
    let mut staying: Vec<(String, String)> = Vec::new();
    for stemcell in db::stemcells::list(db).await? {
        if !going.iter().any(|going| going.id == stemcell.id) {
            staying.push((stemcell.os().to_owned(), stemcell.version));
        }
    }
    let mut picked = Vec::new();
    for (name, compiled) in db::packages::all_compiled(db).await? {
        let os = compiled.stemcell_os.as_deref().unwrap_or_default();
        let version = compiled.stemcell_version.as_deref().unwrap_or_default();
        // A package compiled for another patch version of a stemcell fits too.
        let fits = |(theirs, other): &(String, String)| {
            theirs == os
                && match (Version::of_stemcell(version), Version::of_stemcell(other)) {
                    (Some(a), Some(b)) => a.same_major(&b),
                    _ => version == other,
                }
        };
        if !staying.iter().any(fits) {
            picked.push((name, compiled));
        }
    }
    Ok(picked)
}
