//! What a deploy does with variables: load those there are, make those that are wanted and missing.
//!
//! Upstream: config_server/client.rb (`generate_values`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use futures_util::StreamExt;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::certificate::Authority;
use super::cipher::{self, Cipher, Entry};
use super::config_server::{self, ConfigServer};
use super::definition::Definition;
use super::generate::{generate, key_bits};
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

/// The newest versions of `names` (full or short names of the deployment) that a config server has.
pub async fn load_from(
    server: &ConfigServer,
    director: &str,
    deployment: &str,
    names: &BTreeSet<String>,
) -> Result<Values, Error> {
    let empty = Values::new(director, deployment, BTreeMap::new());
    let full: Vec<String> = names.iter().map(|name| empty.full_name(name)).collect();
    let found = config_server::load(server, &full).await?;
    Ok(Values::new(director, deployment, found))
}

/// The versions with the given ids that a config server has.
pub async fn load_set_from(
    server: &ConfigServer,
    director: &str,
    deployment: &str,
    set: &BTreeMap<String, String>,
) -> Result<Values, Error> {
    let found = config_server::load_set(server, set).await?;
    Ok(Values::new(director, deployment, found))
}

/// Has a config server make the deployment's variables, one after the other as an authority comes before what it signs,
/// and adds all of them to `values`. In a dry run it makes only what is not there at all, as upstream.
pub async fn ensure_at(
    server: &ConfigServer,
    deploy: Deploy<'_>,
    values: &mut Values,
    dry: bool,
) -> Result<Vec<Ensured>, Error> {
    let mut all = Vec::new();
    for definition in &deploy.desired.variables {
        check_name(&definition.name)?;
        let name = values.full_name(&definition.name);
        let strategy = definition.update_strategy.as_deref().unwrap_or("on-deploy");
        let previous = deploy.previous.and_then(|previous| previous.get(&name));
        let latest = uses_latest(strategy, deploy.stemcell_changed, previous);
        let stored = match previous {
            Some(previous) if !latest => previous.clone(),
            _ => {
                let options = options(definition, values, &deploy)?;
                let mode = if dry {
                    "no-overwrite"
                } else {
                    mode(definition, &deploy)
                };
                server
                    .generate(&name, &definition.kind, &options, mode)
                    .await?
            }
        };
        all.push(Ensured {
            name: name.clone(),
            id: stored.id.clone(),
            strategy: strategy.to_owned(),
            latest,
            generated: latest,
        });
        values.insert(&name, stored);
    }
    Ok(all)
}

fn uses_latest(strategy: &str, stemcell_changed: bool, previous: Option<&Stored>) -> bool {
    strategy == "on-deploy"
        || (stemcell_changed && strategy == "on-stemcell-change")
        || previous.is_none()
}

/// What to do with a value that is there.
fn mode<'a>(definition: &'a Definition, deploy: &Deploy<'_>) -> &'a str {
    let converge = deploy.desired.features.converge_variables;
    let default = if converge { "converge" } else { "no-overwrite" };
    definition.update_mode.as_deref().unwrap_or(default)
}

/// A variable to be made.
struct Missing {
    /// Index among the definitions.
    at: usize,
    name: String,
    options: Map<String, Value>,
    bits: Option<u32>,
}

