//! Values of a deployment's variables: where they are kept, and which ones a deploy uses.
//!
//! Upstream: config_server/, models/variable_set.rb.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use bosh_director_api::Code;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::Error;
use super::plan::names::Index;
use super::scope::Scope;
use crate::db::events::NewEvent;
use crate::db::variables::Variable;
use crate::db::{self, Db, VariableSetId};
use crate::links::Resolved;
use crate::manifest::Desired;
use crate::variables::deploy::{Deploy, ensure_at, load, load_from, load_set, load_set_from};
use crate::variables::interpolate::names;
use crate::variables::store::Failure;
use crate::variables::{Sealed, Store, Values, ensure};

/// Ruby, which knows how to evaluate what variables are made of.
const RUBY: &str = "ruby";

impl From<crate::variables::deploy::Error> for Error {
    fn from(error: crate::variables::deploy::Error) -> Self {
        match error {
            crate::variables::deploy::Error::Refused(error) => error.into(),
            error => Self::because(Code::Generic.number(), error),
        }
    }
}

/// The database as a place for sealed values. In a dry run new values are made but not kept.
struct Kept {
    db: Db,
    made: Option<Mutex<Vec<Sealed>>>,
}

impl Kept {
    fn new(scope: &Scope) -> Self {
        Self {
            db: scope.db().clone(),
            made: None,
        }
    }

    fn dry(scope: &Scope) -> Self {
        Self {
            db: scope.db().clone(),
            made: Some(Mutex::default()),
        }
    }
}

#[async_trait]
impl Store for Kept {
    async fn latest(&self, names: &[String]) -> Result<Vec<Sealed>, Failure> {
        let mut found = Vec::new();
        for name in names {
            let made = self.made.as_ref().and_then(|made| {
                let made = made.lock().unwrap_or_else(PoisonError::into_inner);
                made.iter()
                    .rev()
                    .find(|sealed| sealed.name == *name)
                    .cloned()
            });
            match made {
                Some(sealed) => found.push(sealed),
                None => found.extend(
                    db::variables::latest_value(&self.db, name)
                        .await?
                        .map(sealed),
                ),
            }
        }
        Ok(found)
    }

    async fn by_id(&self, ids: &[String]) -> Result<Vec<Sealed>, Failure> {
        let mut found = Vec::new();
        for id in ids {
            found.extend(db::variables::value(&self.db, id).await?.map(sealed));
        }
        Ok(found)
    }

    async fn put(&self, new: &Sealed) -> Result<(), Failure> {
        if let Some(made) = &self.made {
            made.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(new.clone());
            return Ok(());
        }
        db::variables::put_value(&self.db, &new.id, &new.name, &new.kind, new.value.clone())
            .await?;
        Ok(())
    }
}

fn sealed(row: db::variables::Value) -> Sealed {
    Sealed {
        id: row.variable_id,
        name: row.name,
        kind: row.kind,
        value: row.value,
    }
}

/// The newest values of the variables that these documents name anywhere.
pub async fn known(scope: &Scope, documents: &[&Value]) -> Result<Values, Error> {
    let mut wanted = BTreeSet::new();
    for document in documents {
        wanted.extend(names(document, &[])?);
    }
    newest(scope, scope.name(), &wanted).await
}

async fn newest(
    scope: &Scope,
    deployment: &str,
    names: &BTreeSet<String>,
) -> Result<Values, Error> {
    let (director, store) = (&scope.settings.director_name, Kept::new(scope));
    if let Some(server) = &scope.director.config_server {
        return Ok(load_from(server, director, deployment, names).await?);
    }
    Ok(load(&store, &scope.director.secrets, director, deployment, names).await?)
}

