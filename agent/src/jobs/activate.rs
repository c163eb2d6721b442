//! `prepare`, `apply` and what `start` configures: from an apply spec to links and supervised jobs.
//!
//! Upstream: agent/applier/concrete_applier.go, agent/applier/jobs, agent/applier/packages. Upstream fetches the archive of
//! rendered templates once per job; here one pass over it fills the directories of all jobs.

use super::{
    Error,
    fetch::{Blobs, Source},
    link::{self, Bundle, Collection},
    tarball::Target,
    unpack::{self, ATTEMPTS},
};
use crate::platform::{Dirs, Owner, Platform, files};
use async_trait::async_trait;
use bosh_protocol::ApplySpec;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::Mutex;

/// What the applier asks of the supervisor.
#[async_trait]
pub trait Supervise: Send + Sync {
    /// Forgets the configuration of all jobs; nothing is stopped.
    async fn remove_all_jobs(&self) -> Result<(), BoxError>;
    /// Takes a job's monit file; the index decides the order.
    async fn add_job(&self, name: &str, index: usize, monit_file: &Path) -> Result<(), BoxError>;
    /// Makes the configuration effective.
    async fn reload(&self) -> Result<(), BoxError>;
}

/// Any error of a supervisor.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What an applier is made of.
pub struct Options {
    /// Where things are.
    pub dirs: Dirs,
    /// Where blobs come from.
    pub blobs: Blobs,
    /// The machine.
    pub platform: Arc<dyn Platform>,
    /// The supervisor.
    pub supervisor: Arc<dyn Supervise>,
    /// Whom jobs and packages belong to: [`Owner::root_vcap`] but in tests.
    pub owner: Owner,
    /// How many blobs are fetched at a time: `env.bosh.parallel`.
    pub parallel: usize,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("dirs", &self.dirs)
            .finish_non_exhaustive()
    }
}

/// Installs and enables jobs and packages. Cheap to clone; clones wait for each other.
#[derive(Debug, Clone)]
pub struct Applier {
    options: Arc<Options>,
    /// Two tasks must not install the same thing.
    busy: Arc<Mutex<()>>,
}

/// Something to install: its source and the bundles that come out of it.
struct Install {
    source: Source,
    kind: &'static str,
    name: String,
    /// Directories of the archive (all of it if `None`) and the bundles they become.
    bundles: Vec<(Option<String>, Bundle)>,
}

/// A spec with its bundles.
struct Plan {
    jobs: Vec<Bundle>,
    packages: Vec<Bundle>,
    installs: Vec<Install>,
}

impl Applier {
    /// Nothing is touched yet.
    pub fn new(options: Options) -> Self {
        Self {
            options: Arc::new(options),
            busy: Arc::default(),
        }
    }

    /// Packages by version below data/packages, enabled in /var/vcap/packages.
    pub fn packages(&self) -> Collection {
        let dirs = &self.options.dirs;
        packages(dirs, dirs.packages(), self.options.owner)
    }

    fn jobs(&self) -> Collection {
        let dirs = &self.options.dirs;
        Collection {
            installed: dirs.data_jobs(),
            enabled: dirs.jobs(),
            mode: 0o750,
            owner: self.options.owner,
        }
    }

    /// Downloads and unpacks everything the spec needs and this machine has not, without enabling any of it.
    pub async fn prepare(&self, spec: &ApplySpec) -> Result<(), Error> {
        let _busy = self.busy.lock().await;
        let plan = self.plan(spec)?;
        self.install(plan.installs, "preparing").await?;
        self.forget_templates(spec)
    }

    /// Makes the spec's jobs and packages the enabled ones, removes all others, and empties the supervisor's
    /// configuration, which [`Applier::configure`] fills again. Nothing changes if anything cannot be installed.
    pub async fn apply(&self, spec: &ApplySpec) -> Result<(), Error> {
        let _busy = self.busy.lock().await;
        let options = &self.options;
        let plan = self.plan(spec)?;
        self.install(plan.installs, "applying").await?;

        options
            .supervisor
            .remove_all_jobs()
            .await
            .map_err(supervisor("removing all jobs"))?;
        let (jobs, packages) = (self.jobs(), self.packages());
        for job in &plan.jobs {
            self.enable_job(&jobs, job, &plan.packages)
                .map_err(Error::item("applying", "job", &job.name))?;
        }
        self.forget_templates(spec)?;
        jobs.keep_only(&plan.jobs, true)?;
        for package in &plan.packages {
            packages
                .enable(package)
                .map_err(Error::item("applying", "package", &package.name))?;
        }
        packages.keep_only(&plan.packages, true)?;
        options
            .supervisor
            .reload()
            .await
            .map_err(supervisor("reloading the supervisor"))?;
        Ok(options
            .platform
            .setup_logrotate("vcap", spec.max_log_file_size())
            .await?)
    }

