//! `/releases`, `/jobs` and `/packages`.

use std::collections::{HashMap, HashSet};

use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use bosh_director_api::{
    Code, ExportRelease, InspectedCompiledPackage, InspectedJob, InspectedPackage,
    InspectedRelease, Release, ReleaseDetails, ReleaseJob, ReleasePackage, ReleaseVersion,
};
use serde_json::{Value, json};

use super::auth::Permission;
use super::error::{Error, Result};
use super::{Media, Request, reply, uploads};
use crate::db;
use crate::manifest::raw;
use crate::manifest::version::Version;
use crate::release::{dependency_key, lookup};
use crate::tasks::{Work, jobs};

pub(super) async fn list(request: Request) -> Result {
    request.require(Permission::ReadOwn)?;
    Ok(reply::json(&all(&request.director.db).await?))
}

/// All releases by name, their versions in order.
async fn all(db: &db::Db) -> Result<Vec<Release>> {
    let used: HashSet<_> = db::releases::versions_in_use(db)
        .await?
        .into_iter()
        .collect();
    let mut jobs = db::templates::names_by_version(db).await?;
    let mut releases: Vec<Release> = Vec::new();
    for found in db::releases::all_versions(db).await? {
        let shown = ReleaseVersion {
            version: found.version,
            commit_hash: found.commit_hash,
            uncommitted_changes: found.uncommitted_changes,
            currently_deployed: used.contains(&found.id),
            job_names: jobs.remove(&found.id).unwrap_or_default(),
        };
        match releases.last_mut() {
            Some(release) if release.name == found.name => release.release_versions.push(shown),
            _ => releases.push(Release {
                name: found.name,
                release_versions: vec![shown],
            }),
        }
    }
    for release in &mut releases {
        release
            .release_versions
            .sort_by_key(|shown| Version::of_release(&shown.version));
    }
    Ok(releases)
}

pub(super) async fn upload(request: Request, body: Body) -> Result {
    request.require(Permission::UploadReleases)?;
    let (source, sha1) = uploads::receive(&request, body).await?;
    let work = Work::UpdateRelease(jobs::update_release::UpdateRelease {
        source,
        sha1,
        rebase: request.flag("rebase"),
        fix: request.flag("fix"),
    });
    reply::enqueue(&request, work, None, "create release").await
}

pub(super) async fn show(request: Request, Path(name): Path<String>) -> Result {
    request.require(Permission::ReadOwn)?;
    let name = name.trim();
    let db = &request.director.db;
    let release = lookup::release(db, name).await?;
    if let Some(version) = request.param("version") {
        return inspect(&request, name, version).await;
    }
    let packages = db::packages::by_release(db, release.id).await?;
    let packages = packages
        .into_iter()
        .map(|package| ReleasePackage {
            dependencies: package.dependencies(),
            name: package.name,
            sha1: package.sha1,
            version: package.version,
        })
        .collect();
    let jobs = db::templates::by_release(db, release.id).await?;
    let jobs = jobs
        .into_iter()
        .map(|job| ReleaseJob {
            packages: job.packages(),
            name: job.name,
            sha1: job.sha1,
            version: job.version,
        })
        .collect();
    let versions = db::releases::versions(db, name).await?;
    let versions = versions
        .into_iter()
        .map(|version| version.version)
        .collect();
    Ok(reply::json(&ReleaseDetails {
        packages,
        jobs,
        versions,
    }))
}

