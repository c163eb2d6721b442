//! `/links`, `/link_providers`, `/link_consumers` and `/link_address` (upstream: api/links_api_manager.rb).

use std::collections::HashMap;

use axum::body::Bytes;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use bosh_director_api::{
    Code, Link, LinkAddress, LinkConsumer, LinkDefinition, LinkOwner, LinkOwnerInfo, LinkProvider,
    NewLink,
};
use serde_json::{Value, json};

use super::auth::Permission;
use super::error::{Error, Result};
use super::{Request, reply};
use crate::db::links::{NewConsumerIntent, Provider, ProviderIntent};
use crate::db::{self, LinkId, LinkProviderIntentId};
use crate::deploy::plan::names::{Query, encode};
use crate::deploy::prepare::numbers;
use crate::links;

/// What consumers outside of any deployment are called.
const EXTERNAL: &str = "external";
/// What `status` may be.
const STATUSES: [&str; 4] = ["healthy", "unhealthy", "all", "default"];

pub(super) async fn list(request: Request) -> Result {
    let deployment = deployment(&request).await?;
    let links = db::links::by_deployment(&request.director.db, deployment.id).await?;
    let shown: Vec<Link> = links.into_iter().map(shown).collect();
    Ok(reply::json(&shown))
}

pub(super) async fn providers(request: Request) -> Result {
    let deployment = deployment(&request).await?;
    let db = &request.director.db;
    let providers: HashMap<_, _> = db::links::providers(db, deployment.id)
        .await?
        .into_iter()
        .map(|provider| (provider.id, provider))
        .collect();
    let intents = db::links::provider_intents(db, deployment.id).await?;
    let shown: Vec<LinkProvider> = intents
        .into_iter()
        .filter_map(|intent| {
            let provider = providers.get(&intent.link_provider_id?)?;
            Some(LinkProvider {
                id: intent.id.to_string(),
                name: intent.name.unwrap_or_default(),
                shared: intent.shared,
                deployment: deployment.name.clone(),
                link_provider_definition: LinkDefinition {
                    kind: intent.kind,
                    name: intent.original_name,
                },
                owner_object: LinkOwner {
                    kind: provider.kind.clone(),
                    name: provider.name.clone(),
                    info: Some(LinkOwnerInfo {
                        instance_group: provider.instance_group.clone(),
                    }),
                },
            })
        })
        .collect();
    Ok(reply::json(&shown))
}

pub(super) async fn consumers(request: Request) -> Result {
    let deployment = deployment(&request).await?;
    let db = &request.director.db;
    let consumers: HashMap<_, _> = db::links::consumers(db, deployment.id)
        .await?
        .into_iter()
        .map(|consumer| (consumer.id, consumer))
        .collect();
    let intents = db::links::consumer_intents(db, deployment.id).await?;
    let shown: Vec<LinkConsumer> = intents
        .into_iter()
        .filter_map(|intent| {
            let consumer = consumers.get(&intent.link_consumer_id?)?;
            let group = consumer.instance_group.clone().unwrap_or_default();
            Some(LinkConsumer {
                id: intent.id.to_string(),
                name: intent.name,
                optional: intent.optional,
                deployment: deployment.name.clone(),
                owner_object: LinkOwner {
                    kind: consumer.kind.clone(),
                    name: consumer.name.clone(),
                    info: (!group.is_empty()).then_some(LinkOwnerInfo {
                        instance_group: group,
                    }),
                },
                link_consumer_definition: LinkDefinition {
                    kind: intent.kind,
                    name: intent.original_name,
                },
            })
        })
        .collect();
    Ok(reply::json(&shown))
}

/// The deployment that the query names.
async fn deployment(request: &Request) -> Result<db::deployments::Deployment> {
    match request.param("deployment") {
        Some(name) => request.deployment(name, Permission::Read).await,
        None => {
            request.require(Permission::Read)?;
            Err(Error::new(
                Code::DeploymentRequired,
                "Deployment name is required",
            ))
        }
    }
}

