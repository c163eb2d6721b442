//! What a deploy does with variables: load those there are, make those that are wanted and missing.
//!
//! Upstream: config_server/client.rb (`generate_values`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::certificate::Authority;
use super::cipher::{self, Cipher, Entry};
use super::definition::Definition;
use super::generate::generate;
use super::interpolate::check_name;
use super::keys::Rsa;
use super::store::{Failure, Sealed, Store};
use super::values::{Stored, Values};
use crate::deploy::plan::names::{Index, Query, encode};
use crate::links::{Consumer, Resolved};
use crate::manifest::{Desired, Kind};

/// Why variables are not what they should be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A definition is wrong, or its value could not be made. In upstream's words.
    #[error(transparent)]
    Refused(#[from] crate::manifest::Error),
    /// A value could not be sealed or opened.
    #[error(transparent)]
    Cipher(#[from] cipher::Error),
    /// The database failed.
    #[error("read or write variables")]
    Store(#[source] Failure),
}

/// What a deploy needs beside the store.
#[derive(Debug, Clone, Copy)]
pub struct Deploy<'a> {
    /// The deployment.
    pub desired: &'a Desired,
    /// Its links: certificates may be for the names of one.
    pub links: &'a Resolved,
    /// Numbers for short DNS names.
    pub index: &'a Index,
    /// Values of the deployment's variable set before this one.
    pub previous: Option<&'a Values>,
    /// Whether all stemcells are new, or the operator wants the newest values regardless.
    pub stemcell_changed: bool,
    /// The Ruby interpreter.
    pub ruby: &'a Path,
    /// Now.
    pub now: OffsetDateTime,
}

/// What became of a variable: an event is recorded for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ensured {
    /// Full name.
    pub name: String,
    /// Id of the version in use.
    pub id: String,
    /// `on-deploy` or `on-stemcell-change`.
    pub strategy: String,
    /// Whether it is the newest version, rather than the one used before.
    pub latest: bool,
    /// Whether it was made just now.
    pub generated: bool,
}

/// Opens the newest versions of `names` (full or short names of the deployment).
pub async fn load(
    store: &dyn Store,
    cipher: &Cipher,
    director: &str,
    deployment: &str,
    names: &BTreeSet<String>,
) -> Result<Values, Error> {
    let mut values = Values::new(director, deployment, BTreeMap::new());
    let full: Vec<String> = names.iter().map(|name| values.full_name(name)).collect();
    for sealed in store.latest(&full).await.map_err(Error::Store)? {
        let entry = cipher.open(&sealed.name, &sealed.value)?;
        let stored = Stored {
            id: sealed.id,
            value: entry.value,
        };
        values.insert(&sealed.name, stored);
    }
    Ok(values)
}

/// Opens the versions with the given ids: name -> id, as a variable set lists them.
pub async fn load_set(
    store: &dyn Store,
    cipher: &Cipher,
    director: &str,
    deployment: &str,
    set: &BTreeMap<String, String>,
) -> Result<Values, Error> {
    let mut values = Values::new(director, deployment, BTreeMap::new());
    let ids: Vec<String> = set.values().cloned().collect();
    for sealed in store.by_id(&ids).await.map_err(Error::Store)? {
        let entry = cipher.open(&sealed.name, &sealed.value)?;
        let stored = Stored {
            id: sealed.id,
            value: entry.value,
        };
        values.insert(&sealed.name, stored);
    }
    Ok(values)
}

/// Makes the deployment's variables that are not there, or not as they should be, and adds all of them to `values`.
pub async fn ensure(
    store: &dyn Store,
    cipher: &Cipher,
    deploy: Deploy<'_>,
    values: &mut Values,
) -> Result<Vec<Ensured>, Error> {
    let desired = deploy.desired;
    let mut all = Vec::with_capacity(desired.variables.len());
    for definition in &desired.variables {
        check_name(&definition.name)?;
        let name = values.full_name(&definition.name);
        let strategy = definition.update_strategy.as_deref().unwrap_or("on-deploy");
        let previous = deploy.previous.and_then(|previous| previous.get(&name));
        let latest = strategy == "on-deploy"
            || (deploy.stemcell_changed && strategy == "on-stemcell-change")
            || previous.is_none();
        let mut ensured = Ensured {
            name: name.clone(),
            id: String::new(),
            strategy: strategy.to_owned(),
            latest,
            generated: false,
        };
        let stored = match previous {
            Some(previous) if !latest => previous.clone(),
            _ => {
                let options = options(definition, values, &deploy)?;
                let (stored, generated) =
                    newest(store, cipher, &deploy, definition, &name, options).await?;
                ensured.generated = generated;
                stored
            }
        };
        ensured.id = stored.id.clone();
        values.insert(&name, stored);
        all.push(ensured);
    }
    Ok(all)
}

