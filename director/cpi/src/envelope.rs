//! What goes over the pipe: request, response, and the parts they share.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Object;

/// What a CPI reads from its standard input.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Request {
    /// The method's name, such as `create_vm`.
    pub method: String,
    /// Its positional arguments.
    #[serde(default)]
    pub arguments: Vec<Value>,
    /// Who asks, and with which credentials.
    #[serde(default)]
    pub context: Context,
    /// The version of the contract the caller speaks; absent means 1 (and in `info`, not negotiated yet).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<u32>,
}

/// Who asks. `properties` are those of the CPI config's entry, laid flat beside the rest.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Context {
    /// The director's own id.
    #[serde(default)]
    pub director_uuid: String,
    /// `cpi-` and six digits; names this call in the logs of both sides.
    #[serde(default)]
    pub request_id: String,
    /// What the CPI has to know about the VM's stemcell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm: Option<VmContext>,
    /// Properties from the CPI config: credentials, regions and the like.
    #[serde(flatten)]
    pub properties: Object,
}

/// `context.vm`
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct VmContext {
    /// `context.vm.stemcell`
    #[serde(default)]
    pub stemcell: StemcellContext,
}

/// `context.vm.stemcell`
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct StemcellContext {
    /// The stemcell's `api_version` from its stemcell.MF.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<u32>,
}

/// What a CPI writes to its standard output.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Response {
    /// The method's result, null for those that have none.
    #[serde(default)]
    pub result: Value,
    /// Why it could not be done; null when it was.
    #[serde(default)]
    pub error: Option<Failure>,
    /// Free text for the task's CPI log.
    #[serde(default)]
    pub log: String,
}

impl Response {
    /// The call was done.
    pub fn success(result: Value) -> Self {
        Self {
            result,
            error: None,
            log: String::new(),
        }
    }

    /// The call was not done.
    pub fn failure(failure: Failure) -> Self {
        Self {
            result: Value::Null,
            error: Some(failure),
            log: String::new(),
        }
    }
}

/// The `error` of a response.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// An error class such as `Bosh::Clouds::VMNotFound`; see [`Kind`].
    #[serde(rename = "type")]
    pub kind: String,
    /// For people.
    pub message: String,
    /// Whether the same call may succeed when repeated; only read for [`Kind::is_retriable`] classes.
    #[serde(default)]
    pub ok_to_retry: bool,
}

impl Failure {
    /// A failure of a class that every director knows.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind: kind.as_str().to_string(),
            message: message.into(),
            ok_to_retry: false,
        }
    }

    /// The same failure, marked as worth repeating.
    pub fn retriable(mut self) -> Self {
        self.ok_to_retry = true;
        self
    }

    /// The class, if it is one that a director knows.
    pub fn known_kind(&self) -> Option<Kind> {
        Kind::parse(&self.kind)
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)+) => {
        /// The error classes that a director knows; any other is an unknown CPI error.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub enum Kind {
            $($(#[$doc])* $variant,)+
        }

        impl Kind {
            /// The class's name on the wire.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// The class of that name, if it is a known one.
            pub fn parse(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

kinds! {
    /// The CPI itself is broken or misconfigured.
    CpiError = "Bosh::Clouds::CpiError",
    /// The infrastructure cannot do this with these arguments.
    NotSupported = "Bosh::Clouds::NotSupported",
    /// The CPI has no such method.
    NotImplemented = "Bosh::Clouds::NotImplemented",
    /// The infrastructure refused or failed.
    CloudError = "Bosh::Clouds::CloudError",
    /// The VM does not exist.
    VmNotFound = "Bosh::Clouds::VMNotFound",
    /// The network does not exist.
    NetworkNotFound = "Bosh::Clouds::NetworkNotFound",
    /// No room for the disk.
    NoDiskSpace = "Bosh::Clouds::NoDiskSpace",
    /// The disk is not attached to the VM.
    DiskNotAttached = "Bosh::Clouds::DiskNotAttached",
    /// The disk does not exist.
    DiskNotFound = "Bosh::Clouds::DiskNotFound",
    /// The VM could not be created.
    VmCreationFailed = "Bosh::Clouds::VMCreationFailed",
}

impl Kind {
    /// Whether `ok_to_retry` has a meaning for this class.
    pub fn is_retriable(self) -> bool {
        matches!(
            self,
            Self::NoDiskSpace | Self::DiskNotAttached | Self::DiskNotFound | Self::VmCreationFailed
        )
    }
}

/// The result of `info`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Info {
    /// The newest version of the contract the CPI speaks. A director refuses a CPI that does not say.
    #[serde(default)]
    pub api_version: Option<u32>,
    /// Stemcell formats it can import, such as `warden-tar`.
    #[serde(default)]
    pub stemcell_formats: Vec<String>,
}
