//! Positional arguments. Source: upstream agent/action/runner.go: too many are ignored, too few are an error, `null` is the
//! zero value of whatever is expected, and errors are worded as Go's encoding/json words them.

use std::collections::BTreeMap;

use bosh_protocol::arguments::{
    BundleLogs, CompileDependency, CompileWithSignedUrl, DeleteArpEntries, FetchLogsWithSignedUrl,
    RunScriptOptions, SshParams, SyncDnsWithSignedUrl, UploadBlob,
};
use bosh_protocol::disk::DiskHint;
use bosh_protocol::{AgentTaskId, ApplySpec, BlobId, DiskCid, MultiDigest, UpdateSettings};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Error;

/// The arguments of one call.
#[derive(Debug)]
pub(super) struct Arguments {
    values: Vec<Value>,
    required: usize,
}

/// What an argument can be.
pub(super) trait Argument: DeserializeOwned {
    /// What upstream calls its type; errors name it.
    const GO: &'static str;
    /// The kind of JSON it is, see [`kind`]; empty if it may be any.
    const KIND: &'static str;

    /// What `null` is; `None` if it is an error.
    fn zero() -> Option<Self>;
}

macro_rules! arguments {
    ($($type:ty, $kind:literal, $go:literal, $zero:expr;)+) => {$(
        impl Argument for $type {
            const GO: &'static str = $go;
            const KIND: &'static str = $kind;

            fn zero() -> Option<Self> {
                $zero
            }
        }
    )+};
}

arguments! {
    String, "string", "string", Some(Self::new());
    AgentTaskId, "string", "string", Some(Self::default());
    BlobId, "string", "string", Some(Self::default());
    DiskCid, "string", "string", Some(Self::default());
    MultiDigest, "string", "crypto.MultipleDigest", None;
    u64, "number", "uint64", Some(0);
    Vec<String>, "array", "[]string", Some(Self::new());
    Option<DiskHint>, "", "interface {}", Some(None);
    ApplySpec, "object", "applyspec.V1ApplySpec", Some(Self::default());
    RunScriptOptions, "object", "action.RunScriptOptions", Some(Self::default());
    BTreeMap<String, CompileDependency>, "object", "compiler.Dependencies", Some(Self::new());
    CompileWithSignedUrl, "object", "action.CompilePackageWithSignedURLRequest", None;
    FetchLogsWithSignedUrl, "object", "action.FetchLogsWithSignedURLRequest", Some(Self::default());
    BundleLogs, "object", "action.BundleLogsRequest", Some(Self::default());
    SshParams, "object", "action.SSHParams", Some(Self::default());
    SyncDnsWithSignedUrl, "object", "action.SyncDNSWithSignedURLRequest", None;
    UpdateSettings, "object", "settings.UpdateSettings", Some(Self::default());
    UploadBlob, "object", "action.UploadBlobSpec", None;
    DeleteArpEntries, "object", "action.DeleteARPEntriesActionArgs", Some(Self::default());
}

impl Arguments {
    /// Fails if there are fewer than `required`.
    pub(super) fn new(values: Vec<Value>, required: usize) -> Result<Self, Error> {
        if values.len() < required {
            let got = values.len();
            return Err(Error::Arguments(format!(
                "Not enough arguments, expected {required}, got {got}"
            )));
        }
        Ok(Self { values, required })
    }

    /// A required argument, from 0.
    pub(super) fn get<T: Argument>(&mut self, index: usize) -> Result<T, Error> {
        debug_assert!(
            index < self.required,
            "argument {index} is not among the required ones"
        );
        let value = self.values.get_mut(index).map(Value::take);
        decode(value.unwrap_or_default())
    }

    /// An argument that may be absent; `null` is not absent.
    pub(super) fn optional<T: Argument>(&mut self, index: usize) -> Result<Option<T>, Error> {
        match self.values.get_mut(index) {
            Some(value) => decode(value.take()).map(Some),
            None => Ok(None),
        }
    }
}

fn decode<T: Argument>(value: Value) -> Result<T, Error> {
    if value.is_null()
        && let Some(zero) = T::zero()
    {
        return Ok(zero);
    }
    let wrong_kind = format!(
        "Unmarshalling action argument: json: cannot unmarshal {} into Go value of type {}",
        kind(&value),
        T::GO
    );
    if !T::KIND.is_empty() && kind(&value) != T::KIND {
        return Err(Error::Arguments(wrong_kind));
    }
    let number = value.as_number().map(ToString::to_string);
    serde_json::from_value(value).map_err(|error| {
        Error::Arguments(match number {
            // A number it is, but not one of that kind.
            Some(number) => wrong_kind.replacen("number", &format!("number {number}"), 1),
            None => format!("Unmarshalling action argument: {error}"),
        })
    })
}

/// The kind of a JSON value, as Go's encoding/json calls it.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message<T: Argument + std::fmt::Debug>(value: Value) -> String {
        let mut arguments = Arguments::new(vec![value], 1).unwrap();
        arguments.get::<T>(0).unwrap_err().to_string()
    }

    #[test]
    fn too_few_too_many() {
        let error = Arguments::new(vec![], 2).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Extracting method arguments from payload: Not enough arguments, expected 2, got 0"
        );
        let values = vec![json!("a"), json!(2), json!("more")];
        let mut arguments = Arguments::new(values, 1).unwrap();
        assert_eq!(arguments.get::<String>(0).unwrap(), "a");
        assert!(arguments.optional::<String>(1).is_err());
        assert_eq!(arguments.optional::<String>(7).unwrap(), None);
    }

    #[test]
    fn wrong_types_are_named_as_go_names_them() {
        const PREFIX: &str = "Extracting method arguments from payload: Unmarshalling action argument: json: cannot unmarshal ";
        for (message, expected) in [
            (
                message::<String>(json!(7)),
                "number into Go value of type string",
            ),
            (
                message::<DiskCid>(json!({})),
                "object into Go value of type string",
            ),
            (
                message::<ApplySpec>(json!([])),
                "array into Go value of type applyspec.V1ApplySpec",
            ),
            (
                message::<Vec<String>>(json!("a")),
                "string into Go value of type []string",
            ),
            (
                message::<u64>(json!("1")),
                "string into Go value of type uint64",
            ),
            (
                message::<u64>(json!(-1)),
                "number -1 into Go value of type uint64",
            ),
            (
                message::<u64>(json!(1.5)),
                "number 1.5 into Go value of type uint64",
            ),
            (
                message::<UpdateSettings>(json!(true)),
                "bool into Go value of type settings.UpdateSettings",
            ),
        ] {
            assert_eq!(message, format!("{PREFIX}{expected}"));
        }
        assert!(message::<SshParams>(json!({"user": 7})).contains("Unmarshalling action argument"));
        assert!(
            message::<ApplySpec>(json!({"packages": {"p": {"sha1": "no/digest"}}}))
                .contains("unable to parse digest string")
        );
    }

    #[test]
    fn null_is_the_zero_value() {
        let values = vec![Value::Null; 4];
        let mut arguments = Arguments::new(values, 4).unwrap();
        assert_eq!(arguments.get::<String>(0).unwrap(), "");
        assert_eq!(arguments.get::<u64>(1).unwrap(), 0);
        assert_eq!(
            arguments.get::<RunScriptOptions>(2).unwrap(),
            RunScriptOptions::default()
        );
        assert_eq!(arguments.get::<Option<DiskHint>>(3).unwrap(), None);
        assert!(message::<MultiDigest>(Value::Null).contains("Unmarshalling action argument"));
    }
}