/// The definition's options with the full name of its CA and the names of its links filled in.
fn options(
    definition: &Definition,
    values: &Values,
    deploy: &Deploy<'_>,
) -> Result<Map<String, Value>, Error> {
    let mut options = definition.options.clone();
    if definition.kind != "certificate" {
        return Ok(options);
    }
    if let Some(ca) = options.get("ca").and_then(Value::as_str) {
        let full = values.full_name(ca);
        options.insert("ca".into(), json!(full));
    }
    let consumers = deploy
        .links
        .consumers
        .iter()
        .filter(|consumer| consumer.kind == "variable" && consumer.owner == definition.name);
    for consumer in consumers {
        let Some(name) = link_name(consumer, deploy)? else {
            continue;
        };
        match consumer.name.as_str() {
            "alternative_name" => {
                let names = options
                    .entry("alternative_names")
                    .or_insert_with(|| json!([]));
                if let Value::Array(names) = names {
                    names.push(json!(name));
                }
            }
            "common_name" => {
                options.entry("common_name").or_insert_with(|| json!(name));
            }
            _ => {}
        }
    }
    Ok(options)
}

/// The DNS name of all instances of a link.
fn link_name(consumer: &Consumer, deploy: &Deploy<'_>) -> Result<Option<String>, Error> {
    let Some(found) = &consumer.found else {
        return Ok(None);
    };
    let content = &found.content;
    let text = |key: &str| content.get(key).and_then(Value::as_str).unwrap_or_default();
    let is_manual = found
        .provider
        .and_then(|position| deploy.links.providers.get(position))
        .is_some_and(|provider| provider.kind == "manual");
    if is_manual {
        return Ok(content
            .get("address")
            .and_then(Value::as_str)
            .map(str::to_owned));
    }
    let by_link = deploy.desired.features.use_link_dns_names;
    let query = Query {
        group_type: if by_link { "link" } else { "instance-group" },
        group: if by_link {
            &found.group_name
        } else {
            text("instance_group")
        },
        network: text("default_network"),
        deployment: text("deployment_name"),
        ..Query::default()
    };
    let short = by_link || content.get("use_short_dns_addresses") == Some(&Value::Bool(true));
    let name = encode(&query, deploy.index, text("domain"), short)?;
    if consumer.is("wildcard")
        && let Some((_, rest)) = name.split_once('.')
    {
        return Ok(Some(format!("*.{rest}")));
    }
    Ok(Some(name))
}

async fn newest(
    store: &dyn Store,
    cipher: &Cipher,
    deploy: &Deploy<'_>,
    definition: &Definition,
    name: &str,
    options: Map<String, Value>,
) -> Result<(Stored, bool), Error> {
    let converge = deploy.desired.features.converge_variables;
    let default = if converge { "converge" } else { "no-overwrite" };
    let mode = definition.update_mode.as_deref().unwrap_or(default);
    let existing = open_latest(store, cipher, name).await?;
    if let Some((sealed, entry)) = existing {
        let keep = match mode {
            "overwrite" => false,
            "converge" => sealed.kind == definition.kind && entry.options == options,
            _ => true,
        };
        if keep {
            let stored = Stored {
                id: sealed.id,
                value: entry.value,
            };
            return Ok((stored, false));
        }
    }
    let refused = |message: String| {
        crate::manifest::Error::new(
            Kind::ConfigServerGenerationError,
            format!(
                "Config Server failed to generate value for '{name}' with type '{}'. HTTP Code '400', Error: '{message}'",
                definition.kind
            ),
        )
    };
    let authority = match options.get("ca").and_then(Value::as_str) {
        Some(ca) if definition.kind == "certificate" => {
            Some(authority(store, cipher, ca).await?.map_err(refused)?)
        }
        _ => None,
    };
    let value = generate(
        deploy.ruby,
        &definition.kind,
        &options,
        authority.as_ref(),
        deploy.now,
    )
    .await
    .map_err(|error| refused(error.to_string()))?;
    let entry = Entry { value, options };
    let sealed = Sealed {
        id: uuid::Uuid::new_v4().to_string(),
        name: name.to_owned(),
        kind: definition.kind.clone(),
        value: cipher.seal(name, &entry)?,
    };
    store.put(&sealed).await.map_err(Error::Store)?;
    let stored = Stored {
        id: sealed.id,
        value: entry.value,
    };
    Ok((stored, true))
}

async fn open_latest(
    store: &dyn Store,
    cipher: &Cipher,
    name: &str,
) -> Result<Option<(Sealed, Entry)>, Error> {
    let mut found = store
        .latest(&[name.to_owned()])
        .await
        .map_err(Error::Store)?;
    match found.pop() {
        None => Ok(None),
        Some(sealed) => {
            let entry = cipher.open(name, &sealed.value)?;
            Ok(Some((sealed, entry)))
        }
    }
}

async fn authority(
    store: &dyn Store,
    cipher: &Cipher,
    name: &str,
) -> Result<Result<Authority, String>, Error> {
    let Some((_, entry)) = open_latest(store, cipher, name).await? else {
        return Ok(Err(format!(
            "The request could not be completed because the CA '{name}' does not exist or you do not have sufficient \
             authorization."
        )));
    };
    let text = |key: &str| entry.value.get(key).and_then(Value::as_str);
    Ok(match (text("certificate"), text("private_key")) {
        (Some(certificate), Some(key)) => Rsa::from_pem(key)
            .map(|key| Authority {
                certificate: certificate.to_owned(),
                key,
            })
            .map_err(|error| error.to_string()),
        _ => Err(format!("The CA '{name}' is not a certificate.")),
    })
}
