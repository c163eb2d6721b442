//! Compiles what is missing, dependencies first, as many packages at a time as there are workers.

use std::collections::VecDeque;

use bosh_director_api::Code;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::{Map, Value};

use super::package;
use super::requirements::{Requirements, package_ids};
use super::vms::Pool;
use crate::db::{self, PackageId, VariableSetId};
use crate::deploy::Error;
use crate::deploy::plan::decision::{Compiled, CompiledPackage};
use crate::deploy::scope::Scope;
use crate::manifest::resolved::Desired;
use crate::variables::Values;

/// Compiles what `desired` needs and is not compiled yet; all that it needs, compiled.
///
/// `cloud_properties` are those of a compilation VM, `vm_resources` turned into them.
pub async fn run(
    scope: &Scope,
    desired: &Desired,
    values: &Values,
    variable_set: VariableSetId,
    cloud_properties: Map<String, Value>,
) -> Result<Compiled, Error> {
    let mut requirements = scope
        .task
        .stage("Preparing package compilation", Vec::new(), Some(1))
        .run("Finding packages to compile", find(scope, desired))
        .await?;
    let missing = requirements.missing();
    if missing > 0 {
        if desired.compilation.workers == 0 {
            let message = "compilation: expected at least one worker in the cloud config";
            return Err(Error::new(
                Code::PackageCompilationNotEnoughWorkersForReuse,
                message,
            ));
        }
        let pool = Pool::new(scope, desired, values, variable_set, cloud_properties);
        let compiled = compile(scope, desired, &mut requirements, missing, &pool).await;
        let emptied = pool.delete_all().await;
        compiled?;
        emptied?;
    }
    Ok(table(&requirements))
}

/// What is compiled by now, as plans have it.
pub fn table(requirements: &Requirements) -> Compiled {
    let compiled = requirements.list.iter().filter_map(|requirement| {
        let row = requirement.compiled.as_ref()?;
        let (package, stemcell) = (&requirement.package, &requirement.stemcell);
        let key = (package.id, stemcell.os.clone(), stemcell.version.clone());
        let compiled = CompiledPackage {
            name: package.name.clone(),
            version: format!("{}.{}", package.version, row.build),
            sha1: row.sha1.clone(),
            blobstore_id: row.blobstore_id.clone(),
        };
        Some((key, compiled))
    });
    Compiled(compiled.collect())
}

/// What is needed and what of it is compiled.
pub(crate) async fn find(scope: &Scope, desired: &Desired) -> Result<Requirements, Error> {
    let ids: Vec<PackageId> = package_ids(desired)
        .into_iter()
        .filter_map(|id| i32::try_from(id).ok().map(PackageId))
        .collect();
    let rows = db::packages::compiled_for(scope.db(), &ids).await?;
    Ok(Requirements::of(desired, &rows)?)
}

async fn compile(
    scope: &Scope,
    desired: &Desired,
    requirements: &mut Requirements,
    missing: usize,
    pool: &Pool<'_>,
) -> Result<(), Error> {
    let stage = scope
        .task
        .stage("Compiling packages", Vec::new(), Some(missing));
    scope.task.checkpoint()?;
    let workers = desired.compilation.workers as usize;
    let mut ready: VecDeque<usize> = requirements.ready().into();
    let mut running = FuturesUnordered::new();
    let mut failure = None;
    loop {
        while failure.is_none() && running.len() < workers {
            let Some(index) = ready.pop_front() else {
                break;
            };
            let job = package::Job::of(requirements, index);
            let stage = stage.clone();
            running.push(async move {
                let compiled = stage
                    .run(job.display.clone(), package::compile(scope, pool, &job))
                    .await;
                (index, compiled)
            });
        }
        let Some((index, compiled)) = running.next().await else {
            break;
        };
        match compiled {
            Ok(row) => {
                requirements.list[index].compiled = Some(row);
                let unblocked = (index + 1..requirements.list.len())
                    .filter(|&next| requirements.list[next].dependencies.contains(&index))
                    .filter(|&next| requirements.is_ready(next));
                ready.extend(unblocked);
            }
            Err(error) => {
                failure.get_or_insert(error);
            }
        }
    }
    match failure {
        Some(error) => Err(error),
        None => Ok(()),
    }
}
