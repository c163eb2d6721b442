//! Which CPIs there are: the default one of director.yml, or those that cpi configs name.
//!
//! Clients are kept by program and properties, so that `info` stays cached and the limit of concurrent calls holds
//! across tasks. Upstream: `cloud_factory.rb`, `cpi_config/`.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bosh_cpi::{Cpi, Object};
use serde::Deserialize;
use serde_json::Value;

use crate::{config, db};

/// Why there is no such CPI.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Named, but there is no cpi config at all.
    #[error("CPI '{0}' not found in cpi-config (because cpi-config is not set)")]
    NoConfig(String),
    /// Named, but not in the cpi config.
    #[error("CPI '{0}' not found in cpi-config")]
    NotFound(String),
    /// Two entries of that name, counting `migrated_from`.
    #[error("Duplicate cpi name '{0}'")]
    Duplicate(String),
    /// A cpi config that cannot be read.
    #[error("cpi config: {0}")]
    Invalid(String),
    /// The cpi configs could not be read.
    #[error("read cpi configs")]
    Database(#[from] db::Error),
}

impl Error {
    /// Upstream's error code: CpiDuplicateName, CpiNotFound.
    pub fn code(&self) -> u32 {
        match self {
            Self::Duplicate(_) => 550_000,
            Self::NoConfig(_) | Self::NotFound(_) => 550_001,
            Self::Invalid(_) | Self::Database(_) => 100,
        }
    }
}

/// The CPIs by the latest cpi configs in the database.
pub async fn load(db: &db::Db, registry: &Registry) -> Result<Cpis, Error> {
    let configs = db::configs::latest_set(db, "cpi").await?;
    let parsed = configs
        .iter()
        .map(|config| {
            serde_yaml_ng::from_str(&config.content).map_err(|e| Error::Invalid(e.to_string()))
        })
        .collect::<Result<Vec<Value>, _>>()?;
    registry.with_configs(&parsed)
}

/// Makes CPI clients. Cheap to clone.
#[derive(Clone)]
pub struct Registry(Arc<Shared>);

struct Shared {
    config: config::Cpi,
    director_uuid: String,
    clients: Mutex<HashMap<(PathBuf, String), Cpi>>,
}

/// Most clients that are kept: more only appear when configs with new credentials keep coming.
const MAX_CLIENTS: usize = 64;

/// The CPIs by the cpi configs of one moment.
#[derive(Clone)]
pub struct Cpis {
    registry: Registry,
    /// `None` without any cpi config.
    named: Option<Arc<Vec<Named>>>,
}

#[derive(Debug, Deserialize)]
struct Named {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    exec_path: Option<PathBuf>,
    #[serde(default)]
    migrated_from: Option<Vec<MigratedFrom>>,
    #[serde(default)]
    properties: Option<Object>,
}

#[derive(Debug, Deserialize)]
struct MigratedFrom {
    name: String,
}

impl Named {
    fn names(&self) -> impl Iterator<Item = &str> {
        let former = self.migrated_from.iter().flatten();
        std::iter::once(self.name.as_str()).chain(former.map(|from| from.name.as_str()))
    }
}

impl Registry {
    /// Runs nothing yet.
    pub fn new(config: config::Cpi, director_uuid: impl Into<String>) -> Self {
        Self(Arc::new(Shared {
            config,
            director_uuid: director_uuid.into(),
            clients: Mutex::default(),
        }))
    }

    /// The CPIs by the latest cpi configs, given as parsed and interpolated YAML; an empty list means none.
    pub fn with_configs(&self, configs: &[Value]) -> Result<Cpis, Error> {
        if configs.is_empty() {
            return Ok(self.default_only());
        }
        let mut named: Vec<Named> = Vec::new();
        for config in configs {
            let cpis = config
                .get("cpis")
                .and_then(Value::as_array)
                .ok_or_else(|| Error::Invalid("expected a list under 'cpis'".to_string()))?;
            for cpi in cpis {
                named.push(Named::deserialize(cpi).map_err(|e| Error::Invalid(e.to_string()))?);
            }
        }
        let mut seen = HashSet::new();
        if let Some(twice) = named
            .iter()
            .flat_map(Named::names)
            .find(|name| !seen.insert(*name))
        {
            return Err(Error::Duplicate(twice.to_string()));
        }
        Ok(Cpis {
            registry: self.clone(),
            named: Some(Arc::new(named)),
        })
    }

    /// The CPI of director.yml alone.
    pub fn default_only(&self) -> Cpis {
        Cpis {
            registry: self.clone(),
            named: None,
        }
    }

