//! Compiles a release for a stemcell and packs it into one archive; the result names the archive's blob.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bosh_director_api::Code;
use bosh_protocol::MultiDigest;
use bosh_protocol::digest::Algorithm;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::app::Director;
use crate::compile;
use crate::db::releases::ReleaseVersion;
use crate::db::{self, StemcellId};
use crate::deploy::blueprint::Blueprint;
use crate::deploy::load;
use crate::deploy::plan::decision::{Compiled, CompiledPackage};
use crate::deploy::scope::Scope;
use crate::manifest::catalog;
use crate::manifest::raw;
use crate::manifest::resolved::{InstanceGroup, Job, Lifecycle, Release, Stemcell};
use crate::release::lookup;
use crate::tasks::{Context, Error};

/// How long to wait for another task of the deployment: a deploy is likely to take that long.
const LOCK: Duration = Duration::from_secs(15 * 60);

/// Compiles a release for a stemcell and packs it into one archive.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExportRelease {
    /// The deployment that uses the release, and on whose networks it is compiled.
    pub deployment: String,
    /// The release.
    pub release: String,
    /// Its version.
    pub version: String,
    /// The stemcell's operating system.
    pub os: String,
    /// The stemcell's version.
    pub stemcell: String,
    /// Whether the archive's digest is SHA-256 rather than SHA-1.
    #[serde(default)]
    pub sha2: bool,
    /// The jobs wanted; empty for all.
    #[serde(default)]
    pub jobs: Vec<String>,
}

impl ExportRelease {
    /// Runs the task.
    pub async fn run(self, director: &Director, task: &Context) -> Result<String, Error> {
        let what = format!(
            "{}/{} for {}/{}",
            self.release, self.version, self.os, self.stemcell
        );
        task.debug(format!("Exporting release: {what}"));
        let scope = Scope::of(director, task, &self.deployment).await?;
        lookup::release(scope.db(), &self.release).await?;
        let version = lookup::release_version(scope.db(), &self.release, &self.version).await?;
        self.check_manifest(&scope)?;
        let stemcell = self.find_stemcell(&scope).await?;
        let lock = format!("lock:deployment:{}", self.deployment);
        let lock = task.lock(&lock, LOCK).await?;
        let done = self.export(&scope, &version, stemcell).await;
        lock.release().await;
        done?;
        Ok(format!("Exported release: {what}"))
    }

    /// The deployment must have been deployed with this very version.
    fn check_manifest(&self, scope: &Scope) -> Result<(), Error> {
        let manifest = raw::parse(scope.deployment.manifest.as_deref().unwrap_or_default())?;
        let releases = manifest.get("releases").and_then(Value::as_array);
        let named = |release: &Value| {
            let version = match &release["version"] {
                Value::String(version) => version.clone(),
                other => other.to_string(),
            };
            release["name"] == self.release.as_str() && version == self.version
        };
        if releases.into_iter().flatten().any(named) {
            return Ok(());
        }
        Err(Error::new(
            Code::ReleaseNotMatchingManifest,
            format!(
                "Release version '{}/{}' not found in deployment '{}' manifest",
                self.release, self.version, self.deployment
            ),
        ))
    }

    /// The stemcell on each CPI; from now on the deployment uses it, so that nobody deletes it meanwhile.
    async fn find_stemcell(&self, scope: &Scope) -> Result<Stemcell, Error> {
        let candidates: Vec<catalog::Stemcell> = load::stemcells(scope)
            .await?
            .into_iter()
            .filter(|stemcell| stemcell.os == self.os && stemcell.version == self.stemcell)
            .collect();
        let Some(first) = candidates.first() else {
            return Err(Error::new(
                Code::StemcellNotFound,
                format!(
                    "Stemcell version '{}' for OS '{}' doesn't exist",
                    self.stemcell, self.os
                ),
            ));
        };
        let ids: Vec<StemcellId> = candidates
            .iter()
            .filter_map(|stemcell| i32::try_from(stemcell.id).ok().map(StemcellId))
            .collect();
        db::deployments::add_stemcells(scope.db(), scope.deployment.id, &ids).await?;
        Ok(Stemcell {
            alias: "default".into(),
            name: first.name.clone(),
            os: self.os.clone(),
            version: self.stemcell.clone(),
            candidates,
        })
    }

