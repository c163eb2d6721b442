//! Compiles one package.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bosh_blobstore::Action;
use bosh_director_api::Code;
use serde_json::{Map, Value, json};

use super::requirements::Requirements;
use super::vms::Pool;
use crate::db;
use crate::db::PackageId;
use crate::db::packages::{CompiledPackage as Row, NewCompiledPackage};
use crate::deploy::Error;
use crate::deploy::scope::Scope;
use crate::deploy::subject::Subject;
use crate::manifest::catalog::Package;
use crate::manifest::resolved::Stemcell;

/// How long to wait for another deployment that compiles the same package.
const WAIT: Duration = Duration::from_secs(15 * 60);

/// A package to compile, with all that is compiled already.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) display: String,
    pub(super) package: Arc<Package>,
    pub(super) stemcell: Arc<Stemcell>,
    dependency_key: String,
    dependencies: BTreeMap<String, Dependency>,
}

#[derive(Debug, Clone)]
struct Dependency {
    version: String,
    sha1: String,
    blobstore_id: String,
}

impl Job {
    pub(super) fn of(requirements: &Requirements, index: usize) -> Self {
        let requirement = &requirements.list[index];
        let dependencies = requirement.dependencies.iter().filter_map(|&index| {
            let dependency = &requirements.list[index];
            let row = dependency.compiled.as_ref()?;
            let compiled = Dependency {
                version: format!("{}.{}", dependency.package.version, row.build),
                sha1: row.sha1.clone(),
                blobstore_id: row.blobstore_id.clone(),
            };
            Some((dependency.package.name.clone(), compiled))
        });
        Self {
            display: requirement.display(),
            package: requirement.package.clone(),
            stemcell: requirement.stemcell.clone(),
            dependency_key: requirement.dependency_key.clone(),
            dependencies: dependencies.collect(),
        }
    }
}

/// Compiles the package unless another deployment just did.
pub(super) async fn compile(scope: &Scope, pool: &Pool<'_>, job: &Job) -> Result<Row, Error> {
    let (package, stemcell) = (&job.package, &job.stemcell);
    let name = format!(
        "lock:compile:{}:{}/{}",
        package.id, stemcell.os, stemcell.version
    );
    let lock = scope.task.lock(&name, WAIT).await?;
    let id = PackageId(i32::try_from(package.id).unwrap_or(-1));
    let find = db::packages::find_compiled(
        scope.db(),
        id,
        &stemcell.os,
        &stemcell.version,
        &job.dependency_key,
    );
    let row = match find.await? {
        Some(row) => row,
        None => {
            let build = next_build(scope, id, stemcell).await?;
            let vm = pool.obtain(stemcell, &package.name).await?;
            let result = on_vm(scope, &vm, job, build).await;
            let result = pool.give_back(stemcell, vm, result).await?;
            let new = NewCompiledPackage {
                package_id: id,
                blobstore_id: result.blobstore_id,
                sha1: result.sha1,
                dependency_key: job.dependency_key.clone(),
                stemcell_os: stemcell.os.clone(),
                stemcell_version: stemcell.version.clone(),
            };
            db::packages::create_compiled(scope.db(), new).await?
        }
    };
    lock.release().await;
    Ok(row)
}

async fn next_build(scope: &Scope, id: PackageId, stemcell: &Stemcell) -> Result<i32, Error> {
    let rows = db::packages::compiled_for(scope.db(), &[id]).await?;
    let builds = rows.iter().filter(|row| {
        row.stemcell_os.as_deref() == Some(&stemcell.os)
            && row.stemcell_version.as_deref() == Some(&stemcell.version)
    });
    Ok(builds.map(|row| row.build).max().unwrap_or(0) + 1)
}

struct Compiled {
    blobstore_id: String,
    sha1: String,
}

async fn on_vm(scope: &Scope, vm: &Subject, job: &Job, build: i32) -> Result<Compiled, Error> {
    let package = &job.package;
    let agent = vm.agent(scope)?;
    let version = format!("{}.{build}", package.version);
    let (source, sha1) = match (&package.blobstore_id, &package.sha1) {
        (Some(source), Some(sha1)) => (source, sha1),
        _ => {
            let message = format!("package '{}' has no source", job.display);
            return Err(Error::new(Code::PackageMissingSourceCode, message));
        }
    };
    let signed = scope.can_sign(job.stemcell.api_version());
    let mut dependencies = Map::new();
    for (name, dependency) in &job.dependencies {
        let mut entry = json!({
            "name": name,
            "version": dependency.version,
            "sha1": dependency.sha1,
            "blobstore_id": dependency.blobstore_id,
        });
        if signed {
            entry["package_get_signed_url"] =
                json!(scope.sign(&dependency.blobstore_id, Action::Get).await?);
            scope.add_blobstore_headers(&mut entry);
        }
        dependencies.insert(name.clone(), entry);
    }
    let (answer, own) = if signed {
        let target = scope.director.blobstore.generate_id().into_string();
        let mut request = json!({
            "package_get_signed_url": scope.sign(source, Action::Get).await?,
            "upload_signed_url": scope.sign(&target, Action::Put).await?,
            "digest": sha1,
            "name": package.name,
            "version": version,
            "deps": dependencies,
        });
        scope.add_blobstore_headers(&mut request);
        (
            agent
                .send_cancellable("compile_package_with_signed_url", vec![request])
                .await?,
            Some(target),
        )
    } else {
        let arguments = vec![
            json!(source),
            json!(sha1),
            json!(package.name),
            json!(version),
            Value::Object(dependencies),
        ];
        (
            agent.send_cancellable("compile_package", arguments).await?,
            None,
        )
    };
    let result = &answer["result"];
    let blobstore_id = own
        .or_else(|| result["blobstore_id"].as_str().map(str::to_owned))
        .unwrap_or_default();
    if uuid::Uuid::try_parse(&blobstore_id).is_err() {
        let message = "Compilation task result contained an invalid blobstore object id";
        return Err(Error::new(
            Code::PackageCompilationInvalidTaskBlobstoreId,
            message,
        ));
    }
    match result["sha1"].as_str() {
        Some(sha1) if !sha1.is_empty() => Ok(Compiled {
            blobstore_id,
            sha1: sha1.to_owned(),
        }),
        _ => Err(Error::new(
            Code::AgentInvalidTaskResult,
            format!(
                "compiled package '{}': the agent told no digest",
                job.display
            ),
        )),
    }
}
