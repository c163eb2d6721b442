//! One agent: a method here for each of its methods.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bosh_protocol::arguments::{
    BundleLogs, BundledLogs, CompileDependency, CompileWithSignedUrl, Compiled, DrainType,
    ErrandResult, FetchLogsWithSignedUrl, FetchedLogs, RunScriptOptions, SshParams, SshResult,
    SyncDnsWithSignedUrl,
};
use bosh_protocol::{AgentId, ApplySpec, Exception, MultiDigest, Secret, State};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{Caller, Client, Error};

/// How long `stop` may take before it is given up silently. Upstream: 5 minutes.
const STOP_TIMEOUT: Duration = Duration::from_secs(300);
/// How long `sync_dns` may take. Upstream: 10 s.
const SYNC_DNS_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a lost `get_task` is repeated: an agent that restarts misses some.
const GET_TASK_RETRIES: u32 = 4;
/// How soon a `get_task` without a reply is sent again, at first and at last.
const RESEND: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(250));
const GET_STATE_RETRIES: u32 = 2;
const UPLOAD_BLOB_RETRIES: u32 = 3;
/// Longest message that an agent left in the blobstore.
const MAX_BLOB: u64 = 16 * 1024 * 1024;

/// One agent as one caller sees it. Cheap to clone.
#[derive(Clone)]
pub struct Agent {
    client: Client,
    id: AgentId,
    instance: String,
    caller: Arc<dyn Caller>,
}

/// What `update_settings` changes; absent parts stay as they are.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SettingsUpdate {
    /// PEM certificates that the VM trusts.
    pub trusted_certs: String,
    /// Names of disks that the director does not manage.
    pub disk_associations: Vec<BTreeMap<String, String>>,
    /// `[{"provider", "options"}]`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blobstores: Option<Value>,
    /// The certificate to connect to the message bus with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mbus: Option<Mbus>,
}

/// An agent's certificate for the message bus, as `{"cert": {"ca", "certificate", "private_key"}}`.
#[derive(Clone, Debug)]
pub struct Mbus {
    /// PEM of the CA that signed the server's certificate.
    pub ca: String,
    /// PEM of the agent's certificate.
    pub certificate: String,
    /// PEM of its key.
    pub private_key: Secret,
}

impl Serialize for Mbus {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        json!({"cert": {
            "ca": self.ca,
            "certificate": self.certificate,
            "private_key": self.private_key.expose(),
        }})
        .serialize(serializer)
    }
}

/// What a reply says about a task in the agent.
struct Reply {
    running: bool,
    task_id: Option<String>,
    value: Value,
}

impl Agent {
    pub(super) fn new(
        client: Client,
        id: AgentId,
        instance: String,
        caller: Arc<dyn Caller>,
    ) -> Self {
        let instance = if instance.is_empty() {
            "unknown".to_string()
        } else {
            instance
        };
        Self {
            client,
            id,
            instance,
            caller,
        }
    }

    /// The agent's id.
    pub fn id(&self) -> &AgentId {
        &self.id
    }

    /// Asks for a sign of life, once.
    pub async fn ping(&self, timeout: Duration) -> Result<(), Error> {
        self.request("ping", Vec::new(), timeout).await.map(drop)
    }

    /// Waits until a new VM's agent answers. `vm_cid` is for the message.
    pub async fn wait_until_ready(&self, deadline: Duration, vm_cid: &str) -> Result<(), Error> {
        tokio::select! {
            ready = self.pinged(deadline, vm_cid) => ready,
            () = self.caller.cancelled() => Err(Error::Cancelled("ping".to_string())),
        }
    }

