//! Diffs of manifests and configs in the form in which the CLI reads them: pairs of a line and what became of it.

use std::sync::Arc;

use serde_json::Value;

use super::error::Result;
use crate::db;
use crate::deploy::diff::{self, Line};
use crate::manifest::{Config, catalog};

/// One side of a diff of deployments.
#[derive(Default)]
pub(super) struct Side {
    pub(super) manifest: Value,
    pub(super) cloud: Vec<Value>,
    pub(super) runtime: Vec<Value>,
}

impl Side {
    fn of(&self) -> diff::Side {
        let configs = |documents: &[Value]| {
            let config = |content: &Value| Config {
                content: content.clone(),
                ..Config::default()
            };
            documents.iter().map(config).collect()
        };
        diff::Side {
            manifest: self.manifest.clone(),
            cloud_configs: configs(&self.cloud),
            runtime_configs: configs(&self.runtime),
        }
    }
}

fn pairs(lines: &[Line]) -> Vec<(String, Option<String>)> {
    let status = |line: &Line| line.status.map(|status| status.as_str().to_owned());
    lines
        .iter()
        .map(|line| (line.text(), status(line)))
        .collect()
}

/// Lines that lead from one config to another.
pub(super) fn lines(old: &Value, new: &Value, redact: bool) -> Vec<(String, Option<String>)> {
    pairs(&diff::lines(old, new, redact))
}

/// Lines that lead from one deployment to another; `latest` versions are looked up.
pub(super) async fn manifests(
    db: &db::Db,
    before: &Side,
    after: &Side,
    teams: &[String],
    redact: bool,
) -> Result<Vec<(String, Option<String>)>> {
    let releases: Vec<Arc<catalog::ReleaseVersion>> = db::releases::all_versions(db)
        .await?
        .into_iter()
        .map(|release| {
            Arc::new(catalog::ReleaseVersion {
                id: release.id.0.into(),
                name: release.name,
                version: release.version,
                ..catalog::ReleaseVersion::default()
            })
        })
        .collect();
    let stemcells: Vec<catalog::Stemcell> = db::stemcells::list(db)
        .await?
        .into_iter()
        .map(|stemcell| catalog::Stemcell {
            id: stemcell.id.0.into(),
            os: stemcell.os().to_owned(),
            name: stemcell.name,
            version: stemcell.version,
            ..catalog::Stemcell::default()
        })
        .collect();
    let lines = diff::manifests(
        &before.of(),
        &after.of(),
        teams,
        &releases,
        &stemcells,
        redact,
    )?;
    Ok(pairs(&lines))
}
