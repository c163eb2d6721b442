//! A cloud's VMs: for each that appears an agent connects to nats-server, with the certificate it was given.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bosh_blobstore::Store;
use bosh_protocol::Request;
use futures_util::StreamExt;
use serde_json::{Map, Value, json};
use tokio::task::JoinHandle;

/// What all agents share with the test.
#[derive(Default)]
pub(crate) struct World {
    /// (agent, method, arguments) of each request but `get_task` and `ping`.
    pub(crate) calls: Vec<(String, String, Vec<Value>)>,
    /// Groups whose processes do not come up.
    pub(crate) failing: BTreeSet<String>,
    /// Agents that say nothing.
    pub(crate) mute: BTreeSet<String>,
    /// Nobody says anything.
    pub(crate) deaf: bool,
    /// Methods that fail, with the message.
    pub(crate) broken: BTreeMap<String, String>,
    /// How long `run_script`, `apply` and the like take.
    pub(crate) slow: Duration,
    agents: HashMap<String, Agent>,
}

/// What an agent knows.
#[derive(Default)]
pub(crate) struct Agent {
    pub(crate) spec: Map<String, Value>,
    pub(crate) running: bool,
    pub(crate) mounted: Vec<String>,
    pub(crate) env: Value,
    pub(crate) networks: Value,
    results: HashMap<String, Value>,
}

pub(crate) type Shared = Arc<Mutex<World>>;