    /// Gives the supervisor the monit files of the spec's jobs: the last job first, as upstream numbers them.
    pub async fn configure(&self, spec: &ApplySpec) -> Result<(), Error> {
        let _busy = self.busy.lock().await;
        let plan = self.plan(spec)?;
        for (index, job) in plan.jobs.iter().rev().enumerate() {
            self.configure_job(job, index).await.map_err(Error::item(
                "configuring",
                "job",
                &job.name,
            ))?;
        }
        self.options
            .supervisor
            .reload()
            .await
            .map_err(supervisor("reloading the supervisor"))
    }

    /// Makes the directories that jobs write to; they are gone after a reboot if they were in memory.
    pub fn create_job_directories(&self, spec: &ApplySpec) -> Result<(), Error> {
        for job in spec.jobs() {
            link::check_name("job name", &job.name)?;
            self.create_directories(&job.name)?;
        }
        Ok(())
    }

    fn plan(&self, spec: &ApplySpec) -> Result<Plan, Error> {
        let (job_collection, package_collection) = (self.jobs(), self.packages());
        let mut plan = Plan {
            jobs: Vec::new(),
            packages: Vec::new(),
            installs: Vec::new(),
        };
        if let Some(archive) = &spec.rendered_templates_archive {
            let mut missing = Vec::new();
            for job in spec.jobs() {
                let bundle = job_collection.bundle(
                    "job name",
                    &job.name,
                    &job.version,
                    Some(&archive.sha1),
                )?;
                if plan.jobs.contains(&bundle) {
                    continue;
                }
                if !job_collection.is_installed(&bundle) {
                    missing.push((Some(job.name.clone()), bundle.clone()));
                }
                plan.jobs.push(bundle);
            }
            if !missing.is_empty() {
                let names: Vec<&str> = missing
                    .iter()
                    .map(|(_, bundle)| bundle.name.as_str())
                    .collect();
                plan.installs.push(Install {
                    source: Source::blob(archive.blobstore_id.clone(), archive.sha1.clone()),
                    kind: "job",
                    name: names.join(", "),
                    bundles: missing,
                });
            }
        }
        for package in spec.packages.values() {
            let bundle = package_collection.bundle(
                "package name",
                &package.name,
                &package.version,
                Some(&package.sha1),
            )?;
            if plan.packages.contains(&bundle) {
                continue;
            }
            if !package_collection.is_installed(&bundle) {
                plan.installs.push(Install {
                    source: package_source(package),
                    kind: "package",
                    name: package.name.clone(),
                    bundles: vec![(None, bundle.clone())],
                });
            }
            plan.packages.push(bundle);
        }
        Ok(plan)
    }

    /// Runs all installs, some at a time; on an error the others still end, so that nothing writes behind our back.
    async fn install(&self, installs: Vec<Install>, operation: &'static str) -> Result<(), Error> {
        let all = installs
            .into_iter()
            .map(|install| self.install_one(install, operation));
        let results: Vec<Result<(), Error>> = stream::iter(all)
            .buffer_unordered(self.options.parallel.max(1))
            .collect()
            .await;
        results.into_iter().collect()
    }

    fn install_one(
        &self,
        install: Install,
        operation: &'static str,
    ) -> BoxFuture<'_, Result<(), Error>> {
        async move {
            let is_job = install.kind == "job";
            let collection = if is_job { self.jobs() } else { self.packages() };
            install_bundles(
                &collection,
                &self.options.blobs,
                &install.source,
                &install.bundles,
                is_job,
            )
            .await
            .map_err(Error::item(operation, install.kind, &install.name))
        }
        .boxed()
    }

    fn enable_job(&self, jobs: &Collection, job: &Bundle, wanted: &[Bundle]) -> Result<(), Error> {
        self.create_directories(&job.name)?;
        let link = jobs.enable(job)?;
        // The job's own view of its packages: links beside its templates.
        let own = packages(
            &self.options.dirs,
            link.join("packages"),
            self.options.owner,
        );
        for package in wanted {
            own.enable(package)
                .map_err(Error::item("applying", "package", &package.name))?;
        }
        own.keep_only(wanted, false)
    }

    fn create_directories(&self, job: &str) -> Result<(), Error> {
        let dirs = &self.options.dirs;
        for dir in [dirs.job_log(job), dirs.job_run(job), dirs.job_data(job)] {
            if !dir.exists() {
                files::mkdir(&dir, 0o770)?;
                self.options.owner.give(&dir)?;
            }
        }
        Ok(())
    }

    async fn configure_job(&self, job: &Bundle, index: usize) -> Result<(), Error> {
        if !job.path.is_dir() {
            let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
            return Err(Error::file("opening", &job.path, missing));
        }
        let supervise = &self.options.supervisor;
        let monit = job.path.join("monit");
        if monit.is_file() {
            supervise
                .add_job(&job.name, index, &monit)
                .await
                .map_err(supervisor("adding the monit file"))?;
        }
        for (label, path) in additional_monit_files(&job.path)? {
            let name = format!("{}_{label}", job.name);
            supervise
                .add_job(&name, index, &path)
                .await
                .map_err(supervisor("adding an additional monit file"))?;
        }
        Ok(())
    }

    fn forget_templates(&self, spec: &ApplySpec) -> Result<(), Error> {
        match &spec.rendered_templates_archive {
            Some(archive) => self.options.blobs.forget(&archive.blobstore_id),
            None => Ok(()),
        }
    }
}

