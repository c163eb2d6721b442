//! Rendered templates: where the agent finds them, and what becomes of old ones.
//!
//! Upstream: rendered_templates_persister.rb, rendered_job_templates_cleaner.rb.

use base64::Engine as _;
use bosh_protocol::{MultiDigest, Secret};
use serde_json::{Value, json};

use crate::agents;
use crate::db;
use crate::db::InstanceId;
use crate::deploy::Error;
use crate::deploy::scope::Scope;
use crate::deploy::subject::Subject;
use crate::template::Rendered;

/// Stores the rendered templates of `subject` in the blobstore, or sends them to its agent, and notes in its spec where
/// they are. Nothing to do without jobs.
///
/// They go to the agent when the director is told so, or when agents have no credentials for the blobstore.
pub async fn persist(scope: &Scope, subject: &mut Subject) -> Result<(), Error> {
    let Some(rendered) = subject.rendered.clone() else {
        return Ok(());
    };
    let config = &scope.director.config;
    let deliver = config.enable_nats_delivered_templates || scope.can_sign(subject.api_version());
    let (blob_id, sha1) = match &subject.vm {
        Some(_) if deliver => match send(scope, subject, &rendered).await {
            Err(agents::Error::Unsupported(_) | agents::Error::UploadBlob) => {
                store(scope, subject, &rendered).await?
            }
            sent => record(scope, subject.id, &rendered, sent?).await?,
        },
        _ => store(scope, subject, &rendered).await?,
    };
    let spec = &mut subject.spec.0;
    spec.insert(
        "rendered_templates_archive".into(),
        json!({"blobstore_id": blob_id, "sha1": sha1}),
    );
    spec.insert(
        "configuration_hash".into(),
        json!(rendered.configuration_hash),
    );
    spec.insert("template_hashes".into(), json!(rendered.template_hashes));
    Ok(())
}

async fn send(
    scope: &Scope,
    subject: &Subject,
    rendered: &Rendered,
) -> Result<String, agents::Error> {
    let blob_id = scope.director.blobstore.generate_id().into_string();
    let payload = Secret::new(base64::engine::general_purpose::STANDARD.encode(&rendered.archive));
    let digest: MultiDigest = rendered
        .archive_sha1
        .parse()
        .map_err(|_| agents::Error::Remote("rendered templates have no digest".into()))?;
    let agent = subject
        .agent(scope)
        .map_err(|error| agents::Error::Remote(error.to_string()))?;
    agent.upload_blob(&blob_id, &digest, &payload).await?;
    Ok(blob_id)
}

async fn store(
    scope: &Scope,
    subject: &Subject,
    rendered: &Rendered,
) -> Result<(String, String), Error> {
    let blobstore = &scope.director.blobstore;
    if let Some(latest) = db::misc::latest_rendered_templates(scope.db(), subject.id).await?
        && latest.content_sha1 == rendered.configuration_hash
        && blobstore.exists(&latest.blobstore_id).await?
    {
        return Ok((latest.blobstore_id, latest.sha1));
    }
    let stored = blobstore.put(rendered.archive.clone(), &[]).await?;
    record(scope, subject.id, rendered, stored.id.into_string()).await
}

async fn record(
    scope: &Scope,
    id: InstanceId,
    rendered: &Rendered,
    blob_id: String,
) -> Result<(String, String), Error> {
    let sha1 = rendered.archive_sha1.clone();
    db::misc::add_rendered_templates(
        scope.db(),
        id,
        &blob_id,
        &sha1,
        &rendered.configuration_hash,
    )
    .await?;
    Ok((blob_id, sha1))
}

/// Deletes all archives of the instance but the newest.
pub async fn clean(scope: &Scope, id: InstanceId) -> Result<(), Error> {
    for archive in db::misc::stale_rendered_templates(scope.db(), id).await? {
        scope
            .director
            .blobstore
            .delete(&archive.blobstore_id)
            .await?;
        db::misc::delete_rendered_templates(scope.db(), archive.id).await?;
    }
    Ok(())
}

/// Deletes all archives of the instance.
pub async fn clean_all(scope: &Scope, id: InstanceId) -> Result<(), Error> {
    for archive in db::misc::rendered_templates(scope.db(), id).await? {
        scope
            .director
            .blobstore
            .delete(&archive.blobstore_id)
            .await?;
        db::misc::delete_rendered_templates(scope.db(), archive.id).await?;
    }
    Ok(())
}

/// Adds URLs by which the agent fetches packages without credentials.
pub(crate) async fn sign_packages(
    scope: &Scope,
    subject: &Subject,
    spec: &mut serde_json::Map<String, Value>,
) -> Result<(), Error> {
    if !scope.can_sign(subject.api_version()) {
        return Ok(());
    }
    let Some(Value::Object(packages)) = spec.get_mut("packages") else {
        return Ok(());
    };
    for package in packages.values_mut() {
        let Some(blob_id) = package.get("blobstore_id").and_then(Value::as_str) else {
            continue;
        };
        let url = scope.sign(blob_id, bosh_blobstore::Action::Get).await?;
        package["signed_url"] = json!(url);
        scope.add_blobstore_headers(package);
    }
    Ok(())
}