/// Brings VMs to life until dropped.
pub(crate) struct Cloud {
    watcher: JoinHandle<()>,
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

impl Cloud {
    pub(crate) fn start(vms: PathBuf, url: String, blobs: Store, world: Shared) -> Self {
        let watcher = tokio::spawn(async move {
            let mut up: HashMap<String, JoinHandle<()>> = HashMap::new();
            loop {
                let there = list(&vms);
                up.retain(|id, agent| {
                    let stays = there.contains(id);
                    if !stays {
                        agent.abort();
                    }
                    stays
                });
                for id in there {
                    let file = vms.join(&id);
                    let agent = || run(file, id.clone(), url.clone(), blobs.clone(), world.clone());
                    up.entry(id.clone())
                        .or_insert_with(|| tokio::spawn(agent()));
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        Self { watcher }
    }
}

/// VMs that are up.
pub(crate) fn list(vms: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(vms)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let names = entries.map(|name| name.into_string().unwrap());
    names.filter(|name| !name.starts_with('.')).collect()
}

async fn run(file: PathBuf, id: String, url: String, blobs: Store, world: Shared) {
    let Ok(text) = std::fs::read_to_string(&file) else {
        return;
    };
    let request: Value = serde_json::from_str(&text).unwrap();
    let arguments = &request["arguments"];
    let agent = Agent {
        env: arguments[5].clone(),
        networks: arguments[3].clone(),
        ..Agent::default()
    };
    world.lock().unwrap().agents.insert(id.clone(), agent);
    let mut cert = arguments[5]["bosh"]["mbus"]["cert"].clone();
    // An agent that is given another certificate connects anew with it.
    loop {
        cert = serve(&cert, &id, &url, &blobs, &world).await;
    }
}

/// Answers until there is another certificate.
async fn serve(cert: &Value, id: &str, url: &str, blobs: &Store, world: &Shared) -> Value {
    let directory = tempfile::tempdir().unwrap();
    let put = |name: &str, key: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, cert[key].as_str().unwrap()).unwrap();
        path
    };
    let tls = bosh_director::nats::client_tls(
        &put("ca.pem", "ca"),
        &put("cert.pem", "certificate"),
        &put("key.pem", "private_key"),
    )
    .unwrap();
    let client = async_nats::ConnectOptions::new()
        .require_tls(true)
        .tls_client_config(tls)
        .retry_on_initial_connect()
        .connect(url)
        .await
        .unwrap();
    let mut requests = client.subscribe(format!("agent.{id}")).await.unwrap();
    while let Some(message) = requests.next().await {
        let request: Request = serde_json::from_slice(&message.payload).unwrap();
        {
            let world = world.lock().unwrap();
            if world.deaf || world.mute.contains(id) {
                continue;
            }
        }
        let given = request
            .arguments
            .first()
            .map(|settings| settings["mbus"]["cert"].clone());
        let (method, reply_to) = (request.method.clone(), request.reply_to.clone());
        if method == "update_settings" {
            // The answer is that there is a task; whoever asks for its end finds the agent connected anew.
            let answer = answer(world, blobs, id, request).await;
            client
                .publish(reply_to, answer.to_string().into())
                .await
                .unwrap();
            client.flush().await.unwrap();
            match given {
                Some(cert) if cert.is_object() => return cert,
                _ => continue,
            }
        }
        let (client, world, blobs, id) =
            (client.clone(), world.clone(), blobs.clone(), id.to_owned());
        tokio::spawn(async move {
            let answer = answer(&world, &blobs, &id, request).await;
            client
                .publish(reply_to, answer.to_string().into())
                .await
                .unwrap();
        });
    }
    panic!("agent {id}: the connection ended");
}

async fn answer(world: &Shared, blobs: &Store, id: &str, request: Request) -> Value {
    let method = request.method.as_str();
    if !matches!(method, "ping" | "get_task") {
        let mut world = world.lock().unwrap();
        world
            .calls
            .push((id.into(), method.into(), request.arguments.clone()));
        if let Some(message) = world.broken.get(method) {
            return json!({"exception": {"message": message}});
        }
    }
    let first = request.arguments.first().cloned().unwrap_or_default();
    if method == "get_task" {
        let mut world = world.lock().unwrap();
        let agent = world.agents.get_mut(id).unwrap();
        return match agent.results.remove(first.as_str().unwrap()) {
            Some(value) => json!({ "value": value }),
            None => {
                json!({"exception": {"message": format!("Task with id {first} could not be found")}})
            }
        };
    }
    let slow = world.lock().unwrap().slow;
    let value = match method {
        "compile_package" => compile(blobs, &request.arguments).await,
        "apply" | "prepare" => {
            tokio::time::sleep(slow).await;
            check(blobs, &first).await;
            act(world, id, method, &first)
        }
        "run_script" => {
            tokio::time::sleep(slow).await;
            json!({})
        }
        "fetch_logs" => {
            let stored = blobs.put(b"logs".to_vec(), &[]).await.unwrap();
            json!({"blobstore_id": stored.id, "sha1": super::release::sha1(b"logs")})
        }
        _ => act(world, id, method, &first),
    };
    let immediate = matches!(
        method,
        "ping"
            | "info"
            | "get_state"
            | "start"
            | "ssh"
            | "sync_dns"
            | "cancel_task"
            | "delete_arp_entries"
    );
    if immediate {
        return json!({ "value": value });
    }
    let task = uuid::Uuid::new_v4().to_string();
    let mut world = world.lock().unwrap();
    world
        .agents
        .get_mut(id)
        .unwrap()
        .results
        .insert(task.clone(), value);
    json!({"value": {"agent_task_id": task, "state": "running"}})
}

/// What the spec names has to be in the blobstore.
async fn check(blobs: &Store, spec: &Value) {
    for package in spec["packages"]
        .as_object()
        .into_iter()
        .flat_map(|packages| packages.values())
    {
        let blob = package["blobstore_id"].as_str().unwrap();
        let digest = package["sha1"].as_str().unwrap().parse().unwrap();
        blobs.get_bytes(blob, Some(&digest), 1 << 20).await.unwrap();
    }
    let archive = &spec["rendered_templates_archive"];
    if let Some(blob) = archive["blobstore_id"].as_str() {
        let digest = archive["sha1"].as_str().unwrap().parse().unwrap();
        blobs.get_bytes(blob, Some(&digest), 1 << 20).await.unwrap();
    }
}

async fn compile(blobs: &Store, arguments: &[Value]) -> Value {
    let source = arguments[0].as_str().unwrap();
    let digest = arguments[1].as_str().unwrap().parse().unwrap();
    blobs
        .get_bytes(source, Some(&digest), 1 << 20)
        .await
        .unwrap();
    for dependency in arguments[4].as_object().unwrap().values() {
        let blob = dependency["blobstore_id"].as_str().unwrap();
        assert!(blobs.exists(blob).await.unwrap(), "{dependency}");
    }
    let compiled = format!("compiled {}", arguments[3]).into_bytes();
    let sha1 = super::release::sha1(&compiled);
    let stored = blobs.put(compiled, &[]).await.unwrap();
    json!({"result": {"blobstore_id": stored.id, "sha1": sha1}})
}

fn act(world: &Shared, id: &str, method: &str, first: &Value) -> Value {
    let mut world = world.lock().unwrap();
    let failing = world.failing.clone();
    let agent = world.agents.get_mut(id).unwrap();
    let text = first.as_str().unwrap_or_default().to_owned();
    match method {
        "ping" => json!("pong"),
        "info" => json!({"api_version": 1}),
        "apply" => {
            agent.spec = first.as_object().unwrap().clone();
            json!("applied")
        }
        "start" => {
            agent.running = true;
            json!("started")
        }
        "stop" => {
            agent.running = false;
            json!("stopped")
        }
        "drain" => json!(0),
        "list_disk" => json!(agent.mounted),
        "mount_disk" => {
            agent.mounted.push(text);
            json!({})
        }
        "unmount_disk" => {
            agent.mounted.retain(|disk| *disk != text);
            json!({"message": "unmounted"})
        }
        "ssh" => {
            json!({"command": text, "status": "success", "ip": "10.0.0.2", "host_public_key": "key"})
        }
        "run_errand" => json!({"exit_code": 0, "stdout": "fine\n", "stderr": ""}),
        "sync_dns" => json!("synced"),
        "get_state" => {
            let group = agent
                .spec
                .get("name")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let state = match (agent.running, failing.contains(group)) {
                (true, true) => "failing",
                (true, false) => "running",
                (false, _) => "stopped",
            };
            let mut answer = Value::Object(agent.spec.clone());
            answer["agent_id"] = json!(id);
            answer["job_state"] = json!(state);
            answer["processes"] = json!([{"name": group, "state": state}]);
            if answer["networks"].is_null() {
                answer["networks"] = agent.networks.clone();
            }
            if text == "full" {
                answer["vitals"] = json!({"load": ["0.1", "0.2", "0.3"]});
            }
            answer
        }
        _ => json!({}),
    }
}

impl World {
    /// Who was asked to do what, in order: `(group, method)`; scripts by their names.
    pub(crate) fn story(&self) -> Vec<String> {
        let told = self.calls.iter().map(|(_, method, arguments)| {
            match (method.as_str(), arguments.first()) {
                ("run_script" | "drain", Some(name)) => name.as_str().unwrap().to_owned(),
                _ => method.clone(),
            }
        });
        told.collect()
    }

    /// How often a method was called.
    pub(crate) fn count(&self, method: &str) -> usize {
        self.calls
            .iter()
            .filter(|(_, called, _)| called == method)
            .count()
    }

    /// What an agent knows.
    pub(crate) fn agent(&self, id: &str) -> &Agent {
        &self.agents[id]
    }
}