fn shown(link: db::links::Link) -> Link {
    Link {
        id: link.id.to_string(),
        name: link.name,
        link_consumer_id: link.link_consumer_intent_id.to_string(),
        link_provider_id: link.link_provider_intent_id.map(|id| id.to_string()),
        created_at: link.created_at.map(db::Timestamp::to_ruby),
    }
}

pub(super) async fn create(request: Request, body: Bytes) -> Result {
    request.require(Permission::TeamAdmin)?;
    let wanted: NewLink = request.json(&body)?;
    let (id, consumer) = check(&wanted)?;
    let db = &request.director.db;
    let found = match id.parse() {
        Ok(id) => db::links::provider_intent(db, LinkProviderIntentId(id)).await?,
        Err(_) => None,
    };
    let (intent, provider) = found.ok_or_else(|| {
        let why = format!("Invalid link_provider_id: {id}");
        Error::new(Code::LinkProviderLookupError, why)
    })?;
    if !intent.shared {
        let why = "Provider not `shared`";
        return Err(Error::new(Code::LinkProviderNotSharedError, why));
    }
    let content = content(&intent);
    let network = match &wanted.network {
        None | Some(Value::Null) => None,
        Some(network) => Some(check_network(&intent, &content, network, consumer)?),
    };
    let link = make(&request, &intent, &provider, &content, network, consumer).await?;
    Ok(reply::json(&shown(link)))
}

/// The provider's number and the consumer's name.
fn check(wanted: &NewLink) -> Result<(&str, &str)> {
    let bad = |why: &str| {
        let why = format!("Invalid request: {why}");
        Err(Error::new(Code::LinkCreateError, why))
    };
    let id = match &wanted.link_provider_id {
        Value::Null => return bad("`link_provider_id` must be provided"),
        Value::String(id) if id.is_empty() => {
            return bad("`link_provider_id` must be provided");
        }
        Value::String(id) => id,
        _ => return bad("`link_provider_id` must be a String"),
    };
    if wanted.link_consumer.is_null() {
        return bad("`link_consumer` section must be defined");
    }
    let owner = &wanted.link_consumer["owner_object"];
    if owner.is_null() {
        return bad("`link_consumer.owner_object` section must be defined");
    }
    if owner["type"] != EXTERNAL {
        return bad("`link_consumer.owner_object.type` should be 'external'");
    }
    match owner["name"].as_str() {
        Some(name) if !name.is_empty() => Ok((id, name)),
        _ => bad("`link_consumer.owner_object.name` must not be empty"),
    }
}

fn content(intent: &ProviderIntent) -> Value {
    let text = intent.content.as_deref();
    text.and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_else(|| json!({}))
}

fn check_network<'a>(
    intent: &ProviderIntent,
    content: &Value,
    network: &'a Value,
    consumer: &str,
) -> Result<&'a str> {
    let networks = content["networks"].as_array();
    match network.as_str() {
        Some(name) if networks.is_some_and(|networks| networks.contains(network)) => Ok(name),
        name => Err(Error::new(
            Code::LinkNetworkLookupError,
            format!(
                "Can't resolve network: `{}` in provider id: {} for `{consumer}`",
                name.unwrap_or_default(),
                intent.id
            ),
        )),
    }
}

async fn make(
    request: &Request,
    intent: &ProviderIntent,
    provider: &Provider,
    content: &Value,
    network: Option<&str>,
    name: &str,
) -> Result<db::links::Link> {
    let content = links::choose_addresses(content, network, None)
        .map_err(|why| Error::new(Code::LinkCreateError, why))?;
    let serial = intent.serial_id.unwrap_or_default();
    let metadata = match network {
        Some(network) => json!({ "network": network }),
        None => json!({}),
    };
    let tx = request.director.db.begin().await?;
    let deployment = provider.deployment_id;
    let consumer = db::links::upsert_consumer(&tx, deployment, "", name, EXTERNAL, serial).await?;
    let consumer = db::links::upsert_consumer_intent(
        &tx,
        NewConsumerIntent {
            consumer: consumer.id,
            original_name: intent.original_name.clone(),
            kind: intent.kind.clone(),
            name: intent.name.clone(),
            optional: false,
            blocked: false,
            metadata: Some(metadata),
            serial_id: serial,
        },
    )
    .await?;
    let name = &intent.original_name;
    let link = db::links::create(&tx, Some(intent.id), consumer.id, name, &content).await?;
    tx.commit().await?;
    Ok(link)
}

