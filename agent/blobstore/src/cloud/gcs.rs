//! Google's Cloud Storage.

use super::{Cloud, invalid, retries};
use crate::{Error, options};
use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use object_store::{
    ClientOptions, HeaderMap, HeaderValue,
    client::{
        HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService,
        ReqwestConnector,
    },
    gcp::GoogleCloudStorageBuilder,
    signer::{HeaderName, Method},
};
use ring::digest;
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};

const PROVIDER: &str = "gcs";
const STORAGE_CLASS: HeaderName = HeaderName::from_static("x-goog-storage-class");

pub(super) fn open(options: &Value) -> Result<Cloud, Error> {
    let gcs: options::Gcs = options::parse(PROVIDER, options)?;
    let wrong = |e: object_store::Error| invalid(PROVIDER, e.to_string());
    let key = gcs.json_key.as_ref().filter(|key| !key.is_empty());
    let source = match (gcs.credentials_source.as_deref(), key) {
        (None | Some(""), Some(_)) => "static",
        (None | Some(""), None) => "application_default_credentials",
        (Some(source), _) => source,
    };
    let mut builder = GoogleCloudStorageBuilder::new();
    builder = match (source, key) {
        ("static", Some(key)) => builder.with_service_account_key(key.expose()),
        ("static", None) => {
            return Err(invalid(
                PROVIDER,
                "credentials_source: static needs json_key",
            ));
        }
        ("none", _) => builder.with_skip_signature(true),
        ("application_default_credentials" | "env_or_profile", _) => {
            GoogleCloudStorageBuilder::from_env()
        }
        (other, _) => {
            let reason = format!("credentials_source: expected static or none, got {other:?}");
            return Err(invalid(PROVIDER, reason));
        }
    };
    if let Some(endpoint) = &gcs.endpoint {
        builder = builder.with_base_url(endpoint);
    }
    let encryption = match &gcs.encryption_key {
        Some(key) => encryption(key.expose())?,
        None => BTreeMap::new(),
    };
    let mut encrypted = HeaderMap::new();
    for (name, value) in &encryption {
        let name = HeaderName::from_bytes(name.as_bytes());
        let value = HeaderValue::from_str(value);
        if let (Ok(name), Ok(value)) = (name, value) {
            encrypted.insert(name, value);
        }
    }
    let mut written = encrypted.clone();
    if let Some(class) = &gcs.storage_class {
        let value = HeaderValue::from_str(class)
            .map_err(|_| invalid(PROVIDER, "storage_class: expected a word"))?;
        written.insert(STORAGE_CLASS, value);
    }
    let plain = gcs
        .endpoint
        .as_deref()
        .is_some_and(|url| url.starts_with("http://"));
    let client = ClientOptions::new()
        .with_allow_http(plain)
        .with_timeout_disabled();
    let store = builder
        .with_bucket_name(&gcs.bucket_name)
        .with_client_options(client)
        .with_http_connector(WithHeaders {
            read: encrypted.clone(),
            written,
        })
        .with_retry(retries())
        .build()
        .map_err(wrong)?;
    let store = Arc::new(store);
    let signer: Arc<dyn object_store::signer::Signer> = store.clone();
    Ok(Cloud {
        store,
        signer: (source == "static").then_some(signer),
        folder: None,
        enable_signed_urls: gcs.enable_signed_urls,
        headers: encryption,
        signed_headers: encrypted,
    })
}

/// What goes along with each request for a blob that is encrypted with a key of the customer's.
fn encryption(key: &str) -> Result<BTreeMap<String, String>, Error> {
    let expected = || invalid(PROVIDER, "encryption_key: expected 32 bytes in base64");
    let bytes = STANDARD.decode(key.trim()).map_err(|_| expected())?;
    if bytes.len() != 32 {
        return Err(expected());
    }
    let hash = STANDARD.encode(digest::digest(&digest::SHA256, &bytes));
    Ok(BTreeMap::from([
        (
            "x-goog-encryption-algorithm".to_owned(),
            "AES256".to_owned(),
        ),
        ("x-goog-encryption-key".to_owned(), key.trim().to_owned()),
        ("x-goog-encryption-key-sha256".to_owned(), hash),
    ]))
}

/// Sends headers that `object_store` does not know of, where Google takes them.
#[derive(Debug)]
struct WithHeaders {
    read: HeaderMap,
    written: HeaderMap,
}

impl HttpConnector for WithHeaders {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Sending {
            client,
            read: self.read.clone(),
            written: self.written.clone(),
        }))
    }
}

#[derive(Debug)]
struct Sending {
    client: HttpClient,
    read: HeaderMap,
    written: HeaderMap,
}

#[async_trait]
impl HttpService for Sending {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let more = match *request.method() {
            Method::GET | Method::HEAD => &self.read,
            Method::PUT | Method::POST => &self.written,
            _ => return self.client.execute(request).await,
        };
        let headers = request.headers_mut();
        for (name, value) in more {
            headers.insert(name.clone(), value.clone());
        }
        self.client.execute(request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_the_customers_goes_along() {
        let key = STANDARD.encode([7; 32]);
        let headers = encryption(&key).unwrap();
        assert_eq!(headers["x-goog-encryption-key"], key);
        assert_eq!(headers["x-goog-encryption-algorithm"], "AES256");
        assert_eq!(
            headers["x-goog-encryption-key-sha256"],
            STANDARD.encode(digest::digest(&digest::SHA256, &[7; 32]))
        );
        assert!(encryption("c2hvcnQ=").is_err());
    }
}