    async fn pinged(&self, deadline: Duration, vm_cid: &str) -> Result<(), Error> {
        let start = Instant::now();
        let not_ready = || Error::NotReady {
            vm_cid: vm_cid.to_string(),
            agent_id: self.id.to_string(),
            after: deadline,
        };
        'ask: while start.elapsed() < deadline {
            // One request with one reply subject, sent again and again; logged about once a second.
            let mut call =
                self.client
                    .prepare(&self.id, "ping", Vec::new(), Some(self.caller.clone()));
            let logged = Instant::now();
            while logged.elapsed() < Duration::from_secs(1) {
                call.send().await?;
                let pause = (start.elapsed() / 8)
                    .clamp(Duration::from_millis(10), Duration::from_millis(250))
                    .min(deadline.saturating_sub(start.elapsed()));
                match call
                    .reply(pause)
                    .await
                    .map(bosh_protocol::Response::into_result)
                {
                    Some(Ok(_pong)) => return Ok(()),
                    Some(Err(e)) if e.message.starts_with("restarting agent") => {
                        tokio::time::sleep(pause).await;
                        continue 'ask;
                    }
                    Some(Err(e)) => return Err(self.remote(e).await),
                    None if start.elapsed() >= deadline => return Err(not_ready()),
                    None => {}
                }
            }
        }
        Err(not_ready())
    }

    /// What the agent can do; 0 from agents too old to say.
    pub async fn info(&self) -> Result<u64, Error> {
        match self.send("info", Vec::new()).await {
            Ok(value) => Ok(value["api_version"].as_u64().unwrap_or(0)),
            Err(e) if e.is_unknown_method() => {
                self.ignored("info", &e);
                Ok(0)
            }
            Err(e) => Err(e),
        }
    }

    /// What runs on the VM; with processes, vitals and VM when `full`.
    pub async fn get_state(&self, full: bool) -> Result<State, Error> {
        let arguments = if full {
            vec![json!("full")]
        } else {
            Vec::new()
        };
        self.typed("get_state", arguments).await
    }

    /// [`Agent::get_state`] with a deadline of the caller's for the reply, once.
    pub async fn get_state_within(&self, full: bool, timeout: Duration) -> Result<State, Error> {
        let arguments = if full {
            vec![json!("full")]
        } else {
            Vec::new()
        };
        let value = self.request("get_state", arguments, timeout).await?;
        self.parse("get_state", reply(value).value)
    }

    /// Any method that answers at once, with a deadline of the caller's for the reply, once.
    pub async fn call_within(
        &self,
        method: &str,
        arguments: Vec<Value>,
        timeout: Duration,
    ) -> Result<Value, Error> {
        Ok(reply(self.request(method, arguments, timeout).await?).value)
    }

    /// Any method, with a deadline of the caller's for the first reply; a task that comes of it is waited for.
    pub async fn start_within(
        &self,
        method: &str,
        arguments: Vec<Value>,
        timeout: Duration,
    ) -> Result<Value, Error> {
        let started = reply(self.request(method, arguments, timeout).await?);
        match started.task_id {
            Some(task_id) => self.wait_for_task(&task_id, None).await,
            None => Ok(started.value),
        }
    }

    /// Downloads what the spec names, ahead of `apply`.
    pub async fn prepare(&self, spec: &ApplySpec) -> Result<(), Error> {
        self.send("prepare", vec![json!(spec)]).await.map(drop)
    }

    /// Installs what the spec names.
    pub async fn apply(&self, spec: &ApplySpec) -> Result<(), Error> {
        self.send("apply", vec![json!(spec)]).await.map(drop)
    }

    /// Starts the jobs.
    pub async fn start(&self) -> Result<(), Error> {
        self.send("start", Vec::new()).await.map(drop)
    }

    /// Stops the jobs. Like upstream, gives up waiting after five minutes, and a service that the agent gave up on is
    /// no error: what comes next takes the VM down anyway.
    pub async fn stop(&self) -> Result<(), Error> {
        match self
            .send_within("stop", Vec::new(), Some(STOP_TIMEOUT))
            .await
        {
            Err(Error::Remote(message)) if message.contains("Timed out waiting for service") => {
                self.ignored("stop", &Error::Remote(message));
                Ok(())
            }
            other => other.map(drop),
        }
    }

    /// Runs the jobs' drain scripts; answers how many seconds to wait, negative for "ask again after as many".
    /// Cancelled with the caller's task.
    pub async fn drain(&self, kind: DrainType, spec: Option<&ApplySpec>) -> Result<i64, Error> {
        let mut arguments = vec![json!(kind)];
        arguments.extend(spec.map(|spec| json!(spec)));
        let value = self.send_cancellable("drain", arguments).await?;
        self.parse("drain", value)
    }

    /// Runs a script such as `pre-start` of all jobs. Agents that do not know it are left alone.
    pub async fn run_script(&self, name: &str, options: &RunScriptOptions) -> Result<(), Error> {
        let sent = self.send("run_script", vec![json!(name), json!(options)]);
        self.unless_unknown("run_script", sent.await)
    }

    /// Runs an errand; `None` runs the only job there is. When the caller's task is cancelled, the errand is told so
    /// and its result is still waited for: the second value says that this happened.
    pub async fn run_errand(&self, name: Option<&str>) -> Result<(ErrandResult, bool), Error> {
        let arguments = name.map(|name| json!(name)).into_iter().collect();
        let started = self.start_task("run_errand", arguments).await?;
        let Some(task_id) = started.task_id else {
            return Ok((self.parse("run_errand", started.value)?, false));
        };
        let (value, cancelled) = tokio::select! {
            value = self.wait_for_task(&task_id, None) => (value?, false),
            () = self.caller.cancelled() => {
                self.cancel_task(&task_id).await?;
                (self.wait_for_task(&task_id, None).await?, true)
            }
        };
        Ok((self.parse("run_errand", value)?, cancelled))
    }

    /// Compiles a package that the agent fetches and stores with its own credentials.
    pub async fn compile_package(
        &self,
        blob_id: &str,
        digest: &MultiDigest,
        name: &str,
        version: &str,
        dependencies: &BTreeMap<String, CompileDependency>,
    ) -> Result<Compiled, Error> {
        let arguments = vec![
            json!(blob_id),
            json!(digest),
            json!(name),
            json!(version),
            json!(dependencies),
        ];
        let value = self.send_cancellable("compile_package", arguments).await?;
        self.parse("compile_package", value)
    }

    /// Compiles a package that the agent fetches and stores through signed URLs.
    pub async fn compile_package_with_signed_url(
        &self,
        request: &CompileWithSignedUrl,
    ) -> Result<Compiled, Error> {
        const METHOD: &str = "compile_package_with_signed_url";
        let value = self.send_cancellable(METHOD, vec![json!(request)]).await?;
        self.parse(METHOD, value)
    }

    /// Mounts an attached disk.
    pub async fn mount_disk(&self, disk_cid: &str) -> Result<(), Error> {
        self.send("mount_disk", vec![json!(disk_cid)])
            .await
            .map(drop)
    }

    /// Unmounts a disk.
    pub async fn unmount_disk(&self, disk_cid: &str) -> Result<(), Error> {
        self.send("unmount_disk", vec![json!(disk_cid)])
            .await
            .map(drop)
    }

    /// Cloud ids of mounted disks.
    pub async fn list_disk(&self) -> Result<Vec<String>, Error> {
        let disks: Option<Vec<String>> = self.typed("list_disk", Vec::new()).await?;
        Ok(disks.unwrap_or_default())
    }

    /// Tells the agent how to find a disk that was attached. Agents that do not know it are left alone.
    pub async fn add_persistent_disk(&self, disk_cid: &str, hint: &Value) -> Result<(), Error> {
        let sent = self.send("add_persistent_disk", vec![json!(disk_cid), hint.clone()]);
        self.unless_unknown("add_persistent_disk", sent.await)
    }

    /// Has the agent forget a disk. Agents that do not know it are left alone.
    pub async fn remove_persistent_disk(&self, disk_cid: &str) -> Result<(), Error> {
        let sent = self.send("remove_persistent_disk", vec![json!(disk_cid)]);
        self.unless_unknown("remove_persistent_disk", sent.await)
    }

    /// Tells the agent of a disk that is not its own to mount.
    pub async fn add_dynamic_disk(&self, disk_cid: &str, hint: &Value) -> Result<(), Error> {
        let sent = self.send("add_dynamic_disk", vec![json!(disk_cid), hint.clone()]);
        self.unless_unknown("add_dynamic_disk", sent.await)
    }

    /// Has the agent forget a disk that was not its own to mount.
    pub async fn remove_dynamic_disk(&self, disk_cid: &str) -> Result<(), Error> {
        let sent = self.send("remove_dynamic_disk", vec![json!(disk_cid)]);
        self.unless_unknown("remove_dynamic_disk", sent.await)
    }

    /// Copies the old persistent disk to the new one.
    pub async fn migrate_disk(&self, old_cid: &str, new_cid: &str) -> Result<(), Error> {
        let arguments = vec![json!(old_cid), json!(new_cid)];
        self.send("migrate_disk", arguments).await.map(drop)
    }

    /// Packs logs into a blob that the agent stores with its own credentials. `kind` is `job`, `agent` or `system`.
    pub async fn fetch_logs(&self, kind: &str, filters: &[String]) -> Result<FetchedLogs, Error> {
        self.typed("fetch_logs", vec![json!(kind), json!(filters)])
            .await
    }

    /// Packs logs into a blob that the agent stores through a signed URL.
    pub async fn fetch_logs_with_signed_url(
        &self,
        request: &FetchLogsWithSignedUrl,
    ) -> Result<FetchedLogs, Error> {
        self.typed("fetch_logs_with_signed_url", vec![json!(request)])
            .await
    }

    /// Packs logs into a file on the VM.
    pub async fn bundle_logs(&self, request: &BundleLogs) -> Result<BundledLogs, Error> {
        self.typed("bundle_logs", vec![json!(request)]).await
    }

    /// Makes (`setup`) or removes (`cleanup`) a user for SSH.
    pub async fn ssh(&self, command: &str, params: &SshParams) -> Result<SshResult, Error> {
        // Upstream sends only what matters; an agent takes an empty key for a key.
        let mut argument = Map::new();
        for (key, value) in [
            ("user_regex", &params.user_regex),
            ("user", &params.user),
            ("public_key", &params.public_key),
        ] {
            if !value.is_empty() {
                argument.insert(key.to_string(), json!(value));
            }
        }
        self.typed("ssh", vec![json!(command), json!(argument)])
            .await
    }

    /// Has the agent fetch DNS records with its own credentials; answers whether it did.
    pub async fn sync_dns(
        &self,
        blob_id: &str,
        digest: &MultiDigest,
        version: u64,
    ) -> Result<bool, Error> {
        let arguments = vec![json!(blob_id), json!(digest), json!(version)];
        self.quietly("sync_dns", arguments, SYNC_DNS_TIMEOUT)
            .await
            .map(|value| value == "synced")
    }

    /// Has the agent fetch DNS records through a signed URL; answers whether it did.
    pub async fn sync_dns_with_signed_url(
        &self,
        request: &SyncDnsWithSignedUrl,
    ) -> Result<bool, Error> {
        let arguments = vec![json!(request)];
        self.quietly("sync_dns_with_signed_url", arguments, SYNC_DNS_TIMEOUT)
            .await
            .map(|value| value == "synced")
    }

    /// Replaces parts of the agent's settings. Agents that do not know it are left alone.
    pub async fn update_settings(&self, update: &SettingsUpdate) -> Result<(), Error> {
        let sent = self.send("update_settings", vec![json!(update)]);
        self.unless_unknown("update_settings", sent.await)
    }

    /// Stores a small blob (rendered templates) on the VM, over the message bus.
    pub async fn upload_blob(
        &self,
        blob_id: &str,
        checksum: &MultiDigest,
        payload: &Secret,
    ) -> Result<(), Error> {
        let argument = json!({
            "blob_id": blob_id,
            "checksum": checksum,
            "payload": payload.expose(),
        });
        match self.send("upload_blob", vec![argument]).await {
            Ok(_) => Ok(()),
            Err(e) if e.is_unknown_method() => Err(Error::Unsupported("upload_blob")),
            Err(Error::Remote(message))
                if message.contains(r"Opening blob store file: open \var\vcap\data\blobs") =>
            {
                Err(Error::UploadBlob)
            }
            Err(e) => Err(e),
        }
    }

    /// Cancels a task in the agent.
    pub async fn cancel_task(&self, task_id: &str) -> Result<(), Error> {
        self.send("cancel_task", vec![json!(task_id)])
            .await
            .map(drop)
    }

    /// Takes the VM down; no reply is waited for.
    pub async fn shutdown(&self) {
        self.fire_and_forget("shutdown", Vec::new()).await;
    }

    /// Has the agent forget hardware addresses of VMs that moved; no reply is waited for.
    pub async fn delete_arp_entries(&self, ips: &[String]) {
        let arguments = vec![json!({"ips": ips})];
        self.fire_and_forget("delete_arp_entries", arguments).await;
    }

    /// Any method: sends it and, when it becomes a task, waits for its end.
    pub async fn send(&self, method: &str, arguments: Vec<Value>) -> Result<Value, Error> {
        self.send_within(method, arguments, None).await
    }

    async fn send_within(
        &self,
        method: &str,
        arguments: Vec<Value>,
        limit: Option<Duration>,
    ) -> Result<Value, Error> {
        let started = self.start_task(method, arguments).await?;
        match started.task_id {
            Some(task_id) => self.wait_for_task(&task_id, limit).await,
            None => Ok(started.value),
        }
    }

    /// Like `send`, but the agent's task is cancelled with the caller's.
    pub async fn send_cancellable(
        &self,
        method: &str,
        arguments: Vec<Value>,
    ) -> Result<Value, Error> {
        let started = self.start_task(method, arguments).await?;
        let Some(task_id) = started.task_id else {
            return Ok(started.value);
        };
        tokio::select! {
            value = self.wait_for_task(&task_id, None) => value,
            () = self.caller.cancelled() => {
                if let Err(e) = self.cancel_task(&task_id).await {
                    self.ignored("cancel_task", &e);
                }
                Err(Error::Cancelled(method.to_string()))
            }
        }
    }

    async fn typed<T: DeserializeOwned>(
        &self,
        method: &str,
        arguments: Vec<Value>,
    ) -> Result<T, Error> {
        let value = self.send(method, arguments).await?;
        self.parse(method, value)
    }

    fn parse<T: DeserializeOwned>(&self, method: &str, value: Value) -> Result<T, Error> {
        serde_json::from_value(value).map_err(|source| Error::Reply {
            method: method.to_string(),
            agent_id: self.id.to_string(),
            source,
        })
    }

    async fn start_task(&self, method: &str, arguments: Vec<Value>) -> Result<Reply, Error> {
        let retries = match method {
            "get_state" => GET_STATE_RETRIES,
            "get_task" => GET_TASK_RETRIES,
            "upload_blob" => UPLOAD_BLOB_RETRIES,
            _ => 0,
        };
        let timeout = self.client.timeout();
        for _ in 0..retries {
            match self.request(method, arguments.clone(), timeout).await {
                Err(Error::TimedOut { .. }) => {}
                other => return other.map(reply),
            }
        }
        self.request(method, arguments, timeout).await.map(reply)
    }

    /// Asks for a task's end: after milliseconds at first, then after an eighth of the time it has taken so far.
    async fn wait_for_task(&self, task_id: &str, limit: Option<Duration>) -> Result<Value, Error> {
        let start = Instant::now();
        loop {
            let status = self.start_task("get_task", vec![json!(task_id)]).await?;
            if !status.running {
                return Ok(status.value);
            }
            if limit.is_some_and(|limit| start.elapsed() >= limit) {
                self.caller.debug(&format!("Task {task_id} timed out"));
                return Ok(status.value);
            }
            let pause = start.elapsed() / 8;
            tokio::time::sleep(pause.clamp(Duration::from_millis(4), Duration::from_secs(1))).await;
        }
    }

    async fn request(
        &self,
        method: &str,
        arguments: Vec<Value>,
        timeout: Duration,
    ) -> Result<Value, Error> {
        self.ask(method, arguments, timeout, Some(self.caller.clone()))
            .await
    }

    async fn quietly(
        &self,
        method: &str,
        arguments: Vec<Value>,
        timeout: Duration,
    ) -> Result<Value, Error> {
        self.ask(method, arguments, timeout, None).await
    }

    async fn ask(
        &self,
        method: &str,
        arguments: Vec<Value>,
        timeout: Duration,
        log: Option<Arc<dyn Caller>>,
    ) -> Result<Value, Error> {
        let mut call = self.client.prepare(&self.id, method, arguments, log);
        call.send().await?;
        let mut reply = None;
        if method == "get_task" {
            // An agent that was given a new certificate connects anew and misses what is sent meanwhile. Asking for a
            // task's end once more does no harm; the first reply counts.
            let begin = Instant::now();
            while reply.is_none() && begin.elapsed() + RESEND.1 < timeout {
                let pause = (begin.elapsed() / 2).clamp(RESEND.0, RESEND.1);
                reply = call.reply(pause).await;
                if reply.is_none() {
                    call.send().await?;
                }
            }
        }
        let reply = match reply {
            None => call.reply(timeout).await,
            some => some,
        };
        match reply {
            Some(response) => match response.into_result() {
                Ok(value) => Ok(value),
                Err(exception) => Err(self.remote(exception).await),
            },
            None => Err(Error::TimedOut {
                method: method.to_string(),
                instance: self.instance.clone(),
                agent_id: self.id.to_string(),
                after: timeout,
            }),
        }
    }

    async fn fire_and_forget(&self, method: &str, arguments: Vec<Value>) {
        let call = self.client.prepare(&self.id, method, arguments, None);
        if let Err(e) = call.send().await {
            self.ignored(method, &e);
        }
    }

    fn unless_unknown(&self, method: &str, sent: Result<Value, Error>) -> Result<(), Error> {
        match sent {
            Err(e) if e.is_unknown_method() => {
                self.ignored(method, &e);
                Ok(())
            }
            other => other.map(drop),
        }
    }

    fn ignored(&self, method: &str, error: &Error) {
        self.caller.debug(&format!(
            "Ignoring {method} error from the agent '{}': {error}",
            self.id
        ));
    }

    /// The exception with its backtrace, and with what the agent left in the blobstore.
    async fn remote(&self, exception: Exception) -> Error {
        let mut message = exception.message;
        let lines = match exception.backtrace {
            Some(Value::Array(lines)) => lines
                .iter()
                .map(|line| {
                    line.as_str()
                        .map_or_else(|| line.to_string(), str::to_string)
                })
                .collect(),
            Some(Value::String(text)) => vec![text],
            _ => Vec::new(),
        };
        for line in lines {
            message.push('\n');
            message.push_str(&line);
        }
        if let Some(blob_id) = exception.blobstore_id
            && let Some(rest) = self.take_blob(&blob_id).await
        {
            message.push('\n');
            message.push_str(&rest);
        }
        Error::Remote(message)
    }

    /// Fetches a blob that an agent named, and deletes it. Only ids that the agent can have made are followed.
    async fn take_blob(&self, blob_id: &str) -> Option<String> {
        if uuid::Uuid::try_parse(blob_id).is_err() {
            self.caller.debug(&format!(
                "Skipping blob fetch for agent '{}' ({}): object id is not a valid UUID",
                self.id, self.instance
            ));
            return None;
        }
        let store = self.client.blobstore()?;
        let text = match store.get_bytes(blob_id, None, MAX_BLOB).await {
            Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            Err(e) => {
                self.caller.debug(&format!("fetch blob '{blob_id}': {e}"));
                None
            }
        };
        if let Err(e) = store.delete(blob_id).await {
            self.caller.debug(&format!("delete blob '{blob_id}': {e}"));
        }
        text
    }
}

