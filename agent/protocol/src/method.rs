//! The methods an agent answers. Source: upstream agent/action/concrete_factory.go and each action's traits.

use std::str::FromStr;

macro_rules! methods {
    ($($(#[$doc:meta])* $variant:ident = $name:literal),+ $(,)?) => {
        /// A method of the agent.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Method {
            $($(#[$doc])* $variant),+
        }

        impl Method {
            /// Every method.
            pub const ALL: &'static [Method] = &[$(Method::$variant),+];

            /// Its name on the wire.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name),+
                }
            }
        }

        impl FromStr for Method {
            type Err = UnknownMethod;

            fn from_str(name: &str) -> Result<Self, UnknownMethod> {
                match name {
                    $($name => Ok(Self::$variant),)+
                    _ => Err(UnknownMethod(name.to_owned())),
                }
            }
        }
    };
}

methods! {
    /// `[]` -> `"pong"`
    Ping = "ping",
    /// `[]` -> `{"api_version": 1}`
    Info = "info",
    /// `["full"?]` -> [`crate::State`]
    GetState = "get_state",
    /// `[ApplySpec]` -> `"prepared"`
    Prepare = "prepare",
    /// `[ApplySpec]` -> `"applied"`
    Apply = "apply",
    /// `[]` -> `"started"`
    Start = "start",
    /// `[]` -> `"stopped"`
    Stop = "stop",
    /// `[type, ApplySpec?]` -> `0`
    Drain = "drain",
    /// `[name, {"env": {}}]` -> `{}`
    RunScript = "run_script",
    /// `[name?]` -> [`crate::arguments::ErrandResult`]
    RunErrand = "run_errand",
    /// `[blob id, digest, name, version, deps]` -> [`crate::arguments::Compiled`]
    CompilePackage = "compile_package",
    /// `[`[`crate::arguments::CompileWithSignedUrl`]`]` -> [`crate::arguments::Compiled`]
    CompilePackageWithSignedUrl = "compile_package_with_signed_url",
    /// `[task id]` -> the task's result or its [`crate::AgentTask`]
    GetTask = "get_task",
    /// `[task id]` -> `"canceled"`
    CancelTask = "cancel_task",
    /// `[]` -> `["disk cid"]`
    ListDisk = "list_disk",
    /// `[disk cid]` -> `{}`
    MountDisk = "mount_disk",
    /// `[disk cid]` -> `{"message": ...}`
    UnmountDisk = "unmount_disk",
    /// `[]` -> `{}`
    MigrateDisk = "migrate_disk",
    /// `[disk cid, hint]` -> `{}`
    AddPersistentDisk = "add_persistent_disk",
    /// `[disk cid]` -> `{}`
    RemovePersistentDisk = "remove_persistent_disk",
    /// `[disk cid, hint]` -> `{}`
    AddDynamicDisk = "add_dynamic_disk",
    /// `[disk cid]` -> `{}`
    RemoveDynamicDisk = "remove_dynamic_disk",
    /// `[log type, filters]` -> [`crate::arguments::FetchedLogs`]
    FetchLogs = "fetch_logs",
    /// `[`[`crate::arguments::FetchLogsWithSignedUrl`]`]` -> [`crate::arguments::FetchedLogs`]
    FetchLogsWithSignedUrl = "fetch_logs_with_signed_url",
    /// `[`[`crate::arguments::BundleLogs`]`]` -> [`crate::arguments::BundledLogs`]
    BundleLogs = "bundle_logs",
    /// `["setup" | "cleanup", `[`crate::arguments::SshParams`]`]` -> [`crate::arguments::SshResult`]
    Ssh = "ssh",
    /// `[blob id, digest, version]` -> `"synced"`
    SyncDns = "sync_dns",
    /// `[`[`crate::arguments::SyncDnsWithSignedUrl`]`]` -> `"synced"`
    SyncDnsWithSignedUrl = "sync_dns_with_signed_url",
    /// `[UpdateSettings]` -> `"ok"`
    UpdateSettings = "update_settings",
    /// `[`[`crate::arguments::UploadBlob`]`]` -> the blob's id
    UploadBlob = "upload_blob",
    /// `[]` -> `""`; the VM goes down
    Shutdown = "shutdown",
    /// `[path]` -> the path
    RemoveFile = "remove_file",
    /// `[{"ips": []}]` -> `{}`
    DeleteArpEntries = "delete_arp_entries",
    /// `[]` -> `"ok"`; the settings are fetched anew and the networks configured a moment later. Only old directors ask.
    PrepareNetworkChange = "prepare_network_change",
    /// `[]` -> `"ok"`; the settings will be fetched anew. Only old directors ask.
    PrepareConfigureNetworks = "prepare_configure_networks",
    /// `[]` -> `"ok"`; the networks are what the infrastructure says now. Only old directors ask.
    ConfigureNetworks = "configure_networks",
    /// `[]` -> the apply spec of a release that was baked into the stemcell. Only old command lines ask.
    ReleaseApplySpec = "release_apply_spec",
}

impl Method {
    /// Whether the method answers with an [`crate::AgentTask`] at once and its result through `get_task`.
    pub fn is_asynchronous(self, protocol: u64) -> bool {
        match self {
            Self::Prepare
            | Self::Apply
            | Self::Stop
            | Self::Drain
            | Self::RunScript
            | Self::RunErrand
            | Self::CompilePackage
            | Self::CompilePackageWithSignedUrl
            | Self::MountDisk
            | Self::UnmountDisk
            | Self::MigrateDisk
            | Self::AddPersistentDisk
            | Self::RemovePersistentDisk
            | Self::AddDynamicDisk
            | Self::FetchLogs
            | Self::FetchLogsWithSignedUrl
            | Self::UpdateSettings
            | Self::ConfigureNetworks
            | Self::UploadBlob => true,
            Self::ListDisk => protocol >= 3,
            Self::Ping
            | Self::Info
            | Self::GetState
            | Self::Start
            | Self::GetTask
            | Self::CancelTask
            | Self::RemoveDynamicDisk
            | Self::BundleLogs
            | Self::Ssh
            | Self::SyncDns
            | Self::SyncDnsWithSignedUrl
            | Self::Shutdown
            | Self::RemoveFile
            | Self::DeleteArpEntries
            | Self::PrepareNetworkChange
            | Self::PrepareConfigureNetworks
            | Self::ReleaseApplySpec => false,
        }
    }

    /// Whether its task is finished by a restarted agent, under the same id.
    pub fn is_persistent(self) -> bool {
        matches!(self, Self::UpdateSettings | Self::ConfigureNetworks)
    }

    /// Whether its arguments may be logged at debug level.
    pub fn is_loggable(self) -> bool {
        !matches!(self, Self::UploadBlob | Self::UpdateSettings)
    }
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// No agent knows this method. The director looks for these words and then does without it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown message {0}")]
pub struct UnknownMethod(pub String);
