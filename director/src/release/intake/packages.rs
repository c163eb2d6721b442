//! Packages of an upload (upstream: jobs/update_release/package_processor.rb,
//! package_persister.rb).

use bosh_director_api::Code;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::{AT_ONCE, Changes, Intake, Known, check_file, link_package};
use crate::db::{self, Connection, PackageId, ReleaseId, ReleaseVersionId};
use crate::release::archive;
use crate::release::blobs::Stored;
use crate::release::manifest::Package;
use crate::tasks::Error;

/// A package of the upload beside what the database knows of it.
pub(super) struct Sorted<'a> {
    pub(super) meta: &'a Package,
    /// Its row, if this release has it in any version.
    pub(super) existing: Option<db::packages::Package>,
    /// Whether this version has it already.
    pub(super) registered: bool,
    /// `(blob, digest)` of the same source in another release.
    reusable: Option<(String, String)>,
}

/// What to write of a package.
pub(super) struct Change {
    meta: Package,
    existing: Option<PackageId>,
    /// `(blob, digest)` of the source, if it is new.
    source: Option<(String, String)>,
    /// Compiled packages that were made of a source that is being replaced.
    outdated: Vec<db::CompiledPackageId>,
}

impl Change {
    pub(super) fn name(&self) -> &str {
        &self.meta.name
    }

    pub(super) async fn write(
        &self,
        db: &dyn Connection,
        release: ReleaseId,
        version: ReleaseVersionId,
    ) -> Result<PackageId, Error> {
        for id in &self.outdated {
            db::packages::delete_compiled(db, *id).await?;
        }
        let id = match self.existing {
            Some(id) => {
                if let Some((blob, sha1)) = &self.source {
                    db::packages::set_source(db, id, blob, sha1).await?;
                }
                id
            }
            None => {
                let new = db::packages::NewPackage {
                    name: self.meta.name.clone(),
                    version: self.meta.version.clone(),
                    fingerprint: self.meta.fingerprint.clone(),
                    dependencies: self.meta.dependencies.clone(),
                    release_id: release,
                    source: self.source.clone(),
                };
                db::packages::create(db, new).await?.id
            }
        };
        link_package(db, version, id).await?;
        Ok(id)
    }
}