    async fn export(
        &self,
        scope: &Scope,
        version: &ReleaseVersion,
        stemcell: Stemcell,
    ) -> Result<(), Error> {
        let blueprint = Blueprint::new(scope).await?;
        let prepared = blueprint.prepared();
        let Some(release) = prepared.desired.release(&self.release) else {
            let message = format!("Release '{}' doesn't exist", self.release);
            return Err(Error::new(Code::ReleaseNotFound, message));
        };
        let jobs: Vec<Arc<catalog::Job>> = release
            .catalog
            .jobs
            .iter()
            .filter(|job| self.jobs.is_empty() || self.jobs.contains(&job.name))
            .cloned()
            .collect();
        let mut desired = prepared.desired.clone();
        desired.instance_groups = vec![group(release, &jobs, stemcell)];
        let properties = prepared.compilation_properties(scope).await?;
        let (values, set) = (&prepared.values, prepared.variable_set);
        let compiled = compile::run(scope, &desired, values, set, properties).await?;
        let packages = self.packages(&release.catalog, &jobs, &compiled);
        self.pack(scope, version, &jobs, &packages).await
    }

    /// The packages of `jobs` and all that those need, compiled.
    fn packages<'a>(
        &self,
        release: &'a catalog::ReleaseVersion,
        jobs: &[Arc<catalog::Job>],
        compiled: &'a Compiled,
    ) -> Vec<(&'a catalog::Package, &'a CompiledPackage)> {
        let mut wanted: BTreeSet<&str> = BTreeSet::new();
        let mut next: Vec<&str> = jobs
            .iter()
            .flat_map(|job| job.spec.packages.iter().map(String::as_str))
            .collect();
        let by_name: BTreeMap<&str, &Arc<catalog::Package>> = release
            .packages
            .iter()
            .map(|package| (package.name.as_str(), package))
            .collect();
        while let Some(name) = next.pop() {
            if wanted.insert(name)
                && let Some(package) = by_name.get(name)
            {
                next.extend(package.dependencies.iter().map(String::as_str));
            }
        }
        release
            .packages
            .iter()
            .filter(|package| wanted.contains(package.name.as_str()))
            .filter_map(|package| {
                let key = (package.id, self.os.clone(), self.stemcell.clone());
                Some((&**package, compiled.0.get(&key)?))
            })
            .collect()
    }

    /// Puts the archive into the blobstore and its id into the task's result.
    async fn pack(
        &self,
        scope: &Scope,
        version: &ReleaseVersion,
        jobs: &[Arc<catalog::Job>],
        packages: &[(&catalog::Package, &CompiledPackage)],
    ) -> Result<(), Error> {
        let tmp = scope.director.config.dir.join("tmp");
        tokio::fs::create_dir_all(&tmp).await?;
        let directory = tempfile::tempdir_in(&tmp)?;
        let at = |folder: &str| directory.path().join(folder);
        for folder in ["compiled_packages", "jobs"] {
            tokio::fs::create_dir(at(folder)).await?;
        }
        let stage = scope
            .task
            .stage("copying packages", Vec::new(), Some(packages.len()));
        for (package, compiled) in packages {
            let path = at("compiled_packages").join(format!("{}.tgz", package.name));
            let work = fetch(scope, &compiled.blobstore_id, &compiled.sha1, &path);
            let name = format!("{}/{}", package.name, package.version);
            stage.run(name, work).await?;
        }
        let stage = scope
            .task
            .stage("copying jobs", Vec::new(), Some(jobs.len()));
        for job in jobs {
            let path = at("jobs").join(format!("{}.tgz", job.name));
            let work = fetch(scope, &job.blobstore_id, &job.sha1, &path);
            stage
                .run(format!("{}/{}", job.name, job.version), work)
                .await?;
        }
        let manifest = self.manifest(version, jobs, packages);
        let text = format!("---\n{}", raw::to_yaml(&manifest)?);
        tokio::fs::write(at("release.MF"), text).await?;
        let archive = tempfile::Builder::new().suffix(".tgz").tempfile_in(&tmp)?;
        let (from, to) = (directory.path().to_owned(), archive.reopen()?);
        tokio::task::spawn_blocking(move || write(&from, to)).await??;
        let algorithm = if self.sha2 {
            Algorithm::Sha256
        } else {
            Algorithm::Sha1
        };
        let blobstore = &scope.director.blobstore;
        let stored = blobstore.put(archive.path(), &[algorithm]).await?;
        let (id, digest) = (stored.id.into_string(), stored.digest.to_string());
        db::misc::create_blob(scope.db(), &id, &digest, "exported-release").await?;
        let result = json!({ "blobstore_id": id, "sha1": digest });
        scope.task.result_line(&result)
    }

    /// The archive's release.MF (upstream: compiled_release_manifest.rb).
    fn manifest(
        &self,
        version: &ReleaseVersion,
        jobs: &[Arc<catalog::Job>],
        packages: &[(&catalog::Package, &CompiledPackage)],
    ) -> Value {
        let stemcell = format!("{}/{}", self.os, self.stemcell);
        let packages: Vec<Value> = packages
            .iter()
            .map(|(package, compiled)| {
                json!({
                    "name": package.name,
                    "version": package.version,
                    "fingerprint": package.fingerprint,
                    "sha1": compiled.sha1,
                    "stemcell": stemcell,
                    "dependencies": package.dependencies,
                })
            })
            .collect();
        let jobs: Vec<Value> = jobs
            .iter()
            .map(|job| {
                json!({
                    "name": job.name,
                    "version": job.version,
                    "fingerprint": job.fingerprint,
                    "sha1": job.sha1,
                })
            })
            .collect();
        json!({
            "compiled_packages": packages,
            "jobs": jobs,
            "commit_hash": version.commit_hash,
            "uncommitted_changes": version.uncommitted_changes,
            "name": version.name,
            "version": version.version,
        })
    }
}

