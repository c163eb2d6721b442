//! agent.json as understood.

use std::path::{Path, PathBuf};

use super::raw;
use crate::platform;

/// What agent.json says.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// About this machine.
    pub platform: platform::Options,
    /// Where settings come from, first choice first.
    pub sources: Vec<Source>,
}

/// Where settings come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file that whoever made the VM has put there.
    File(PathBuf),
}

/// What is wrong with agent.json.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not what it should be.
    #[error("parse {}", path.display())]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Where and what was expected.
        #[source]
        source: serde_json::Error,
    },
    /// A source without a necessary key.
    #[error("{}: Infrastructure.Settings.Sources[{index}] of type {kind} needs {key}", path.display())]
    MissingKey {
        /// Which file.
        path: PathBuf,
        /// Which source, from 0.
        index: usize,
        /// Its type.
        kind: String,
        /// What is missing.
        key: &'static str,
    },
    /// A source this agent does not have.
    #[error("{}: Infrastructure.Settings.Sources[{index}] has type '{kind}', expected one of: File", path.display())]
    UnknownSource {
        /// Which file.
        path: PathBuf,
        /// Which source, from 0.
        index: usize,
        /// Its type.
        kind: String,
    },
}

impl Config {
    /// Reads agent.json; without one everything is as a stemcell without options wants it.
    pub fn load(path: Option<&Path>) -> Result<Self, Error> {
        let Some(path) = path else {
            return Ok(Self::default());
        };
        let bytes = std::fs::read(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        let raw = serde_json::from_slice(&bytes).map_err(|source| Error::Parse {
            path: path.to_owned(),
            source,
        })?;
        Self::resolve(raw, path)
    }

    /// Checks what was read; `path` is for messages.
    pub fn resolve(raw: raw::Config, path: &Path) -> Result<Self, Error> {
        let sources = raw.infrastructure.settings.sources.into_iter().enumerate();
        let sources = sources
            .map(|(index, source)| resolve_source(source, index, path))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            platform: raw.platform.linux,
            sources,
        })
    }
}

fn resolve_source(raw: raw::Source, index: usize, path: &Path) -> Result<Source, Error> {
    match raw.kind.as_str() {
        "File" if raw.settings_path.is_empty() => Err(Error::MissingKey {
            path: path.to_owned(),
            index,
            kind: raw.kind,
            key: "SettingsPath",
        }),
        "File" => Ok(Source::File(PathBuf::from(raw.settings_path))),
        _ => Err(Error::UnknownSource {
            path: path.to_owned(),
            index,
            kind: raw.kind,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(json: &str) -> Result<Config, Error> {
        Config::resolve(serde_json::from_str(json).unwrap(), Path::new("agent.json"))
    }

    #[test]
    fn a_warden_stemcells_file() {
        let config = resolve(
            r#"{"Platform": {"Linux": {"UseDefaultTmpDir": true, "SkipDiskSetup": true}},
                "Infrastructure": {"Settings": {"Sources": [
                    {"Type": "File", "SettingsPath": "/var/vcap/bosh/warden-cpi-agent-env.json"}], "UseRegistry": false}}}"#,
        )
        .unwrap();
        assert_eq!(
            config.sources,
            [Source::File(
                "/var/vcap/bosh/warden-cpi-agent-env.json".into()
            )]
        );
        assert!(config.platform.skip_disk_setup);
    }

    #[test]
    fn mistakes_name_the_key() {
        let error = resolve(r#"{"Infrastructure": {"Settings": {"Sources": [{"Type": "File"}]}}}"#)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "agent.json: Infrastructure.Settings.Sources[0] of type File needs SettingsPath"
        );
        let error =
            resolve(r#"{"Infrastructure": {"Settings": {"Sources": [{"Type": "Pigeon"}]}}}"#)
                .unwrap_err();
        assert!(error.to_string().contains("has type 'Pigeon'"), "{error}");
    }
}