/// Makes the deployment's variables that are not there, or not as they should be, and adds all of them to `values`.
///
/// Keys take long to make, so they are made side by side; certificates are signed in the order of the manifest, in which
/// an authority comes before what it signs.
pub async fn ensure(
    store: &dyn Store,
    cipher: &Cipher,
    deploy: Deploy<'_>,
    values: &mut Values,
) -> Result<Vec<Ensured>, Error> {
    let definitions = &deploy.desired.variables;
    for definition in definitions {
        check_name(&definition.name)?;
    }
    let names: Vec<String> = definitions
        .iter()
        .map(|definition| values.full_name(&definition.name))
        .collect();
    let mut latest = open_latest(store, cipher, &names).await?;
    let mut all = Vec::with_capacity(definitions.len());
    let mut missing = Vec::new();
    for (at, (definition, name)) in definitions.iter().zip(&names).enumerate() {
        let strategy = definition.update_strategy.as_deref().unwrap_or("on-deploy");
        let previous = deploy.previous.and_then(|previous| previous.get(name));
        let use_latest = uses_latest(strategy, deploy.stemcell_changed, previous);
        let mut ensured = Ensured {
            name: name.clone(),
            id: String::new(),
            strategy: strategy.to_owned(),
            latest: use_latest,
            generated: false,
        };
        let kept = match previous {
            Some(previous) if !use_latest => Some(previous.clone()),
            _ => {
                let options = options(definition, values, &deploy)?;
                let kept = keep(&deploy, definition, latest.get(name), &options);
                if kept.is_none() {
                    ensured.generated = true;
                    let bits = key_bits(&definition.kind, &options)
                        .map_err(|error| refused(definition, name, &error))?;
                    missing.push(Missing {
                        at,
                        name: name.clone(),
                        options,
                        bits,
                    });
                }
                kept
            }
        };
        if let Some(stored) = kept {
            ensured.id = stored.id.clone();
            values.insert(name, stored);
        }
        all.push(ensured);
    }
    let keys = keys(deploy.ruby, &missing).await;
    for (variable, key) in missing.into_iter().zip(keys) {
        let definition = &definitions[variable.at];
        let refused = |error: &dyn std::fmt::Display| refused(definition, &variable.name, error);
        let key = key.map_err(|error| refused(&error))?;
        let authority = match variable.options.get("ca").and_then(Value::as_str) {
            Some(ca) if definition.kind == "certificate" => {
                if !latest.contains_key(ca) {
                    latest.extend(open_latest(store, cipher, &[ca.to_owned()]).await?);
                }
                Some(authority(ca, latest.get(ca)).map_err(|error| refused(&error))?)
            }
            _ => None,
        };
        let value = generate(
            &definition.kind,
            &variable.options,
            key.as_ref(),
            authority.as_ref(),
            deploy.now,
        )
        .map_err(|error| refused(&error))?;
        let entry = Entry {
            value,
            options: variable.options,
        };
        let sealed = Sealed {
            id: uuid::Uuid::new_v4().to_string(),
            name: variable.name.clone(),
            kind: definition.kind.clone(),
            value: cipher.seal(&variable.name, &entry)?,
        };
        store.put(&sealed).await.map_err(Error::Store)?;
        all[variable.at].id = sealed.id.clone();
        let stored = Stored {
            id: sealed.id.clone(),
            value: entry.value.clone(),
        };
        values.insert(&variable.name, stored);
        latest.insert(variable.name, (sealed, entry));
    }
    Ok(all)
}

/// The value there is, if it will do.
fn keep(
    deploy: &Deploy<'_>,
    definition: &Definition,
    existing: Option<&(Sealed, Entry)>,
    options: &Map<String, Value>,
) -> Option<Stored> {
    let (sealed, entry) = existing?;
    let keep = match mode(definition, deploy) {
        "overwrite" => false,
        "converge" => sealed.kind == definition.kind && entry.options == *options,
        _ => true,
    };
    keep.then(|| Stored {
        id: sealed.id.clone(),
        value: entry.value.clone(),
    })
}

fn refused(definition: &Definition, name: &str, error: &dyn std::fmt::Display) -> Error {
    Error::Refused(crate::manifest::Error::new(
        Kind::ConfigServerGenerationError,
        format!(
            "Config Server failed to generate value for '{name}' with type '{}'. HTTP Code '400', Error: '{error}'",
            definition.kind
        ),
    ))
}

/// A fresh key for each variable that needs one, in their order.
async fn keys(
    ruby: &Path,
    missing: &[Missing],
) -> Vec<Result<Option<Rsa>, super::generate::Error>> {
    let at_a_time = std::thread::available_parallelism().map_or(2, usize::from);
    let all = missing
        .iter()
        .map(|variable| variable.bits)
        .map(|bits| async move {
            match bits {
                Some(bits) => Rsa::generate(ruby, bits).await.map(Some),
                None => Ok(None),
            }
        });
    futures_util::stream::iter(all.collect::<Vec<_>>())
        .buffered(at_a_time)
        .collect()
        .await
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

async fn open_latest(
    store: &dyn Store,
    cipher: &Cipher,
    names: &[String],
) -> Result<BTreeMap<String, (Sealed, Entry)>, Error> {
    let mut all = BTreeMap::new();
    for sealed in store.latest(names).await.map_err(Error::Store)? {
        let entry = cipher.open(&sealed.name, &sealed.value)?;
        all.insert(sealed.name.clone(), (sealed, entry));
    }
    Ok(all)
}

fn authority(name: &str, found: Option<&(Sealed, Entry)>) -> Result<Authority, String> {
    let Some((_, entry)) = found else {
        return Err(format!(
            "The request could not be completed because the CA '{name}' does not exist or you do not have sufficient \
             authorization."
        ));
    };
    let text = |key: &str| entry.value.get(key).and_then(Value::as_str);
    match (text("certificate"), text("private_key")) {
        (Some(certificate), Some(key)) => Ok(Authority {
            certificate: certificate.to_owned(),
            key: Rsa::from_pem(key).map_err(|error| error.to_string())?,
        }),
        _ => Err(format!("The CA '{name}' is not a certificate.")),
    }
}
