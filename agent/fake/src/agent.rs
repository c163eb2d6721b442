//! One simulated agent: from a request to its reply, without I/O.

use bosh_protocol::{
    AgentId, AgentTask, AgentTaskId, ApplySpec, Heartbeat, JobState, Method, Process, Request,
    Response, State, Vitals,
    apply_spec::JobTemplate,
    heartbeat::{CpuVitals, DiskVitals, MemoryVitals},
    settings::Settings,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

/// SHA-1 of nothing: what a compiled package is said to have.
const EMPTY_SHA1: &str = "da39a3ee5e6b4b0d3255bfef95601890afd80709";

/// What simulated agents have in common.
#[derive(Debug, Clone, Default)]
pub struct Behaviour {
    /// How long a task takes: `get_task` says `running` until then.
    pub task_time: Duration,
    /// Methods that fail, with their messages.
    pub failing: BTreeMap<String, String>,
}

/// See the module.
#[derive(Debug)]
pub struct Agent {
    id: AgentId,
    settings: Settings,
    behaviour: Behaviour,
    spec: ApplySpec,
    job_state: JobState,
    disks: BTreeSet<String>,
    tasks: HashMap<String, (Instant, Response)>,
    next_task: u64,
}

impl Agent {
    /// An agent that has just booted.
    pub fn new(id: AgentId, settings: Settings, behaviour: Behaviour) -> Self {
        Self {
            id,
            settings,
            behaviour,
            spec: ApplySpec::default(),
            job_state: JobState::Running,
            disks: BTreeSet::new(),
            tasks: HashMap::new(),
            next_task: 0,
        }
    }

    /// Who it is.
    pub fn id(&self) -> &AgentId {
        &self.id
    }

    /// Answers one request, as of `now`.
    pub fn answer(&mut self, request: &Request, now: Instant) -> Response {
        if let Some(message) = self.behaviour.failing.get(&request.method) {
            return Response::exception(message.clone());
        }
        let method: Method = match request.method.parse() {
            Ok(method) => method,
            Err(error) => return Response::exception(format!("{error}")),
        };
        if method == Method::GetTask {
            return self.task(request, now);
        }
        let response = self.call(method, &request.arguments);
        if !method.is_asynchronous(request.protocol) {
            return response;
        }
        self.next_task += 1;
        let id = format!("{}-{}", self.id, self.next_task);
        self.tasks
            .insert(id.clone(), (now + self.behaviour.task_time, response));
        value(AgentTask::running(AgentTaskId::from(id)))
    }

    fn task(&mut self, request: &Request, now: Instant) -> Response {
        let id = text(&request.arguments, 0);
        match self.tasks.get(&id) {
            None => Response::exception(format!("Task with id {id} could not be found")),
            Some((done, _)) if *done > now => value(AgentTask::running(AgentTaskId::from(id))),
            Some(_) => self
                .tasks
                .remove(&id)
                .map_or(Response::Value(Value::Null), |(_, response)| response),
        }
    }

    fn call(&mut self, method: Method, arguments: &[Value]) -> Response {
        let first = || text(arguments, 0);
        Response::Value(match method {
            Method::Ping => json!("pong"),
            Method::Info => json!({"api_version": 1}),
            Method::GetState => return value(self.state(first() == "full")),
            Method::Prepare => json!("prepared"),
            Method::Apply => {
                match serde_json::from_value(arguments.first().cloned().unwrap_or_default()) {
                    Ok(spec) => {
                        self.spec = spec;
                        json!("applied")
                    }
                    Err(error) => {
                        return Response::exception(format!("Extracting the apply spec: {error}"));
                    }
                }
            }
            Method::Start => {
                self.job_state = JobState::Running;
                json!("started")
            }
            Method::Stop => {
                self.job_state = JobState::Stopped;
                json!("stopped")
            }
            Method::Drain => json!(0),
            Method::RunScript
            | Method::AddPersistentDisk
            | Method::RemovePersistentDisk
            | Method::MigrateDisk => json!({}),
            Method::PrepareNetworkChange
            | Method::PrepareConfigureNetworks
            | Method::ConfigureNetworks => json!("ok"),
            Method::ReleaseApplySpec
            | Method::DeleteArpEntries
            | Method::RemoveFile
            | Method::AddDynamicDisk
            | Method::RemoveDynamicDisk => json!({}),
            Method::RunErrand => json!({"stdout": "", "stderr": "", "exit_code": 0}),
            Method::CompilePackage => {
                json!({"result": {"sha1": EMPTY_SHA1, "blobstore_id": format!("compiled-{}-{}", text(arguments, 2), self.id)}})
            }
            Method::CompilePackageWithSignedUrl => json!({"result": {"sha1": EMPTY_SHA1}}),
            Method::ListDisk => json!(self.disks),
            Method::MountDisk => {
                self.disks.insert(first());
                json!({})
            }
            Method::UnmountDisk => {
                self.disks.remove(&first());
                json!({"message": format!("Unmounted partition of {}", first())})
            }
            Method::FetchLogs => {
                json!({"blobstore_id": format!("logs-{}", self.id), "sha1": EMPTY_SHA1})
            }
            Method::FetchLogsWithSignedUrl => json!({"sha1": EMPTY_SHA1}),
            Method::BundleLogs => {
                json!({"logs_tar_path": "/tmp/none", "sha512": format!("sha512:{EMPTY_SHA1}")})
            }
            Method::Ssh => {
                let ip = self.settings.networks.default_ip().unwrap_or("127.0.0.1");
                json!({"command": first(), "status": "success", "ip": ip, "host_public_key": "ssh-rsa fake"})
            }
            Method::SyncDns | Method::SyncDnsWithSignedUrl => json!("synced"),
            Method::UpdateSettings => json!("updated"),
            Method::UploadBlob => json!(arguments.first().and_then(|blob| blob.get("blob_id"))),
            Method::CancelTask => json!("canceled"),
            Method::Shutdown => json!("shutdown"),
            Method::GetTask => Value::Null,
        })
    }

    fn jobs(&self) -> &[JobTemplate] {
        self.spec.jobs()
    }

    fn state(&self, full: bool) -> State {
        let processes = self.jobs().iter().map(|job| Process {
            name: job.name.clone(),
            state: self.job_state.as_str().to_owned(),
            ..Process::default()
        });
        State {
            spec: self.spec.clone(),
            agent_id: self.id.clone(),
            job_state: self.job_state,
            vitals: full.then(vitals),
            processes: if full {
                processes.collect()
            } else {
                Vec::new()
            },
            vm: self.settings.vm.clone(),
        }
    }

    /// What the health monitor is told.
    pub fn heartbeat(&self) -> Heartbeat {
        Heartbeat {
            deployment: self.spec.deployment.clone(),
            job: Some(self.spec.name.clone()).filter(|name| !name.is_empty()),
            index: self.spec.index,
            job_state: self.job_state,
            vitals: vitals(),
            node_id: self.spec.id.clone(),
            number_of_processes: Some(self.jobs().len() as u64),
        }
    }

    /// Gives it an instance, as `apply` would.
    pub fn assume(&mut self, spec: ApplySpec) {
        self.spec = spec;
    }
}

fn vitals() -> Vitals {
    let memory = MemoryVitals {
        kb: "512000".to_owned(),
        percent: "25".to_owned(),
    };
    let disk = DiskVitals {
        inode_percent: "3".to_owned(),
        percent: "20".to_owned(),
    };
    Vitals {
        cpu: CpuVitals {
            sys: "1.0".to_owned(),
            user: "2.0".to_owned(),
            wait: "0.1".to_owned(),
        },
        disk: ["system", "ephemeral"]
            .into_iter()
            .map(|name| (name.to_owned(), disk.clone()))
            .collect(),
        load: vec!["0.10".to_owned(), "0.20".to_owned(), "0.30".to_owned()],
        mem: memory.clone(),
        swap: memory,
        ..Vitals::default()
    }
}

fn text(arguments: &[Value], n: usize) -> String {
    arguments
        .get(n)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

fn value(value: impl serde::Serialize) -> Response {
    match serde_json::to_value(value) {
        Ok(value) => Response::Value(value),
        Err(error) => Response::exception(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(task_time: Duration) -> Agent {
        Agent::new(
            AgentId::from("a"),
            Settings::default(),
            Behaviour {
                task_time,
                ..Behaviour::default()
            },
        )
    }

    fn ask(agent: &mut Agent, method: &str, arguments: Value, now: Instant) -> Value {
        let Value::Array(arguments) = arguments else {
            panic!("arguments are an array")
        };
        agent
            .answer(&Request::new(method, arguments, "r"), now)
            .into_result()
            .unwrap()
    }

    #[test]
    fn a_task_runs_as_long_as_told() {
        let (mut agent, now) = (agent(Duration::from_secs(5)), Instant::now());
        let spec = json!({"deployment": "d", "name": "g", "id": "i", "index": 1,
            "job": {"templates": [{"name": "redis", "version": "1"}]},
            "rendered_templates_archive": {"sha1": EMPTY_SHA1, "blobstore_id": "b"}});
        let task = ask(&mut agent, "apply", json!([spec]), now);
        assert_eq!(task["state"], "running");
        let id = json!([task["agent_task_id"]]);
        assert_eq!(
            ask(&mut agent, "get_task", id.clone(), now)["state"],
            "running"
        );
        assert_eq!(
            ask(
                &mut agent,
                "get_task",
                id.clone(),
                now + Duration::from_secs(5)
            ),
            "applied"
        );
        assert!(
            agent
                .answer(&Request::new("get_task", vec![id[0].clone()], "r"), now)
                .into_result()
                .is_err()
        );
        let state = ask(&mut agent, "get_state", json!(["full"]), now);
        assert_eq!(
            (&state["deployment"], &state["processes"][0]["name"]),
            (&json!("d"), &json!("redis"))
        );
        assert_eq!(agent.heartbeat().node_id.as_str(), "i");
    }

    #[test]
    fn every_method_has_an_answer() {
        for method in Method::ALL {
            let mut agent = agent(Duration::ZERO);
            let mut arguments = vec![json!("x")];
            if *method == Method::Apply {
                arguments = vec![json!({})];
            }
            let response = agent.answer(
                &Request::new(method.as_str(), arguments, "r"),
                Instant::now(),
            );
            let unknown_task = *method == Method::GetTask;
            assert_eq!(response.into_result().is_err(), unknown_task, "{method}");
        }
        assert!(
            agent(Duration::ZERO)
                .answer(&Request::new("fly", vec![], "r"), Instant::now())
                .into_result()
                .is_err()
        );
    }
}