impl Intake<'_> {
    /// Looks up every package of the manifest.
    pub(super) async fn sort_packages(&self, known: &Known) -> Result<Vec<Sorted<'_>>, Error> {
        let db = &self.director.db;
        let fingerprints: Vec<String> = self
            .manifest
            .packages
            .iter()
            .filter_map(|p| p.fingerprint.clone())
            .collect();
        let alike = db::packages::by_fingerprint(db, &fingerprints).await?;
        let ours = match known.release {
            Some(release) => db::packages::by_release(db, release).await?,
            None => Vec::new(),
        };
        let mut sorted = Vec::with_capacity(self.manifest.packages.len());
        for meta in &self.manifest.packages {
            let in_version = known.version_packages.iter().find(|p| p.name == meta.name);
            if in_version.is_some_and(|package| package.fingerprint != meta.fingerprint) {
                return Err(Error::new(
                    Code::ReleaseInvalidPackage,
                    format!(
                        "package '{}' had different fingerprint in previously uploaded release '{}'",
                        meta.name,
                        self.manifest.desc()
                    ),
                ));
            }
            let existing = ours
                .iter()
                .find(|package| package.name == meta.name && package.version == meta.version);
            if existing.is_some_and(|package| package.fingerprint != meta.fingerprint) {
                return Err(Error::new(
                    Code::ReleaseExistingPackageHashMismatch,
                    format!(
                        "package '{}' was uploaded before with another fingerprint",
                        meta.desc()
                    ),
                ));
            }
            let reusable = alike
                .iter()
                .filter(|package| {
                    meta.fingerprint.is_some() && package.fingerprint == meta.fingerprint
                })
                .find_map(|package| Some((package.blobstore_id.clone()?, package.sha1.clone()?)));
            sorted.push(Sorted {
                meta,
                registered: existing.is_some_and(|package| {
                    known.version_packages.iter().any(|p| p.id == package.id)
                }),
                existing: existing.cloned(),
                reusable,
            });
        }
        Ok(sorted)
    }

    /// Checks and stores the sources that are new or to be fixed.
    pub(super) async fn store_packages(
        &self,
        packages: &[Sorted<'_>],
        stored: &Stored,
        changes: &mut Changes,
    ) -> Result<(), Error> {
        let new: Vec<_> = packages
            .iter()
            .filter(|package| package.existing.is_none())
            .collect();
        if !new.is_empty() {
            let stage = self
                .task
                .stage("Creating new packages", Vec::new(), Some(new.len()));
            let done = self
                .each(
                    &stage,
                    new,
                    |package| package.meta.desc(),
                    |package| self.store_package(package, stored),
                )
                .await?;
            changes
                .packages
                .extend(done.into_iter().map(|(change, _)| change));
        }
        for registered in [false, true] {
            let group: Vec<_> = packages
                .iter()
                .filter(|package| package.existing.is_some() && package.registered == registered)
                .collect();
            // A compiled release changes nothing about packages that are there.
            if group.is_empty() || (registered && self.manifest.compiled) {
                for package in group {
                    changes.packages.push(self.unchanged(package));
                }
                continue;
            }
            let plural = if group.len() > 1 { "s" } else { "" };
            let name = format!("Processing {} existing package{plural}", group.len());
            let stage = self.task.stage(&name, Vec::new(), Some(1));
            let futures: Vec<_> = group
                .into_iter()
                .map(|package| async move {
                    self.task.checkpoint()?;
                    self.store_package(package, stored).await
                })
                .collect();
            let work = stream::iter(futures)
                .buffered(AT_ONCE)
                .try_collect::<Vec<_>>();
            for (change, obsolete) in stage.run(&name, work).await? {
                changes.packages.push(change);
                changes.obsolete.extend(obsolete);
            }
        }
        Ok(())
    }

    fn unchanged(&self, package: &Sorted<'_>) -> Change {
        Change {
            meta: package.meta.clone(),
            existing: package.existing.as_ref().map(|existing| existing.id),
            source: None,
            outdated: Vec::new(),
        }
    }

    /// What to write of one package, and the blobs that are obsolete then.
    async fn store_package(
        &self,
        package: &Sorted<'_>,
        stored: &Stored,
    ) -> Result<(Change, Vec<String>), Error> {
        let mut change = self.unchanged(package);
        let mut obsolete = Vec::new();
        let has_source = package
            .existing
            .as_ref()
            .is_some_and(|existing| existing.blobstore_id.is_some());
        if self.manifest.compiled || (has_source && !self.fix) {
            return Ok((change, obsolete));
        }
        change.source = Some(match &package.reusable {
            Some((blob, sha1)) if !self.fix => {
                self.task.debug(format!(
                    "package {}: the source is here already",
                    package.meta.desc()
                ));
                (stored.copy(blob).await?, sha1.clone())
            }
            _ => (
                self.store_source(package.meta, stored).await?,
                package.meta.sha1.clone(),
            ),
        });
        if let Some(existing) = &package.existing
            && has_source
        {
            obsolete.extend(existing.blobstore_id.clone());
            let compiled = db::packages::compiled_for(&self.director.db, &[existing.id]).await?;
            for compiled in compiled {
                change.outdated.push(compiled.id);
                obsolete.push(compiled.blobstore_id);
            }
        }
        Ok((change, obsolete))
    }

    async fn store_source(&self, meta: &Package, stored: &Stored) -> Result<String, Error> {
        let desc = format!("package '{}'", meta.desc());
        self.store_tgz("packages", meta, desc, stored).await
    }

    /// Checks and stores a packed package, source or compiled; its blob.
    pub(super) async fn store_tgz(
        &self,
        folder: &str,
        meta: &Package,
        desc: String,
        stored: &Stored,
    ) -> Result<String, Error> {
        let path = self.file(folder, &meta.name, &desc, Code::PackageInvalidArchive)?;
        let what = desc.clone();
        check_file(path.clone(), meta.sha1.clone(), desc, move |path| {
            archive::check(path).map_err(|error| {
                let why = format!("Extracting {what} archive failed: {error}");
                Error::new(Code::PackageInvalidArchive, why)
            })
        })
        .await?;
        stored.put(&path).await
    }
}