    fn client(&self, executable: PathBuf, properties: Object) -> Cpi {
        let key = (
            executable.clone(),
            Value::Object(properties.clone()).to_string(),
        );
        let mut clients = self
            .0
            .clients
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return client.clone();
        }
        if clients.len() >= MAX_CLIENTS {
            clients.clear();
        }
        let mut options = bosh_cpi::Options::new(executable, &self.0.director_uuid);
        options.properties = properties;
        options.preferred_api_version = self.0.config.preferred_api_version;
        options.concurrency = self.0.config.concurrency;
        options.timeout = self.0.config.timeout;
        options.journal = self.0.config.journal.clone();
        let client = Cpi::new(options);
        clients.insert(key, client.clone());
        client
    }
}

impl Cpis {
    /// Whether cpi configs name the CPIs.
    pub fn uses_cpi_config(&self) -> bool {
        self.named.is_some()
    }

    /// All names; one empty name without a cpi config.
    pub fn all_names(&self) -> Vec<String> {
        match &self.named {
            None => vec![String::new()],
            Some(named) => named.iter().map(|cpi| cpi.name.clone()).collect(),
        }
    }

    /// A CPI's name and the names it had before; one empty name without a cpi config.
    pub fn aliases(&self, name: &str) -> Result<Vec<String>, Error> {
        match &self.named {
            None => Ok(vec![String::new()]),
            Some(_) => Ok(self.find(name)?.names().map(str::to_string).collect()),
        }
    }

    /// The CPI of that name, present or former; the default CPI for an empty name. `stemcell_api_version` is the VM's.
    pub fn get(&self, name: &str, stemcell_api_version: Option<u32>) -> Result<Cpi, Error> {
        let client = if name.is_empty() {
            let path = self.registry.0.config.path.clone();
            self.registry.client(path, Object::new())
        } else {
            let cpi = self.find(name)?;
            let executable = cpi
                .exec_path
                .clone()
                .unwrap_or_else(|| format!("/var/vcap/jobs/{}_cpi/bin/cpi", cpi.kind).into());
            let properties = cpi.properties.clone().unwrap_or_default();
            self.registry.client(executable, properties)
        };
        Ok(client.for_stemcell(stemcell_api_version))
    }

    fn find(&self, name: &str) -> Result<&Named, Error> {
        self.named
            .as_ref()
            .ok_or_else(|| Error::NoConfig(name.to_string()))?
            .iter()
            .find(|cpi| cpi.names().any(|known| known == name))
            .ok_or_else(|| Error::NotFound(name.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn registry() -> Registry {
        let config = config::Cpi {
            name: "local".into(),
            path: "/bin/default-cpi".into(),
            preferred_api_version: 3,
            concurrency: 1,
            timeout: Duration::from_secs(1),
            journal: None,
        };
        Registry::new(config, "uuid")
    }

    #[test]
    fn without_a_config_there_is_the_default() {
        let cpis = registry().default_only();
        assert!(!cpis.uses_cpi_config());
        assert_eq!(cpis.all_names(), [""]);
        let path = cpis.get("", None).unwrap().options().executable.clone();
        assert_eq!(path, PathBuf::from("/bin/default-cpi"));
        assert_eq!(
            cpis.get("x", None).err().unwrap().to_string(),
            "CPI 'x' not found in cpi-config (because cpi-config is not set)"
        );
    }

    #[test]
    fn named_cpis_are_found_by_former_names_too() {
        let config = json!({"cpis": [
            {"name": "a", "type": "warden", "properties": {"k": "v"}, "migrated_from": [{"name": "old"}]},
            {"name": "b", "type": "x", "exec_path": "/opt/x"},
        ]});
        let cpis = registry().with_configs(&[config]).unwrap();
        assert_eq!(cpis.all_names(), ["a", "b"]);
        assert_eq!(cpis.aliases("old").unwrap(), ["a", "old"]);
        let a = cpis.get("old", Some(2)).unwrap();
        assert_eq!(
            a.options().executable,
            PathBuf::from("/var/vcap/jobs/warden_cpi/bin/cpi")
        );
        assert_eq!(a.options().properties["k"], "v");
        let b = cpis.get("b", None).unwrap();
        assert_eq!(b.options().executable, PathBuf::from("/opt/x"));
        assert_eq!(cpis.get("c", None).err().unwrap().code(), 550_001);
    }

    #[test]
    fn names_are_unique_across_configs() {
        let one = json!({"cpis": [{"name": "a", "type": "t"}]});
        let two = json!({"cpis": [{"name": "b", "type": "t", "migrated_from": [{"name": "a"}]}]});
        let error = registry().with_configs(&[one, two]).err().unwrap();
        assert_eq!(error.to_string(), "Duplicate cpi name 'a'");
    }
}