pub(crate) fn packages(dirs: &Dirs, enabled: PathBuf, owner: Owner) -> Collection {
    Collection {
        installed: dirs.data_packages(),
        enabled,
        mode: 0o755,
        owner,
    }
}

pub(crate) fn package_source(package: &bosh_protocol::apply_spec::Package) -> Source {
    Source {
        digest: package.sha1.clone(),
        id: package.blobstore_id.clone(),
        signed_url: package.signed_url.clone(),
        headers: package.blobstore_headers.clone(),
    }
}

/// Fetches and unpacks one archive into its bundles, again if the transfer broke. Afterwards all of them are installed or
/// none is.
pub(crate) async fn install_bundles(
    collection: &Collection,
    blobs: &Blobs,
    source: &Source,
    bundles: &[(Option<String>, Bundle)],
    fix_permissions: bool,
) -> Result<(), Error> {
    let mut attempt = 1;
    loop {
        let result = install_once(collection, blobs, source, bundles, fix_permissions).await;
        let Err(error) = result else { return Ok(()) };
        for (_, bundle) in bundles {
            collection.abort(bundle)?;
        }
        if !error.is_retryable() || attempt == ATTEMPTS {
            return Err(error);
        }
        tracing::warn!(attempt, of = ATTEMPTS, error = %chain(&error), "installing failed, trying again");
        tokio::time::sleep(std::time::Duration::from_millis(200 << attempt)).await;
        attempt += 1;
    }
}

async fn install_once(
    collection: &Collection,
    blobs: &Blobs,
    source: &Source,
    bundles: &[(Option<String>, Bundle)],
    fix_permissions: bool,
) -> Result<(), Error> {
    let mut targets = Vec::new();
    for (prefix, bundle) in bundles {
        targets.push(Target {
            dir: collection.begin(bundle)?,
            prefix: prefix.clone(),
        });
    }
    unpack::unpack(blobs, source, targets.clone()).await?;
    for (target, (_, bundle)) in targets.iter().zip(bundles) {
        if fix_permissions {
            fix(&target.dir, &target.dir.join("bin"), collection.owner)?;
        }
        collection.commit(bundle)?;
    }
    Ok(())
}

/// Whatever modes templates were rendered with: only vcap's group may read them, only bin is executable.
/// Upstream: agent/applier/jobs/owner_fix.go.
fn fix(dir: &Path, bin: &Path, owner: Owner) -> Result<(), Error> {
    owner.give(dir)?;
    files::chmod(dir, 0o750)?;
    let wrap = |e| Error::file("listing", dir, e);
    for entry in fs::read_dir(dir).map_err(wrap)? {
        let entry = entry.map_err(wrap)?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(wrap)?);
        if kind.is_dir() {
            fix(&path, bin, owner)?;
            continue;
        }
        owner.give(&path)?;
        if kind.is_file() {
            files::chmod(&path, if path.starts_with(bin) { 0o750 } else { 0o640 })?;
        }
    }
    Ok(())
}

/// `<label>.monit` files beside `monit`, by label.
fn additional_monit_files(job: &Path) -> Result<Vec<(String, PathBuf)>, Error> {
    let wrap = |e| Error::file("listing", job, e);
    let mut found = Vec::new();
    for entry in fs::read_dir(job).map_err(wrap)? {
        let path = entry.map_err(wrap)?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.ends_with(".monit") && path.is_file() {
            found.push((name.replacen(".monit", "", 1), path));
        }
    }
    found.sort();
    Ok(found)
}

fn supervisor(operation: &'static str) -> impl FnOnce(BoxError) -> Error {
    move |source| Error::Supervisor { operation, source }
}

pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