async fn inspect(request: &Request, name: &str, version: &str) -> Result {
    let db = &request.director.db;
    let found = lookup::release_version(db, name, version).await?;
    let jobs = db::templates::by_release_version(db, found.id).await?;
    let jobs = jobs
        .into_iter()
        .map(|job| {
            let spec = job.spec();
            let list = |key: &str| match spec.get(key) {
                Some(Value::Array(list)) => Value::Array(list.clone()),
                _ => json!([]),
            };
            InspectedJob {
                consumes: list("consumes"),
                provides: list("provides"),
                name: job.name,
                blobstore_id: job.blobstore_id,
                sha1: job.sha1,
                fingerprint: job.fingerprint.unwrap_or_default(),
            }
        })
        .collect();
    let packages = db::packages::by_release_version(db, found.id).await?;
    let ids: Vec<_> = packages.iter().map(|package| package.id).collect();
    let mut compiled: HashMap<_, Vec<_>> = HashMap::new();
    for found in db::packages::compiled_for(db, &ids).await? {
        let stemcell = format!(
            "{}/{}",
            found.stemcell_os.unwrap_or_default(),
            found.stemcell_version.unwrap_or_default()
        );
        let shown = InspectedCompiledPackage {
            stemcell,
            sha1: found.sha1,
            blobstore_id: found.blobstore_id,
        };
        compiled.entry(found.package_id).or_default().push(shown);
    }
    let packages = packages
        .into_iter()
        .map(|package| {
            let mut compiled_packages = compiled.remove(&package.id).unwrap_or_default();
            compiled_packages.sort_by(|a, b| a.stemcell.cmp(&b.stemcell));
            InspectedPackage {
                compiled_packages,
                name: package.name,
                blobstore_id: package.blobstore_id,
                sha1: package.sha1,
                fingerprint: package.fingerprint.unwrap_or_default(),
            }
        })
        .collect();
    Ok(reply::json(&InspectedRelease { jobs, packages }))
}

pub(super) async fn delete(request: Request, Path(name): Path<String>) -> Result {
    request.require(Permission::Admin)?;
    lookup::release(&request.director.db, &name).await?;
    let work = Work::DeleteRelease(jobs::delete_release::DeleteRelease {
        version: request.param("version").map(str::to_owned),
        force: request.flag("force"),
        name: name.clone(),
    });
    reply::enqueue(&request, work, None, format!("delete release: {name}")).await
}

/// `POST /releases/export`.
pub(super) async fn export(request: Request, body: Bytes) -> Result {
    request.require(Permission::Admin)?;
    let wanted: ExportRelease = request.json(&body)?;
    let description = format!(
        "export release: '{}/{}' for '{}/{}'",
        wanted.release_name, wanted.release_version, wanted.stemcell_os, wanted.stemcell_version
    );
    let work = Work::ExportRelease(jobs::export_release::ExportRelease {
        deployment: wanted.deployment_name,
        release: wanted.release_name,
        version: wanted.release_version,
        os: wanted.stemcell_os,
        stemcell: wanted.stemcell_version,
        sha2: wanted.sha2,
        jobs: wanted.jobs.into_iter().map(|job| job.name).collect(),
    });
    reply::enqueue(&request, work, None, description).await
}

/// `GET /jobs?name=&release_name=&fingerprint=`.
pub(super) async fn job(request: Request) -> Result {
    request.require(Permission::Read)?;
    let (Some(name), Some(release), Some(fingerprint)) = (
        request.param("name"),
        request.param("release_name"),
        request.param("fingerprint"),
    ) else {
        return Ok(StatusCode::BAD_REQUEST.into_response());
    };
    let db = &request.director.db;
    let Some(release) = db::releases::find(db, release).await? else {
        return Ok(StatusCode::NOT_FOUND.into_response());
    };
    let jobs = db::templates::by_release(db, release.id).await?;
    let found = jobs
        .into_iter()
        .find(|job| job.name == name && job.fingerprint.as_deref() == Some(fingerprint));
    match found {
        None => Ok(StatusCode::NOT_FOUND.into_response()),
        Some(job) => {
            let spec = job.spec();
            Ok(reply::json(&json!([
                { "name": job.name, "fingerprint": job.fingerprint, "spec": spec }
            ])))
        }
    }
}

/// The packages in the sent manifest that are here already, so that the CLI can
/// leave them out of the archive.
pub(super) async fn package_matches(request: Request, body: Bytes) -> Result {
    request.require(Permission::Admin)?;
    let manifest = packages_manifest(&request, &body, "packages")?;
    if is_half_uploaded(&request, &manifest).await? {
        return Ok(reply::json(&json!([])));
    }
    let wanted = fingerprints(&manifest["packages"]);
    let found = db::packages::with_source_by_fingerprint(&request.director.db, &wanted).await?;
    let mut seen = HashSet::new();
    let found: Vec<String> = found
        .into_iter()
        .filter_map(|package| package.fingerprint)
        .filter(|fingerprint| seen.insert(fingerprint.clone()))
        .collect();
    Ok(reply::json(&found))
}

