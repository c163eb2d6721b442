//! Amazon's S3 and what speaks its language.

use super::{Cloud, invalid, retries};
use crate::{Error, options};
use object_store::{
    ClientOptions,
    aws::{AmazonS3Builder, AmazonS3ConfigKey},
};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};

const PROVIDER: &str = "s3";

pub(super) fn open(options: &Value) -> Result<Cloud, Error> {
    let s3: options::S3 = options::parse(PROVIDER, options)?;
    let wrong = |e: object_store::Error| invalid(PROVIDER, e.to_string());
    for (name, set) in [
        ("swift_auth_account", s3.swift_auth_account.is_some()),
        ("assume_role_arn", s3.assume_role_arn.is_some()),
    ] {
        if set {
            return Err(invalid(PROVIDER, format!("{name}: not supported")));
        }
    }
    if let Some(version) = &s3.signature_version
        && version.trim_start_matches('v') != "4"
    {
        let reason = format!("signature_version: expected 4, got {version}");
        return Err(invalid(PROVIDER, reason));
    }
    let keys = match (&s3.access_key_id, &s3.secret_access_key) {
        (Some(id), Some(key)) if !id.is_empty() && !key.is_empty() => Some((id, key)),
        _ => None,
    };
    let source = match s3.credentials_source.as_deref() {
        None | Some("") if keys.is_some() => "static",
        None | Some("") => "none",
        Some(source) => source,
    };
    let mut builder = match source {
        "env_or_profile" => AmazonS3Builder::from_env(),
        _ => AmazonS3Builder::new(),
    };
    builder = match (source, keys) {
        ("static", Some((id, key))) => builder
            .with_access_key_id(id)
            .with_secret_access_key(key.expose()),
        ("static", None) => {
            let reason = "credentials_source: static needs access_key_id and secret_access_key";
            return Err(invalid(PROVIDER, reason));
        }
        ("env_or_profile", None) => builder,
        ("none", None) => builder.with_skip_signature(true),
        ("env_or_profile" | "none", Some(_)) => {
            let reason = format!("credentials_source: {source} and keys exclude each other");
            return Err(invalid(PROVIDER, reason));
        }
        (other, _) => {
            let reason = format!(
                "credentials_source: expected static, env_or_profile or none, got {other:?}"
            );
            return Err(invalid(PROVIDER, reason));
        }
    };
    if let Some(host) = s3.host.as_deref().filter(|host| !host.is_empty()) {
        let scheme = if s3.use_ssl { "https" } else { "http" };
        let bucket = if s3.host_style {
            format!("{}.", s3.bucket_name)
        } else {
            String::new()
        };
        let port = s3.port.map_or(String::new(), |port| format!(":{port}"));
        builder = builder.with_endpoint(format!("{scheme}://{bucket}{host}{port}"));
    }
    let region = s3.region.as_deref().filter(|region| !region.is_empty());
    if let Some(encryption) = s3.server_side_encryption.as_deref() {
        let key = "aws_server_side_encryption"
            .parse::<AmazonS3ConfigKey>()
            .map_err(wrong)?;
        builder = builder.with_config(key, encryption);
    }
    if let Some(key) = s3.sse_kms_key_id.as_deref() {
        builder = builder.with_sse_kms_encryption(key);
    }
    let client = ClientOptions::new()
        .with_allow_http(!s3.use_ssl)
        .with_allow_invalid_certificates(!s3.ssl_verify_peer)
        .with_timeout_disabled();
    let store = builder
        .with_bucket_name(&s3.bucket_name)
        .with_region(region.unwrap_or("us-east-1"))
        .with_virtual_hosted_style_request(s3.host_style)
        .with_client_options(client)
        .with_retry(retries())
        .build()
        .map_err(wrong)?;
    let store = Arc::new(store);
    let signer: Arc<dyn object_store::signer::Signer> = store.clone();
    Ok(Cloud {
        store,
        signer: (source != "none").then_some(signer),
        folder: s3.folder_name,
        enable_signed_urls: s3.enable_signed_urls,
        headers: BTreeMap::new(),
        signed_headers: object_store::HeaderMap::new(),
    })
}