/// Old agents answer a bare value, newer ones a task, and both may be wrapped once more.
/// Upstream: `agent_message_converter.rb`.
fn reply(value: Value) -> Reply {
    let Value::Object(mut object) = value else {
        return Reply {
            running: false,
            task_id: None,
            value,
        };
    };
    let running = object.get("state").is_some_and(|state| state == "running");
    let task_id = object.get("agent_task_id").and_then(|id| match id {
        Value::String(id) => Some(id.clone()),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    });
    if object.contains_key("value") {
        return Reply {
            running,
            task_id,
            value: object.remove("value").unwrap_or_default(),
        };
    }
    if object.contains_key("state") && task_id.is_some() {
        return Reply {
            running,
            task_id,
            value: Value::Null,
        };
    }
    Reply {
        running: false,
        task_id: None,
        value: Value::Object(object),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_of_all_ages() {
        let cases = [
            (json!("applied"), false, None, json!("applied")),
            (
                json!({"agent_task_id": "t", "state": "running"}),
                true,
                Some("t"),
                Value::Null,
            ),
            (
                json!({"agent_task_id": "t", "state": "done", "value": 3}),
                false,
                Some("t"),
                json!(3),
            ),
            (json!({"value": [1]}), false, None, json!([1])),
            (
                json!({"state": "odd", "x": 1}),
                false,
                None,
                json!({"state": "odd", "x": 1}),
            ),
            (Value::Null, false, None, Value::Null),
        ];
        for (wire, running, task_id, value) in cases {
            let reply = reply(wire.clone());
            assert_eq!(reply.running, running, "{wire}");
            assert_eq!(reply.task_id.as_deref(), task_id, "{wire}");
            assert_eq!(reply.value, value, "{wire}");
        }
    }
}
