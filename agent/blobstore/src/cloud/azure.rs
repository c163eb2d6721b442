//! Azure's blob storage.

use super::{Cloud, invalid, retries};
use crate::{Error, options};
use object_store::{ClientOptions, HeaderMap, azure::MicrosoftAzureBuilder};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};

const PROVIDER: &str = "azure-storage";

pub(super) fn open(options: &Value) -> Result<Cloud, Error> {
    let azure: options::Azure = options::parse(PROVIDER, options)?;
    let endpoint = match &azure.endpoint {
        Some(endpoint) => endpoint.clone(),
        None => {
            let domain = domain(azure.azure_cloud_name.as_deref())?;
            format!("https://{}.blob.{domain}", azure.account_name)
        }
    };
    let client = ClientOptions::new()
        .with_allow_http(endpoint.starts_with("http://"))
        .with_timeout_disabled();
    let store = MicrosoftAzureBuilder::new()
        .with_account(&azure.account_name)
        .with_access_key(azure.account_key.expose())
        .with_container_name(&azure.container_name)
        .with_endpoint(endpoint)
        .with_client_options(client)
        .with_retry(retries())
        .build()
        .map_err(|e| invalid(PROVIDER, e.to_string()))?;
    let store = Arc::new(store);
    let signer: Arc<dyn object_store::signer::Signer> = store.clone();
    Ok(Cloud {
        store,
        signer: Some(signer),
        folder: None,
        enable_signed_urls: azure.enable_signed_urls,
        // Azure takes any capitals; this is how upstream writes it.
        headers: BTreeMap::from([("x-ms-blob-type".to_owned(), "blockblob".to_owned())]),
        signed_headers: HeaderMap::new(),
    })
}

fn domain(cloud: Option<&str>) -> Result<&'static str, Error> {
    match cloud.unwrap_or_default() {
        "" | "AzureCloud" => Ok("core.windows.net"),
        "AzureChinaCloud" => Ok("core.chinacloudapi.cn"),
        "AzureUSGovernment" => Ok("core.usgovcloudapi.net"),
        "AzureGermanCloud" => Ok("core.cloudapi.de"),
        other => {
            let reason = format!("azure_cloud_name: unknown cloud {other:?}");
            Err(invalid(PROVIDER, reason))
        }
    }
}
