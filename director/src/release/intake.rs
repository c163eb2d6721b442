//! From an unpacked archive to blobs and rows.

mod compiled;
mod jobs;
mod packages;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bosh_director_api::Code;
use bosh_protocol::MultiDigest;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::archive::{self, Unpacked};
use super::blobs::{self, Stored};
use super::manifest::Manifest;
use super::version;
use crate::app::Director;
use crate::db::{self, Connection, ReleaseId, ReleaseVersionId};
use crate::tasks::{Context, Error, Stage};

/// How many files are checked and stored at once.
const AT_ONCE: usize = 8;
/// What `commit_hash` says when release.MF does not.
const UNKNOWN: &str = "unknown";

/// An upload under way.
pub(crate) struct Intake<'a> {
    director: &'a Director,
    task: &'a Context,
    manifest: Manifest,
    files: Unpacked,
    fix: bool,
}

/// What the database has of the release so far.
#[derive(Default)]
struct Known {
    release: Option<ReleaseId>,
    version: Option<ReleaseVersionId>,
    version_packages: Vec<db::packages::Package>,
    version_templates: Vec<db::templates::Template>,
}

/// What is to be written once all blobs are stored.
#[derive(Default)]
struct Changes {
    packages: Vec<packages::Change>,
    compiled: Vec<compiled::Change>,
    jobs: Vec<jobs::Change>,
    /// Blobs that nothing refers to after that.
    obsolete: Vec<String>,
}

impl<'a> Intake<'a> {
    /// Reads and checks what an archive says it is.
    pub(crate) fn new(
        director: &'a Director,
        task: &'a Context,
        files: Unpacked,
        fix: bool,
    ) -> Result<Self, Error> {
        let Some(path) = files.path("release.MF") else {
            return Err(Error::new(
                Code::ReleaseManifestNotFound,
                "Release manifest not found",
            ));
        };
        let text = archive::read_text(path)
            .map_err(|error| Error::new(Code::ReleaseInvalidArchive, error.to_string()))?;
        let manifest = Manifest::parse(&text)?;
        Ok(Self {
            director,
            task,
            manifest,
            files,
            fix,
        })
    }

    /// The release's name.
    pub(crate) fn name(&self) -> &str {
        &self.manifest.name
    }

    /// Takes the release in; `name/version`. The release's lock must be held.
    pub(crate) async fn run(mut self, rebase: bool) -> Result<String, Error> {
        if rebase {
            self.rebase().await?;
        }
        let known = self.known().await?;
        let stored = Stored::new(&self.director.blobstore);
        let mut changes = Changes::default();
        let outcome = match self.store(&known, &stored, &mut changes).await {
            Ok(()) => self.write(&changes).await,
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            stored.discard().await;
            return Err(error);
        }
        stored.keep();
        blobs::delete_all(&self.director.blobstore, changes.obsolete).await;
        let what = if self.manifest.compiled {
            "Compiled Release has been created"
        } else {
            "Release has been created"
        };
        let stage = self.task.stage(what, Vec::new(), Some(1));
        stage.start(self.manifest.desc()).finish();
        Ok(self.manifest.desc())
    }

    async fn rebase(&mut self) -> Result<(), Error> {
        let versions = db::releases::versions(&self.director.db, &self.manifest.name).await?;
        let versions: Vec<String> = versions
            .into_iter()
            .map(|version| version.version)
            .collect();
        let next = version::rebase(&self.manifest.version, &versions).ok_or_else(|| {
            Error::new(
                Code::ReleaseVersionInvalid,
                format!(
                    "Failed to Rebase - Invalid Version: '{}' has no part behind a '+'",
                    self.manifest.version
                ),
            )
        })?;
        self.task
            .debug(format!("rebased {} to {next}", self.manifest.desc()));
        self.manifest.version = next;
        Ok(())
    }

    async fn known(&mut self) -> Result<Known, Error> {
        let db = &self.director.db;
        let manifest = &self.manifest;
        let mut known = Known {
            release: db::releases::find(db, &manifest.name)
                .await?
                .map(|release| release.id),
            ..Known::default()
        };
        let found = db::releases::find_version(db, &manifest.name, &manifest.version).await?;
        if let Some(version) = found {
            let ours = manifest.commit_hash.as_deref().unwrap_or(UNKNOWN);
            let theirs = version.commit_hash.as_deref().unwrap_or(UNKNOWN);
            let uncommitted = version.uncommitted_changes.unwrap_or(false);
            if ours != theirs || manifest.uncommitted_changes != uncommitted {
                return Err(Error::new(
                    Code::ReleaseVersionCommitHashMismatch,
                    format!(
                        "release '{}' has already been uploaded with commit_hash as '{theirs}' and \
                         uncommitted_changes as '{uncommitted}'",
                        manifest.desc()
                    ),
                ));
            }
            // An upload by a director that writes row by row broke off.
            self.fix |= !version.update_completed;
            known.version = Some(version.id);
            known.version_packages = db::packages::by_release_version(db, version.id).await?;
            known.version_templates = db::templates::by_release_version(db, version.id).await?;
        }
        Ok(known)
    }

