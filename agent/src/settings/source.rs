//! The order in which sources are tried: the first that answers stays. Source: upstream
//! infrastructure/multi_settings_source.go.

use std::sync::OnceLock;

use bosh_protocol::Settings;

use super::{Error, file};
use crate::config::Source;

/// All sources of agent.json.
#[derive(Debug)]
pub struct Sources {
    sources: Vec<Source>,
    chosen: OnceLock<usize>,
}

impl Sources {
    /// Needs at least one.
    pub fn new(sources: Vec<Source>) -> Result<Self, Error> {
        if sources.is_empty() {
            return Err(Error::NoSource);
        }
        Ok(Self {
            sources,
            chosen: OnceLock::new(),
        })
    }

    /// The settings as they are now at their source.
    pub fn settings(&self) -> Result<Settings, Error> {
        if let Some(chosen) = self.chosen.get() {
            return settings(&self.sources[*chosen]);
        }
        let mut last = Error::NoSource;
        for (index, source) in self.sources.iter().enumerate() {
            match settings(source) {
                Ok(settings) => {
                    // Already set only if another caller was faster, with the same result.
                    let _ = self.chosen.set(index);
                    return Ok(settings);
                }
                Err(error) => {
                    tracing::warn!(
                        ?source,
                        error = &error as &dyn std::error::Error,
                        "no settings from this source"
                    );
                    last = error;
                }
            }
        }
        Err(last)
    }

    /// The key that the infrastructure wants `vcap` to be reachable with.
    pub fn public_ssh_key(&self) -> Result<Option<String>, Error> {
        let mut last = Error::NoSource;
        for source in &self.sources {
            match public_ssh_key(source) {
                Ok(key) => return Ok(key),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

fn settings(source: &Source) -> Result<Settings, Error> {
    match source {
        Source::File(path) => file::settings(path),
    }
}

fn public_ssh_key(source: &Source) -> Result<Option<String>, Error> {
    match source {
        Source::File(path) => file::public_ssh_key(path),
    }
}
