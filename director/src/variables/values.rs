//! Values of variables, by full name. Never printed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

/// Values a deployment can see, by full name. Cheap to clone.
#[derive(Clone, Default)]
pub struct Values {
    scope: Arc<str>,
    values: Arc<BTreeMap<String, Stored>>,
}

/// A value with the id under which the store keeps this version of it.
#[derive(Clone, PartialEq)]
pub struct Stored {
    /// Id of this version.
    pub id: String,
    /// The value: a string, or an object for certificates, keys and users.
    pub value: Value,
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stored")
            .field("id", &self.id)
            .field("value", &format_args!("<redacted>"))
            .finish()
    }
}

impl Values {
    /// Values for the deployment `deployment` of the director `director`.
    pub fn new(director: &str, deployment: &str, values: BTreeMap<String, Stored>) -> Self {
        Self {
            scope: format!("/{director}/{deployment}/").into(),
            values: Arc::new(values),
        }
    }

    /// The full name of `name`.
    pub fn full_name(&self, name: &str) -> String {
        if name.starts_with('/') {
            name.to_owned()
        } else {
            format!("{}{name}", self.scope)
        }
    }

    /// The value of `name`, short or full.
    pub fn get(&self, name: &str) -> Option<&Stored> {
        self.values.get(&self.full_name(name))
    }

    /// All values by full name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Stored)> {
        self.values
            .iter()
            .map(|(name, stored)| (name.as_str(), stored))
    }

    /// Adds or replaces a value.
    pub fn insert(&mut self, name: &str, stored: Stored) {
        let name = self.full_name(name);
        Arc::make_mut(&mut self.values).insert(name, stored);
    }
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(
                self.values
                    .keys()
                    .map(|name| (name, format_args!("<redacted>"))),
            )
            .finish()
    }
}
