//! agent.json as understood.

use std::collections::BTreeMap;
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

/// Where settings come from. Upstream: infrastructure/settings_source_factory.go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file that whoever made the VM has put there.
    File(PathBuf),
    /// User data of a metadata service, and the key that it has for `vcap`.
    Http {
        /// Who and how.
        service: Metadata,
        /// The settings; may be in base64.
        user_data_path: String,
        /// Empty for no key.
        ssh_keys_path: String,
    },
    /// Settings as one value of a metadata service.
    InstanceMetadata {
        /// Who and how.
        service: Metadata,
        /// The settings.
        settings_path: String,
    },
    /// A disk with settings and metadata on it.
    ConfigDrive {
        /// Tried in this order.
        disks: Vec<PathBuf>,
        /// What has the keys.
        metadata_path: String,
        /// The settings.
        settings_path: String,
    },
    /// `/dev/sr0`
    Cdrom {
        /// The settings' name.
        file_name: String,
    },
    /// What vSphere holds for its guest.
    VsphereGuestInfo {
        /// Tried first, for it is faster.
        rpctool: String,
        /// Tried if that fails.
        vmtoolsd: String,
    },
}

/// A metadata service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// What all paths come after.
    pub uri: String,
    /// Sent with each request.
    pub headers: BTreeMap<String, String>,
    /// Where a token is to be had that requests then carry; empty for none.
    pub token_path: String,
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
    /// A source of no type.
    #[error("{}: Infrastructure.Settings.Sources[{index}]: Missing source type", path.display())]
    MissingSource {
        /// Which file.
        path: PathBuf,
        /// Which source, from 0.
        index: usize,
    },
    /// A source this agent does not have.
    #[error("{}: Infrastructure.Settings.Sources[{index}]: Unknown source type '{kind}'", path.display())]
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

/// A path that is missing is no mistake yet: upstream finds out when it reads, and another source may do.
fn resolve_source(raw: raw::Source, index: usize, path: &Path) -> Result<Source, Error> {
    let service = Metadata {
        uri: raw.uri,
        headers: raw.headers,
        token_path: raw.token_path,
    };
    let or = |given: String, default: &str| {
        if given.is_empty() {
            default.to_owned()
        } else {
            given
        }
    };
    Ok(match raw.kind.as_str() {
        "File" => Source::File(raw.settings_path.into()),
        "HTTP" => Source::Http {
            service,
            user_data_path: raw.user_data_path,
            ssh_keys_path: raw.ssh_keys_path,
        },
        "InstanceMetadata" => Source::InstanceMetadata {
            // Upstream has no token for this one.
            service: Metadata {
                token_path: String::new(),
                ..service
            },
            settings_path: raw.settings_path,
        },
        "ConfigDrive" => Source::ConfigDrive {
            disks: raw.disk_paths,
            metadata_path: raw.meta_data_path,
            // Upstream has a SettingsPath here and reads the user data in its stead.
            settings_path: or(raw.user_data_path, &raw.settings_path),
        },
        "CDROM" => Source::Cdrom {
            file_name: raw.file_name,
        },
        "VsphereGuestInfo" => Source::VsphereGuestInfo {
            rpctool: or(raw.rpc_tool_path, "vmware-rpctool"),
            vmtoolsd: or(raw.vm_toolsd_path, "vmtoolsd"),
        },
        "" => {
            return Err(Error::MissingSource {
                path: path.to_owned(),
                index,
            });
        }
        _ => {
            return Err(Error::UnknownSource {
                path: path.to_owned(),
                index,
                kind: raw.kind,
            });
        }
    })
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
    fn all_sources_in_their_order() {
        let config = resolve(
            r#"{"Infrastructure": {"Settings": {"Sources": [
                {"Type": "ConfigDrive", "DiskPaths": ["/dev/disk/by-label/CONFIG-2", "/dev/disk/by-label/config-2"],
                 "MetaDataPath": "ec2/latest/meta-data.json", "UserDataPath": "ec2/latest/user-data"},
                {"Type": "HTTP", "URI": "http://169.254.169.254", "Headers": {"Metadata-Flavor": "Google"},
                 "UserDataPath": "/latest/user-data", "InstanceIDPath": "/latest/meta-data/instance-id",
                 "SSHKeysPath": "/keys", "TokenPath": "/latest/api/token"},
                {"Type": "InstanceMetadata", "URI": "http://metadata", "Headers": null, "SettingsPath": "/bosh"},
                {"Type": "CDROM", "FileName": "env"},
                {"Type": "VsphereGuestInfo", "RpcToolPath": "/usr/bin/vmware-rpctool"}]}}}"#,
        )
        .unwrap();
        assert_eq!(
            config.sources,
            [
                Source::ConfigDrive {
                    disks: vec![
                        "/dev/disk/by-label/CONFIG-2".into(),
                        "/dev/disk/by-label/config-2".into()
                    ],
                    metadata_path: "ec2/latest/meta-data.json".into(),
                    settings_path: "ec2/latest/user-data".into(),
                },
                Source::Http {
                    service: Metadata {
                        uri: "http://169.254.169.254".into(),
                        headers: [("Metadata-Flavor".into(), "Google".into())].into(),
                        token_path: "/latest/api/token".into(),
                    },
                    user_data_path: "/latest/user-data".into(),
                    ssh_keys_path: "/keys".into(),
                },
                Source::InstanceMetadata {
                    service: Metadata {
                        uri: "http://metadata".into(),
                        ..Metadata::default()
                    },
                    settings_path: "/bosh".into(),
                },
                Source::Cdrom {
                    file_name: "env".into()
                },
                Source::VsphereGuestInfo {
                    rpctool: "/usr/bin/vmware-rpctool".into(),
                    vmtoolsd: "vmtoolsd".into()
                },
            ]
        );
    }

    #[test]
    fn a_type_is_needed_and_known() {
        let error =
            resolve(r#"{"Infrastructure": {"Settings": {"Sources": [{"Type": "File"}, {}]}}}"#)
                .unwrap_err();
        assert_eq!(
            error.to_string(),
            "agent.json: Infrastructure.Settings.Sources[1]: Missing source type"
        );
        let error =
            resolve(r#"{"Infrastructure": {"Settings": {"Sources": [{"Type": "Pigeon"}]}}}"#)
                .unwrap_err();
        assert!(
            error.to_string().ends_with("Unknown source type 'Pigeon'"),
            "{error}"
        );
    }
}