pub(super) async fn delete(request: Request, Path(id): Path<String>) -> Result {
    request.require(Permission::TeamAdmin)?;
    let link = find(&request, &id).await?.ok_or_else(|| {
        let why = format!("Invalid link id: {id}");
        Error::new(Code::LinkLookupError, why)
    })?;
    let tx = request.director.db.begin().await?;
    let consumer = db::links::consumer_of(&tx, &link).await?;
    if consumer.is_none_or(|consumer| consumer.kind != EXTERNAL) {
        let why = "Error deleting link: not a external link";
        return Err(Error::new(Code::LinkNotExternalError, why));
    }
    db::links::delete_external(&tx, &link).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn find(request: &Request, id: &str) -> Result<Option<db::links::Link>> {
    Ok(match id.parse() {
        Ok(id) => db::links::get(&request.director.db, LinkId(id)).await?,
        Err(_) => None,
    })
}

pub(super) async fn address(request: Request) -> Result {
    request.require(Permission::ReadShared)?;
    let Some(id) = request.param("link_id") else {
        let why = "Link id is required";
        return Err(Error::new(Code::LinkIdRequiredError, why));
    };
    let db = &request.director.db;
    let index = numbers(db).await?;
    let bad_azs = |why: String| Error::new(Code::LinkInvalidAzsError, why);
    if request.param("azs").is_some() {
        let why = "`azs` param must be array type: `azs[]=`";
        return Err(bad_azs(why.to_owned()));
    }
    let azs = request.params("azs");
    if let Some(unknown) = azs.iter().find(|az| !index.azs.contains_key(az.as_str())) {
        return Err(bad_azs(format!("az {unknown} is not valid")));
    }
    let status = request.param("status");
    if status.is_some_and(|status| !STATUSES.contains(&status)) {
        let why = format!("status must be a one of: {STATUSES:?}");
        return Err(Error::new(Code::LinkInvalidStatusError, why));
    }
    let link = find(&request, id).await?.ok_or_else(|| {
        let why = format!("Could not find a link with id {id}");
        Error::new(Code::LinkLookupError, why)
    })?;
    let content = link.link_content.as_deref().unwrap_or("{}");
    let content: Value = serde_json::from_str(content)?;
    let provider = match link.link_provider_intent_id {
        Some(id) => db::links::provider_intent(db, id).await?,
        None => None,
    };
    if provider.as_ref().is_some_and(|(_, by)| by.kind == "manual") {
        let address = content["address"].clone();
        return Ok(reply::json(&LinkAddress { address }));
    }
    let text = |key: &str| content[key].as_str().unwrap_or_default();
    let by_link = content["use_link_dns_names"] == json!(true);
    let short = content["use_short_dns_addresses"] == json!(true);
    let group = match (&provider, by_link) {
        (Some((intent, _)), true) => {
            let name = intent.name.as_deref().unwrap_or_default();
            format!("{name}-{}", intent.kind)
        }
        (None, true) => String::new(),
        _ => text("instance_group").to_owned(),
    };
    let query = Query {
        uuid: None,
        group_type: if by_link { "link" } else { "instance-group" },
        group: &group,
        network: text("default_network"),
        deployment: text("deployment_name"),
        azs: azs.iter().map(String::as_str).collect(),
        status,
        initial_health_check: None,
    };
    let address = encode(&query, &index, text("domain"), short)?;
    Ok(reply::json(&LinkAddress {
        address: address.into(),
    }))
}
