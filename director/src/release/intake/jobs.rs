//! Jobs of an upload (upstream: jobs/update_release.rb, jobs/release/release_job.rb).

use bosh_director_api::Code;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::{AT_ONCE, Changes, Intake, Known, check_file};
use crate::db::{self, Connection, ReleaseId, ReleaseVersionId, TemplateId};
use crate::release::blobs::Stored;
use crate::release::job::{self, Spec};
use crate::release::manifest::Job;
use crate::tasks::Error;

/// What to write of a job.
pub(super) enum Change {
    /// A new row.
    Create {
        meta: Job,
        spec: Box<Spec>,
        blob: String,
    },
    /// A row that this version uses too; with another archive if it is fixed.
    Use {
        id: TemplateId,
        archive: Option<(String, String)>,
    },
}

impl Change {
    pub(super) async fn write(
        &self,
        db: &dyn Connection,
        release: ReleaseId,
        version: ReleaseVersionId,
    ) -> Result<(), Error> {
        let id = match self {
            Self::Create { meta, spec, blob } => {
                let new = db::templates::NewTemplate {
                    name: meta.name.clone(),
                    version: meta.version.clone(),
                    fingerprint: meta.fingerprint.clone(),
                    blobstore_id: blob.clone(),
                    sha1: meta.sha1.clone(),
                    packages: spec.packages.clone(),
                    release_id: release,
                    spec: spec.spec.clone(),
                };
                db::templates::create(db, new).await?.id
            }
            Self::Use { id, archive } => {
                if let Some((blob, sha1)) = archive {
                    db::templates::set_blob(db, *id, blob, sha1).await?;
                }
                *id
            }
        };
        Ok(db::releases::add_template(db, version, id).await?)
    }
}

impl Intake<'_> {
    /// Checks and stores the jobs that are new or to be fixed.
    pub(super) async fn store_jobs(
        &self,
        known: &Known,
        stored: &Stored,
        changes: &mut Changes,
    ) -> Result<(), Error> {
        let ours = match known.release {
            Some(release) => db::templates::by_release(&self.director.db, release).await?,
            None => Vec::new(),
        };
        let (mut new, mut existing) = (Vec::new(), Vec::new());
        for meta in &self.manifest.jobs {
            let in_version = known
                .version_templates
                .iter()
                .find(|job| job.name == meta.name);
            if in_version.is_some_and(|job| job.fingerprint != meta.fingerprint) {
                return Err(Error::new(
                    Code::ReleaseExistingJobFingerprintMismatch,
                    format!(
                        "job '{}' had different fingerprint in previously uploaded release '{}'",
                        meta.name,
                        self.manifest.desc()
                    ),
                ));
            }
            match ours
                .iter()
                .find(|job| job.name == meta.name && job.version == meta.version)
            {
                None => new.push(meta),
                Some(row) if row.fingerprint == meta.fingerprint => existing.push((meta, row)),
                Some(_) => {
                    return Err(Error::new(
                        Code::ReleaseExistingJobHashMismatch,
                        format!(
                            "job '{}' was uploaded before with another fingerprint",
                            meta.desc()
                        ),
                    ));
                }
            }
        }
        if !new.is_empty() {
            let stage = self
                .task
                .stage("Creating new jobs", Vec::new(), Some(new.len()));
            let done = self
                .each(
                    &stage,
                    new,
                    |meta| meta.desc(),
                    |meta| async move {
                        let (spec, blob) = self.store_job(meta, stored).await?;
                        Ok(Change::Create {
                            meta: meta.clone(),
                            spec: Box::new(spec),
                            blob,
                        })
                    },
                )
                .await?;
            changes.jobs.extend(done);
        }
        if existing.is_empty() {
            return Ok(());
        }
        let plural = if existing.len() > 1 { "s" } else { "" };
        let name = format!("Processing {} existing job{plural}", existing.len());
        let futures: Vec<_> = existing
            .into_iter()
            .map(|(meta, row)| async move {
                self.task.checkpoint()?;
                let mut archive = None;
                if self.fix {
                    let (_, blob) = self.store_job(meta, stored).await?;
                    archive = Some((blob, meta.sha1.clone()));
                }
                let obsolete = archive.is_some().then(|| row.blobstore_id.clone());
                Ok::<_, Error>((
                    Change::Use {
                        id: row.id,
                        archive,
                    },
                    obsolete,
                ))
            })
            .collect();
        let work = stream::iter(futures)
            .buffered(AT_ONCE)
            .try_collect::<Vec<_>>();
        for (change, obsolete) in self.task.single_step(&name, work).await? {
            changes.jobs.push(change);
            changes.obsolete.extend(obsolete);
        }
        Ok(())
    }

    async fn store_job(&self, meta: &Job, stored: &Stored) -> Result<(Spec, String), Error> {
        let desc = format!("job '{}'", meta.desc());
        let path = self.file("jobs", &meta.name, &desc, Code::JobInvalidArchive)?;
        let job = meta.clone();
        let spec = check_file(path.clone(), meta.sha1.clone(), desc, move |path| {
            job::read(path, &job)
        })
        .await?;
        Ok((spec, stored.put(&path).await?))
    }
}
