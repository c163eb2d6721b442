//! Compiled packages of an upload (upstream: jobs/update_release/package_persister.rb).

use std::collections::HashMap;

use bosh_director_api::Code;

use super::packages::Sorted;
use super::{Changes, Intake, Known};
use crate::db::{self, CompiledPackageId, Connection, PackageId};
use crate::release::blobs::Stored;
use crate::release::manifest::{self, Node, Package};
use crate::tasks::Error;

/// What to write of a compiled package.
pub(super) enum Change {
    /// A new row for the package of that name.
    Create {
        package: String,
        new: Box<db::packages::NewCompiledPackage>,
    },
    /// Another blob for a row.
    Replace {
        id: CompiledPackageId,
        blob: String,
        sha1: String,
    },
}

impl Change {
    pub(super) async fn write(
        &self,
        db: &dyn Connection,
        ids: &HashMap<String, PackageId>,
    ) -> Result<(), Error> {
        match self {
            Self::Create { package, new } => {
                let package_id = ids.get(package).copied().ok_or_else(|| {
                    Error::other(format!(
                        "package '{package}' was not written before its compiled one"
                    ))
                })?;
                let new = db::packages::NewCompiledPackage {
                    package_id,
                    ..(**new).clone()
                };
                db::packages::create_compiled(db, new).await?;
            }
            Self::Replace { id, blob, sha1 } => {
                db::packages::set_compiled_blob(db, *id, blob, sha1).await?;
            }
        }
        Ok(())
    }
}

impl Intake<'_> {
    /// Checks and stores the compiled packages that are new or to be fixed.
    pub(super) async fn store_compiled(
        &self,
        known: &Known,
        packages: &[Sorted<'_>],
        stored: &Stored,
        changes: &mut Changes,
    ) -> Result<(), Error> {
        let total = Some(packages.len());
        let stage = self
            .task
            .stage("Creating new compiled packages", Vec::new(), total);
        let mut wanted = Vec::new();
        for package in packages {
            let key = self.dependency_key(known, packages, package.meta)?;
            let Some((os, version)) = &package.meta.stemcell else {
                continue;
            };
            let existing = match &package.existing {
                Some(row) => {
                    db::packages::find_compiled(&self.director.db, row.id, os, version, &key)
                        .await?
                }
                None => None,
            };
            match existing {
                None => wanted.push((package, key, os.clone(), version.clone())),
                Some(existing) if self.fix => {
                    let blob = self.store_bits(package.meta, stored).await?;
                    changes.obsolete.push(existing.blobstore_id);
                    changes.compiled.push(Change::Replace {
                        id: existing.id,
                        blob,
                        sha1: package.meta.sha1.clone(),
                    });
                }
                Some(_) => {}
            }
        }
        let name = |(package, _, os, version): &(&Sorted<'_>, String, String, String)| {
            format!("{} for {os}/{version}", package.meta.desc())
        };
        let done = self
            .each(&stage, wanted, name, |(package, key, os, version)| {
                self.create_compiled(package.meta, key, os, version, stored)
            })
            .await?;
        for (mut more, obsolete) in done {
            changes.compiled.append(&mut more);
            changes.obsolete.extend(obsolete);
        }
        Ok(())
    }

    async fn create_compiled(
        &self,
        meta: &Package,
        dependency_key: String,
        os: String,
        version: String,
        stored: &Stored,
    ) -> Result<(Vec<Change>, Vec<String>), Error> {
        let similar = self.similar(meta, &dependency_key, &os, &version).await?;
        let (mut changes, mut obsolete) = (Vec::new(), Vec::new());
        let (blob, sha1) = match similar.first() {
            Some(similar) if !self.fix => (
                stored.copy(&similar.blobstore_id).await?,
                similar.sha1.clone(),
            ),
            _ => (self.store_bits(meta, stored).await?, meta.sha1.clone()),
        };
        if self.fix {
            for similar in similar {
                changes.push(Change::Replace {
                    id: similar.id,
                    blob: stored.copy(&blob).await?,
                    sha1: sha1.clone(),
                });
                obsolete.push(similar.blobstore_id);
            }
        }
        changes.push(Change::Create {
            package: meta.name.clone(),
            new: Box::new(db::packages::NewCompiledPackage {
                package_id: PackageId(0),
                blobstore_id: blob,
                sha1,
                dependency_key,
                stemcell_os: os,
                stemcell_version: version,
            }),
        });
        Ok((changes, obsolete))
    }

    /// What was compiled of the same package in other releases, against the
    /// same things, for the same stemcell.
    async fn similar(
        &self,
        meta: &Package,
        dependency_key: &str,
        os: &str,
        version: &str,
    ) -> Result<Vec<db::packages::CompiledPackage>, Error> {
        let Some(fingerprint) = meta.fingerprint.clone() else {
            return Ok(Vec::new());
        };
        let db = &self.director.db;
        let packages = db::packages::by_fingerprint(db, &[fingerprint]).await?;
        let ids: Vec<_> = packages
            .iter()
            .filter(|p| p.name == meta.name)
            .map(|p| p.id)
            .collect();
        let mut compiled = db::packages::compiled_for(db, &ids).await?;
        compiled.retain(|compiled| {
            compiled.dependency_key == dependency_key
                && compiled.stemcell_os.as_deref() == Some(os)
                && compiled.stemcell_version.as_deref() == Some(version)
        });
        Ok(compiled)
    }

    async fn store_bits(&self, meta: &Package, stored: &Stored) -> Result<String, Error> {
        let desc = format!("compiled package '{}'", meta.desc());
        self.store_tgz(self.manifest.folder(), meta, desc, stored)
            .await
    }

    /// The key by the rows that the version has or will have, which must be the
    /// one that the manifest gives.
    fn dependency_key(
        &self,
        known: &Known,
        packages: &[Sorted<'_>],
        meta: &Package,
    ) -> Result<String, Error> {
        let of_manifest: Vec<Node<'_>> = self
            .manifest
            .packages
            .iter()
            .map(|package| Node {
                name: &package.name,
                version: &package.version,
                dependencies: package.dependencies.clone(),
            })
            .collect();
        let mut of_rows: Vec<Node<'_>> = packages
            .iter()
            .map(|package| Node {
                name: &package.meta.name,
                version: &package.meta.version,
                dependencies: match &package.existing {
                    Some(row) => row.dependencies(),
                    None => package.meta.dependencies.clone(),
                },
            })
            .collect();
        for row in &known.version_packages {
            if !of_rows.iter().any(|node| node.name == row.name) {
                of_rows.push(Node {
                    name: &row.name,
                    version: &row.version,
                    dependencies: row.dependencies(),
                });
            }
        }
        let key = manifest::key(&of_manifest, &meta.name);
        match (manifest::key(&of_rows, &meta.name), key) {
            (Some(by_rows), Some(key)) if by_rows == key => Ok(key),
            _ => Err(Error::new(
                Code::ReleasePackageDependencyKeyMismatch,
                format!(
                    "The uploaded release contains package dependencies in '{}' that do not match \
                     database records.",
                    meta.name
                ),
            )),
        }
    }
}
