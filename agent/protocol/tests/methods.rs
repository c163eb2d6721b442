//! One golden file per method: the request, the reply, for a task its result, and a failure. What this crate decodes and
//! encodes again must be what it was, key for key.

#![expect(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, in its helpers too"
)]

use std::collections::BTreeMap;
use std::path::Path;

use bosh_protocol::arguments::{
    BundleLogs, BundledLogs, CompileDependency, CompileWithSignedUrl, Compiled, DeleteArpEntries,
    DrainType, ErrandResult, FetchLogsWithSignedUrl, FetchedLogs, RunScriptOptions, SshParams,
    SshResult, SyncDnsWithSignedUrl, Unmounted, UploadBlob,
};
use bosh_protocol::disk::DiskHint;
use bosh_protocol::state::Info;
use bosh_protocol::{
    AgentTask, AgentTaskId, ApplySpec, BlobId, DiskCid, Method, MultiDigest, Request, Response,
    State, UpdateSettings,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

fn golden(method: Method) -> Map<String, Value> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/methods");
    let text = std::fs::read_to_string(dir.join(format!("{method}.json")))
        .unwrap_or_else(|error| panic!("{method} has no golden file: {error}"));
    serde_json::from_str(&text).unwrap()
}

fn again<T: Serialize + DeserializeOwned>(value: &Value) -> Value {
    let decoded: T = serde_json::from_value(value.clone()).unwrap();
    serde_json::to_value(decoded).unwrap()
}

/// How each argument is read, in their order.
fn arguments(method: Method) -> Vec<fn(&Value) -> Value> {
    use Method::*;
    match method {
        Ping
        | Info
        | Start
        | Stop
        | ListDisk
        | MigrateDisk
        | Shutdown
        | PrepareNetworkChange
        | PrepareConfigureNetworks
        | ConfigureNetworks
        | ReleaseApplySpec => vec![],
        GetState | RunErrand | RemoveFile => vec![again::<String>],
        Prepare | Apply => vec![again::<ApplySpec>],
        Drain => vec![again::<DrainType>, again::<ApplySpec>],
        RunScript => vec![again::<String>, again::<RunScriptOptions>],
        CompilePackage => vec![
            again::<BlobId>,
            again::<MultiDigest>,
            again::<String>,
            again::<String>,
            again::<BTreeMap<String, CompileDependency>>,
        ],
        CompilePackageWithSignedUrl => vec![again::<CompileWithSignedUrl>],
        GetTask | CancelTask => vec![again::<AgentTaskId>],
        MountDisk | UnmountDisk | RemovePersistentDisk | RemoveDynamicDisk => {
            vec![again::<DiskCid>]
        }
        AddPersistentDisk | AddDynamicDisk => vec![again::<DiskCid>, again::<DiskHint>],
        FetchLogs => vec![again::<String>, again::<Vec<String>>],
        FetchLogsWithSignedUrl => vec![again::<self::FetchLogsWithSignedUrl>],
        BundleLogs => vec![again::<self::BundleLogs>],
        Ssh => vec![again::<String>, again::<SshParams>],
        SyncDns => vec![again::<BlobId>, again::<MultiDigest>, again::<u64>],
        SyncDnsWithSignedUrl => vec![again::<self::SyncDnsWithSignedUrl>],
        UpdateSettings => vec![again::<self::UpdateSettings>],
        UploadBlob => vec![again::<self::UploadBlob>],
        DeleteArpEntries => vec![again::<self::DeleteArpEntries>],
    }
}

/// How the result is read.
fn result(method: Method) -> fn(&Value) -> Value {
    use Method::*;
    match method {
        Ping
        | Prepare
        | Apply
        | Start
        | Stop
        | CancelTask
        | SyncDns
        | SyncDnsWithSignedUrl
        | UpdateSettings
        | Shutdown
        | RemoveFile
        | PrepareNetworkChange
        | PrepareConfigureNetworks
        | ConfigureNetworks => again::<String>,
        UploadBlob => again::<BlobId>,
        Info => again::<self::Info>,
        GetState => again::<State>,
        Drain => again::<i64>,
        RunScript | MountDisk | MigrateDisk | AddPersistentDisk | RemovePersistentDisk
        | AddDynamicDisk | RemoveDynamicDisk | DeleteArpEntries => again::<BTreeMap<String, ()>>,
        RunErrand => again::<ErrandResult>,
        CompilePackage | CompilePackageWithSignedUrl => again::<Compiled>,
        GetTask => again::<AgentTask>,
        ListDisk => again::<Vec<DiskCid>>,
        UnmountDisk => again::<Unmounted>,
        FetchLogs | FetchLogsWithSignedUrl => again::<FetchedLogs>,
        BundleLogs => again::<BundledLogs>,
        Ssh => again::<SshResult>,
        ReleaseApplySpec => again::<Value>,
    }
}

#[test]
fn requests() {
    for &method in Method::ALL {
        let golden = &golden(method)["request"];
        assert_eq!(&again::<Request>(golden), golden, "{method}");
        assert_eq!(golden["method"], method.as_str());
        let given = golden["arguments"].as_array().unwrap();
        let readers = arguments(method);
        assert_eq!(given.len(), readers.len(), "{method}");
        for (given, read) in given.iter().zip(readers) {
            assert_eq!(&read(given), given, "{method}");
        }
    }
}

#[test]
fn replies() {
    for &method in Method::ALL {
        let golden = golden(method);
        let reply = &golden["reply"];
        assert_eq!(&again::<Response>(reply), reply, "{method}");
        let protocol = golden["request"]["protocol"].as_u64().unwrap();
        let value = if method.is_asynchronous(protocol) {
            assert_eq!(
                again::<AgentTask>(&reply["value"]),
                reply["value"],
                "{method}"
            );
            &golden["result"]["value"]
        } else {
            assert!(!golden.contains_key("result"), "{method} has no task");
            &reply["value"]
        };
        assert_eq!(&result(method)(value), value, "{method}");
    }
}

#[test]
fn failures() {
    let mut failing = 0;
    for &method in Method::ALL {
        let Some(failure) = golden(method).remove("failure") else {
            continue;
        };
        failing += 1;
        assert_eq!(again::<Response>(&failure), failure, "{method}");
        let response: Response = serde_json::from_value(failure).unwrap();
        let message = response.into_result().unwrap_err().message;
        // A task fails in the answer to the question after it.
        let asked = match method.is_asynchronous(3) {
            true => Method::GetTask,
            false => method,
        };
        assert!(
            message.starts_with(&format!("Action Failed {asked}: ")),
            "{method}: {message}"
        );
    }
    assert!(failing > 30, "{failing}");
}

#[test]
fn every_file_is_a_methods() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/methods");
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(name.parse::<Method>().is_ok(), "{name} is no method");
    }
}