    /// Checks everything and stores its blobs.
    async fn store(
        &self,
        known: &Known,
        stored: &Stored,
        changes: &mut Changes,
    ) -> Result<(), Error> {
        // Dependencies were resolved while reading the manifest.
        let stage = "Resolving package dependencies";
        self.task
            .single_step(stage, async { Ok::<_, Error>(()) })
            .await?;
        let packages = self.sort_packages(known).await?;
        self.store_packages(&packages, stored, changes).await?;
        if self.manifest.compiled {
            self.store_compiled(known, &packages, stored, changes)
                .await?;
        }
        self.store_jobs(known, stored, changes).await
    }

    /// Writes all rows, or none.
    async fn write(&self, changes: &Changes) -> Result<(), Error> {
        self.task.checkpoint()?;
        let manifest = &self.manifest;
        let tx = self.director.db.begin().await?;
        let release = db::releases::find_or_create(&tx, &manifest.name).await?;
        let found = db::releases::find_version(&tx, &manifest.name, &manifest.version).await?;
        let version = match found {
            Some(version) => version.id,
            None => {
                let hash = manifest.commit_hash.as_deref().unwrap_or(UNKNOWN);
                let uncommitted = manifest.uncommitted_changes;
                db::releases::create_version(&tx, release.id, &manifest.version, hash, uncommitted)
                    .await?
            }
        };
        let mut ids = HashMap::new();
        for change in &changes.packages {
            let id = change.write(&tx, release.id, version).await?;
            ids.insert(change.name().to_owned(), id);
        }
        for change in &changes.compiled {
            change.write(&tx, &ids).await?;
        }
        for change in &changes.jobs {
            change.write(&tx, release.id, version).await?;
        }
        db::releases::set_completed(&tx, version, true).await?;
        tx.commit().await?;
        Ok(())
    }

    /// The file of a package or job, which must be in the archive.
    fn file(&self, folder: &str, name: &str, desc: &str, code: Code) -> Result<PathBuf, Error> {
        let path = format!("{folder}/{name}.tgz");
        let found = self.files.path(&path).map(Path::to_path_buf);
        found.ok_or_else(|| {
            Error::new(
                code,
                format!("{desc}: {path} is missing from the release archive"),
            )
        })
    }

    /// Runs `work` on every item, some at once, each as a step of the stage.
    async fn each<T, U, F>(
        &self,
        stage: &Stage,
        items: impl IntoIterator<Item = T>,
        name: impl Fn(&T) -> String,
        work: impl Fn(T) -> F,
    ) -> Result<Vec<U>, Error>
    where
        F: Future<Output = Result<U, Error>>,
    {
        let futures: Vec<_> = items
            .into_iter()
            .map(|item| {
                let name = name(&item);
                let work = work(item);
                async move {
                    self.task.checkpoint()?;
                    stage.run(name, work).await
                }
            })
            .collect();
        stream::iter(futures).buffered(AT_ONCE).try_collect().await
    }
}

/// Checks a file's digest, off the runtime's threads, and then the file itself.
async fn check_file<T: Send + 'static>(
    path: PathBuf,
    digest: String,
    desc: String,
    check: impl FnOnce(&Path) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(move || {
        let wrong = |error: bosh_protocol::digest::Error| {
            Error::new(Code::ReleaseSha1DoesNotMatch, format!("{desc}: {error}"))
        };
        let digest = MultiDigest::parse(&digest).map_err(wrong)?;
        let mut verifier = digest.verifier().map_err(wrong)?;
        let mut file = std::fs::File::open(&path)?;
        let mut buffer = vec![0; 128 * 1024];
        loop {
            let read = std::io::Read::read(&mut file, &mut buffer)?;
            if read == 0 {
                break;
            }
            verifier.update(&buffer[..read]);
        }
        verifier.finish().map_err(wrong)?;
        check(&path)
    })
    .await?
}

/// Links a row to the version, whichever kind it is.
async fn link_package(
    db: &dyn Connection,
    version: ReleaseVersionId,
    package: db::PackageId,
) -> Result<(), Error> {
    Ok(db::releases::add_package(db, version, package).await?)
}
