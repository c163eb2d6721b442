//! Errands of a deployment: the list, and runs.

use std::collections::{BTreeMap, HashSet};

use axum::body::Bytes;
use axum::extract::Path;
use bosh_director_api::{Errand, RunErrand};
use serde_json::Value;

use super::auth::Permission;
use super::error::Result;
use super::{Request, reply};
use crate::db;
use crate::manifest::raw;
use crate::tasks::{Work, jobs};

pub(super) async fn list(request: Request, Path(name): Path<String>) -> Result {
    let deployment = request.deployment(&name, Permission::Read).await?;
    let db = &request.director.db;
    let manifest = raw::parse(deployment.manifest.as_deref().unwrap_or_default())?;
    let groups = array(&manifest, "instance_groups");

    let mut errands: Vec<String> = groups
        .iter()
        .filter(|group| text(group, "lifecycle") == Some("errand"))
        .filter_map(|group| text(group, "name").map(str::to_owned))
        .collect();
    let mut runnable: BTreeMap<String, HashSet<String>> = BTreeMap::new();
    for release in db::deployments::releases(db, Some(deployment.id)).await? {
        let jobs = db::templates::by_release_version(db, release.release_version_id).await?;
        let names = jobs.into_iter().filter(runs_as_errand).map(|job| job.name);
        runnable.entry(release.name).or_default().extend(names);
    }
    let mut documents = vec![manifest.clone()];
    let ids = db::deployments::config_ids(db, deployment.id, "runtime").await?;
    for config in db::configs::by_ids(db, &ids).await? {
        documents.push(raw::parse(&config.content)?);
    }
    let addons: Vec<&Value> = documents
        .iter()
        .flat_map(|document| array(document, "addons"))
        .collect();
    for holder in groups.iter().chain(addons) {
        for job in array(holder, "jobs") {
            let (Some(job), Some(release)) = (text(job, "name"), text(job, "release")) else {
                continue;
            };
            if runnable
                .get(release)
                .is_some_and(|names| names.contains(job))
            {
                errands.push(job.to_owned());
            }
        }
    }
    let mut seen = HashSet::new();
    errands.retain(|errand| seen.insert(errand.clone()));
    let errands: Vec<Errand> = errands.into_iter().map(|name| Errand { name }).collect();
    Ok(reply::json(&errands))
}

pub(super) async fn run(
    request: Request,
    Path((name, errand)): Path<(String, String)>,
    body: Bytes,
) -> Result {
    let deployment = request.deployment(&name, Permission::Admin).await?;
    // Any content type, as upstream.
    let wanted: RunErrand = super::request::parse_json(&body)?;
    let description = format!("run errand {errand} from deployment {name}");
    let instances = wanted
        .instances
        .into_iter()
        .map(|instance| jobs::run_errand::InstanceFilter {
            group: instance.group,
            id: instance.id,
        })
        .collect();
    let work = Work::RunErrand(jobs::run_errand::RunErrand {
        deployment: deployment.name,
        errand,
        keep_alive: wanted.keep_alive,
        when_changed: wanted.when_changed,
        instances,
    });
    reply::enqueue(&request, work, Some(&name), description).await
}

/// Whether a job has a `bin/run` (upstream: models/template.rb, runs_as_errand?).
fn runs_as_errand(job: &db::templates::Template) -> bool {
    let spec = job.spec();
    let templates = spec.get("templates").and_then(Value::as_object);
    templates.is_some_and(|templates| {
        templates
            .values()
            .any(|path| matches!(path.as_str(), Some("bin/run" | "bin/run.ps1")))
    })
}

fn array<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value
        .get(key)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str)
}
