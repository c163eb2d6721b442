//! The apply spec the instance has now, in /var/vcap/bosh/spec.json. Source: upstream applyspec/concrete_v1_service.go.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use bosh_protocol::ApplySpec;

use crate::settings::{self, store};

/// The current apply spec, kept in memory and in a file.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    current: RwLock<Arc<ApplySpec>>,
}

impl Store {
    /// Reads the file; an instance before its first `apply` has none.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, settings::Error> {
        let path = path.into();
        let current = store::read(&path)?.unwrap_or_default();
        Ok(Self {
            path,
            current: RwLock::new(Arc::new(current)),
        })
    }

    /// What was applied last.
    pub fn get(&self) -> Arc<ApplySpec> {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Takes over a new one, first in the file.
    pub fn set(&self, spec: ApplySpec) -> Result<(), settings::Error> {
        store::write(&self.path, &spec)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(spec);
        Ok(())
    }
}