/// An instance group that exists only so that its jobs' packages are compiled.
fn group(release: &Release, jobs: &[Arc<catalog::Job>], stemcell: Stemcell) -> InstanceGroup {
    let jobs = jobs.iter().map(|job| Job {
        name: job.name.clone(),
        release_name: release.name.clone(),
        release: Arc::clone(&release.catalog),
        catalog: Arc::clone(job),
        given: Map::new(),
        properties: Map::new(),
        provides: Map::new(),
        consumes: Map::new(),
        custom_providers: Vec::new(),
    });
    InstanceGroup {
        name: "dummy-job-for-compilation".into(),
        lifecycle: Lifecycle::Service,
        instances: 0,
        jobs: jobs.collect(),
        packages: Vec::new(),
        stemcell: Arc::new(stemcell),
        vm_type: None,
        vm_resources: None,
        vm_extensions: Vec::new(),
        env: Map::new(),
        update: Default::default(),
        networks: Vec::new(),
        default_networks: BTreeMap::new(),
        azs: Vec::new(),
        migrated_from: Vec::new(),
        state: None,
        instance_states: BTreeMap::new(),
        disks: Vec::new(),
        tags: Map::new(),
    }
}

async fn fetch(scope: &Scope, id: &str, sha1: &str, to: &Path) -> Result<(), Error> {
    scope.task.checkpoint()?;
    let digest: Option<MultiDigest> = sha1.parse().ok();
    let blobstore = &scope.director.blobstore;
    blobstore.get_to_file(id, digest.as_ref(), to).await?;
    Ok(())
}

/// What is in `from`, the manifest first, so that whoever reads the archive knows what follows.
fn write(from: &Path, to: std::fs::File) -> std::io::Result<()> {
    // What is in it is compressed already.
    let mut tar = tar::Builder::new(GzEncoder::new(to, Compression::fast()));
    tar.append_path_with_name(from.join("release.MF"), "./release.MF")?;
    for folder in ["jobs", "compiled_packages"] {
        tar.append_dir_all(format!("./{folder}"), from.join(folder))?;
    }
    tar.into_inner()?.finish()?.sync_all()
}
