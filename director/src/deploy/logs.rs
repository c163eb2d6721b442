//! Logs of instances, packed by their agents. Upstream: logs_fetcher.rb, log_bundles_cleaner.rb.

use std::time::Duration;

use bosh_blobstore::Action;
use bosh_director_api::Code;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::Error;
use super::scope::{Scope, api_version};
use crate::db::{self, InstanceId};

/// How long a bundle of logs is kept for whoever asked for it.
const KEPT: Duration = Duration::from_secs(10 * 24 * 60 * 60);

/// Logs of one instance.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// Where they are.
    pub blobstore_id: String,
    /// Digest.
    pub sha1: String,
    /// What to call the file in an archive of several.
    pub file: String,
}

/// Deletes bundles that nobody came for.
pub async fn remove_old(scope: &Scope) -> Result<(), Error> {
    for blob_id in db::misc::take_old_log_bundles(scope.db(), KEPT).await? {
        if let Err(error) = scope.director.blobstore.delete(&blob_id).await {
            scope
                .task
                .debug(format!("could not delete {blob_id}: {error}"));
        }
    }
    Ok(())
}

/// Has the agent of an instance pack its logs: `job`, `agent`, `system`, or several joined by commas.
pub async fn fetch(
    scope: &Scope,
    id: InstanceId,
    kind: &str,
    filters: &[String],
) -> Result<Bundle, Error> {
    let Some(instance) = db::instances::get(scope.db(), id).await? else {
        return Err(Error::new(
            Code::InstanceNotFound,
            format!("Instance {id} doesn't exist"),
        ));
    };
    let Some(vm) = db::vms::active(scope.db(), id).await? else {
        let message = format!("'{}' doesn't reference a VM", instance.label());
        return Err(Error::new(Code::InstanceVmMissing, message));
    };
    let agent = scope.agent(&vm, &instance.name())?;
    let stage = scope.task.stage(
        &format!("Fetching logs for {}", instance.label()),
        Vec::new(),
        Some(1),
    );
    let packed = async {
        if scope.can_sign(api_version(&vm)) {
            let blobstore_id = scope.director.blobstore.generate_id().into_string();
            let mut request = json!({
                "signed_url": scope.sign(&blobstore_id, Action::Put).await?,
                "log_type": kind,
                "filters": filters,
            });
            scope.add_blobstore_headers(&mut request);
            let answer = agent
                .send("fetch_logs_with_signed_url", vec![request])
                .await?;
            return Ok((blobstore_id, answer));
        }
        let answer = agent
            .send("fetch_logs", vec![json!(kind), json!(filters)])
            .await?;
        match answer["blobstore_id"].as_str() {
            Some(id) if uuid::Uuid::try_parse(id).is_ok() => Ok((id.to_owned(), answer)),
            Some(_) => Err(Error::new(
                Code::AgentTaskInvalidBlobstoreId,
                "Agent didn't return a valid blobstore object id for packaged logs",
            )),
            None => Err(Error::new(
                Code::AgentTaskNoBlobstoreId,
                "Agent didn't return a blobstore object id for packaged logs",
            )),
        }
    };
    let (blobstore_id, answer) = stage.run("Finding and packing log files", packed).await?;
    let now = db::Timestamp::now().to_iso8601();
    let stamp: String = now.trim_end_matches('Z').replace(['T', ':'], "-");
    Ok(Bundle {
        blobstore_id,
        sha1: answer
            .get("sha1")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        file: format!("{}.{}.{stamp}.tgz", instance.job, instance.uuid()),
    })
}

/// One archive of all bundles; its blob.
pub async fn pack(scope: &Scope, bundles: &[Bundle]) -> Result<String, Error> {
    let blobstore = &scope.director.blobstore;
    let directory = tempfile::tempdir_in(std::env::temp_dir())?;
    for bundle in bundles {
        blobstore
            .get_to_file(
                &bundle.blobstore_id,
                None,
                &directory.path().join(&bundle.file),
            )
            .await?;
    }
    let archive = directory.path().join("logs.tgz");
    let files: Vec<String> = bundles.iter().map(|bundle| bundle.file.clone()).collect();
    let (from, to) = (directory.path().to_owned(), archive.clone());
    tokio::task::spawn_blocking(move || {
        let mut tar = tar::Builder::new(GzEncoder::new(
            std::fs::File::create(to)?,
            Compression::fast(),
        ));
        for file in files {
            tar.append_path_with_name(from.join(&file), format!("./{file}"))?;
        }
        tar.into_inner()?.finish()?.sync_all()
    })
    .await??;
    let stored = blobstore.put(archive.as_path(), &[]).await?;
    Ok(stored.id.into_string())
}
