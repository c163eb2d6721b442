//! Deleting releases: rows in one transaction, then their blobs.
//!
//! Upstream: jobs/helpers/{name_version_release,release,release_version,package,template}_deleter.rb.
//! Upstream deletes a blob before its row and stops at the first failure; here
//! the rows go first, so that nothing ever refers to a blob that is gone.

use bosh_director_api::Code;

use crate::app::Director;
use crate::db::{self, Tx};
use crate::manifest::version;
use crate::tasks::{Context, Error};

/// Deletes one version, or all of them. The release's lock must be held.
pub(crate) async fn delete(
    director: &Director,
    task: &Context,
    name: &str,
    version: Option<&str>,
    force: bool,
) -> Result<(), Error> {
    let db = &director.db;
    let release = db::releases::find(db, name).await?.ok_or_else(|| {
        Error::new(
            Code::ReleaseNotFound,
            format!("Release '{name}' doesn't exist"),
        )
    })?;
    let all = db::releases::versions(db, name).await?;
    let wanted = match version {
        None => all.clone(),
        Some(text) => vec![find(&all, name, text)?],
    };
    check_unused(director, name, version.is_some(), &wanted).await?;

    let tx = db.begin().await?;
    let mut blobs = Vec::new();
    // What only these versions had is unused once they are gone.
    for version in &wanted {
        db::releases::delete_version(&tx, version.id).await?;
    }
    let packages = db::packages::unused(&tx, release.id).await?;
    let stage = task.stage("Deleting packages", Vec::new(), Some(packages.len()));
    for package in packages {
        let work = delete_package(&tx, &package, &mut blobs);
        stage.run(package.desc(), work).await?;
    }
    let jobs = db::templates::unused(&tx, release.id).await?;
    let stage = task.stage("Deleting jobs", Vec::new(), Some(jobs.len()));
    for job in jobs {
        let desc = format!("{}/{}", job.name, job.version);
        stage.run(desc, db::templates::delete(&tx, job.id)).await?;
        blobs.push(job.blobstore_id);
    }
    if wanted.len() == all.len() {
        db::releases::delete(&tx, release.id).await?;
    }
    tx.commit().await?;
    let stage = task.stage("Deleting release versions", Vec::new(), Some(wanted.len()));
    for version in &wanted {
        stage.start(format!("{name}/{}", version.version)).finish();
    }
    delete_blobs(director, task, blobs, force).await
}

async fn delete_package(
    tx: &Tx,
    package: &db::packages::Package,
    blobs: &mut Vec<String>,
) -> Result<(), Error> {
    for compiled in db::packages::compiled_for(tx, &[package.id]).await? {
        db::packages::delete_compiled(tx, compiled.id).await?;
        blobs.push(compiled.blobstore_id);
    }
    blobs.extend(package.blobstore_id.clone());
    db::packages::delete(tx, package.id).await?;
    Ok(())
}

/// Deletes blobs that no row refers to any more. Without `force` the task
/// fails when one cannot be deleted; the others are gone all the same.
pub(crate) async fn delete_blobs(
    director: &Director,
    task: &Context,
    blobs: Vec<String>,
    force: bool,
) -> Result<(), Error> {
    let mut failed = None;
    for id in blobs {
        if let Err(error) = director.blobstore.delete(&id).await {
            task.debug(format!("blob {id} not deleted: {error}"));
            failed.get_or_insert(error);
        }
    }
    match failed {
        Some(error) if !force => Err(Error::because(Code::Generic.number(), error)),
        _ => Ok(()),
    }
}

fn find(
    all: &[db::releases::ReleaseVersion],
    name: &str,
    text: &str,
) -> Result<db::releases::ReleaseVersion, Error> {
    let same = |version: &&db::releases::ReleaseVersion| {
        version.version == text || version::modern(&version.version) == version::modern(text)
    };
    all.iter().find(same).cloned().ok_or_else(|| {
        let why = format!("Release version '{name}/{text}' doesn't exist");
        Error::new(Code::ReleaseVersionNotFound, why)
    })
}

async fn check_unused(
    director: &Director,
    name: &str,
    one: bool,
    versions: &[db::releases::ReleaseVersion],
) -> Result<(), Error> {
    let mut users = std::collections::BTreeSet::new();
    for version in versions {
        users.extend(db::releases::deployments_using(&director.db, version.id).await?);
    }
    if users.is_empty() {
        return Ok(());
    }
    let users: Vec<String> = users.into_iter().collect();
    let users = users.join(", ");
    Err(match versions.first() {
        Some(version) if one => Error::new(
            Code::ReleaseVersionInUse,
            format!(
                "ReleaseVersion '{name}/{}' is still in use by: {users}",
                version.version
            ),
        ),
        _ => Error::new(
            Code::ReleaseInUse,
            format!("Release '{name}' is still in use by: {users}"),
        ),
    })
}