/// The values that a set refers to.
pub async fn of_set(scope: &Scope, set: VariableSetId) -> Result<Values, Error> {
    let rows = db::variables::in_set(scope.db(), set).await?;
    let own = rows.into_iter().filter(|row| row.is_local.unwrap_or(true));
    let ids: BTreeMap<String, String> = own
        .map(|row| (row.variable_name, row.variable_id))
        .collect();
    let (director, store) = (&scope.settings.director_name, Kept::new(scope));
    if let Some(server) = &scope.director.config_server {
        return Ok(load_set_from(server, director, scope.name(), &ids).await?);
    }
    Ok(load_set(
        &store,
        &scope.director.secrets,
        director,
        scope.name(),
        &ids,
    )
    .await?)
}

/// Values that links from other deployments name, by deployment.
pub async fn foreign(scope: &Scope, links: &Resolved) -> Result<BTreeMap<String, Values>, Error> {
    let mut wanted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for found in links
        .consumers
        .iter()
        .filter_map(|consumer| consumer.found.as_ref())
    {
        let deployment = found
            .content
            .get("deployment_name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if found.external.is_some() && deployment != scope.name() {
            wanted
                .entry(deployment.to_owned())
                .or_default()
                .extend(names(&found.content, &[])?);
        }
    }
    let mut all = BTreeMap::new();
    for (deployment, names) in wanted {
        if !names.is_empty() {
            let values = newest(scope, &deployment, &names).await?;
            all.insert(deployment, values);
        }
    }
    Ok(all)
}

/// What a deploy needs to know to make values.
pub struct Making<'a> {
    /// What is wanted.
    pub desired: &'a Desired,
    /// Its links.
    pub links: &'a Resolved,
    /// Numbers of DNS names.
    pub index: &'a Index,
    /// The set of this deploy.
    pub set: VariableSetId,
    /// Whether all stemcells are new, or newest values are wanted regardless.
    pub stemcell_changed: bool,
    /// Whether nothing is to be kept.
    pub dry: bool,
}

/// The values of a deploy: `known`, and those of the manifest's variables, which are made if they are not there. All of
/// them are written down with the set.
pub async fn generate(scope: &Scope, making: Making<'_>, known: Values) -> Result<Values, Error> {
    let mut values = known;
    let store = if making.dry {
        Kept::dry(scope)
    } else {
        Kept::new(scope)
    };
    let previous = match db::variables::last_successful_set(scope.db(), scope.deployment.id).await?
    {
        Some(set) => Some(of_set(scope, set.id).await?),
        None => None,
    };
    let deploy = Deploy {
        desired: making.desired,
        links: making.links,
        index: making.index,
        previous: previous.as_ref(),
        stemcell_changed: making.stemcell_changed,
        ruby: Path::new(RUBY),
        now: OffsetDateTime::now_utc(),
    };
    let ensured = match &scope.director.config_server {
        Some(server) => ensure_at(server, deploy, &mut values, making.dry).await?,
        None => ensure(&store, &scope.director.secrets, deploy, &mut values).await?,
    };
    if making.dry {
        return Ok(values);
    }
    for made in ensured {
        let mut event: NewEvent = scope.event("create", "variable", Some(made.name.clone()));
        event.context = Some(json!({
            "update_strategy": made.strategy,
            "latest_version": made.latest,
            "name": made.name,
            "id": made.id,
        }));
        scope.task.event(event).await?;
    }
    let used: Vec<Variable> = values
        .iter()
        .map(|(name, stored)| Variable {
            variable_id: stored.id.clone(),
            variable_name: name.to_owned(),
            is_local: Some(true),
            provider_deployment: None,
        })
        .collect();
    db::variables::add_to_set(scope.db(), making.set, &used).await?;
    Ok(values)
}

/// The set that is in use: the newest that was deployed to the end, else the newest; made if there is none.
pub async fn current_set(scope: &Scope) -> Result<VariableSetId, Error> {
    let (db, id) = (scope.db(), scope.deployment.id);
    if let Some(set) = db::variables::last_successful_set(db, id).await? {
        return Ok(set.id);
    }
    if let Some(set) = db::variables::current_set(db, id).await? {
        return Ok(set.id);
    }
    Ok(db::variables::create_set(db, id).await?.id)
}