/// The same for compiled packages: name, fingerprint, stemcell and everything
/// they were compiled with must be the same.
pub(super) async fn compiled_package_matches(request: Request, body: Bytes) -> Result {
    request.require(Permission::Admin)?;
    let manifest = packages_manifest(&request, &body, "compiled_packages")?;
    if is_half_uploaded(&request, &manifest).await? {
        return Ok(reply::json(&json!([])));
    }
    let db = &request.director.db;
    let wanted = &manifest["compiled_packages"];
    let packages = db::packages::by_fingerprint(db, &fingerprints(wanted)).await?;
    let ids: Vec<_> = packages.iter().map(|package| package.id).collect();
    let by_id: HashMap<_, _> = packages
        .iter()
        .map(|package| (package.id, package))
        .collect();
    let mut here: HashSet<[String; 4]> = HashSet::new();
    for compiled in db::packages::compiled_for(db, &ids).await? {
        let Some(package) = by_id.get(&compiled.package_id) else {
            continue;
        };
        here.insert([
            package.name.clone(),
            package.fingerprint.clone().unwrap_or_default(),
            format!(
                "{}/{}",
                compiled.stemcell_os.unwrap_or_default(),
                compiled.stemcell_version.unwrap_or_default()
            ),
            compiled.dependency_key,
        ]);
    }
    let (mut present, mut absent) = (Vec::new(), HashSet::new());
    for package in wanted.as_array().into_iter().flatten() {
        let text = |key: &str| text_of(&package[key]);
        let key = dependency_key(wanted, &text("name"))?;
        if here.contains(&[text("name"), text("fingerprint"), text("stemcell"), key]) {
            present.push(text("fingerprint"));
        } else {
            absent.insert(text("fingerprint"));
        }
    }
    let mut seen = HashSet::new();
    present.retain(|fingerprint| {
        !fingerprint.is_empty() && !absent.contains(fingerprint) && seen.insert(fingerprint.clone())
    });
    Ok(reply::json(&present))
}

/// A package's blob by id, for those who mirror a director.
pub(super) async fn package_blob(request: Request, Path(id): Path<String>) -> Result {
    request.require(Permission::Read)?;
    if !db::packages::has_blob(&request.director.db, &id).await? {
        return Err(Error::bad_request(format!(
            "Package with blobstore id: {id} does not exist"
        )));
    }
    let blob = request.director.blobstore.open_unverified(&id).await;
    let blob = blob.map_err(|error| reply::blob_error(&id, &error))?;
    Ok(reply::blob(blob, "application/octet-stream"))
}

fn packages_manifest(request: &Request, body: &[u8], key: &str) -> Result<Value> {
    request.expect(Media::Yaml)?;
    let unusable = || {
        Error::new(
            Code::BadManifest,
            "Manifest doesn't have a usable packages section",
        )
    };
    let text = std::str::from_utf8(body).map_err(|_| unusable())?;
    let manifest = raw::parse(text).map_err(|_| unusable())?;
    if manifest.get(key).is_some_and(Value::is_array) {
        Ok(manifest)
    } else {
        Err(unusable())
    }
}

/// Whether an upload of this version broke off: then nothing may be left out.
async fn is_half_uploaded(request: &Request, manifest: &Value) -> Result<bool> {
    let text = |key: &str| text_of(&manifest[key]);
    let found =
        db::releases::find_version(&request.director.db, &text("name"), &text("version")).await?;
    Ok(found.is_some_and(|version| !version.update_completed))
}

fn fingerprints(packages: &Value) -> Vec<String> {
    let packages = packages.as_array().into_iter().flatten();
    packages
        .filter_map(|package| package["fingerprint"].as_str().map(str::to_owned))
        .collect()
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
