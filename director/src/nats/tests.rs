//! Against a real nats-server: who may do what, calls to agents, restarts.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bosh_protocol::arguments::{DrainType, RunScriptOptions};
use bosh_protocol::{AgentId, ApplySpec, Request};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::pki::Authority;
use super::*;
use crate::agents::{self, Caller};
use crate::config::Tls;

const PATIENCE: Duration = Duration::from_secs(10);

/// nats-server with its certificates, in a directory of its own.
struct Bus {
    dir: tempfile::TempDir,
    server: Server,
    ca: ClientCa,
}

fn put(dir: &Path, name: &str, credentials: &Credentials) -> Tls {
    let tls = Tls {
        certificate: dir.join(format!("{name}.pem")),
        private_key: dir.join(format!("{name}.key")),
    };
    std::fs::write(&tls.certificate, &credentials.certificate).unwrap();
    std::fs::write(&tls.private_key, credentials.private_key.expose()).unwrap();
    tls
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl Bus {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server_ca = Authority::generate("servers").unwrap();
        put(dir.path(), "ca", &server_ca.credentials());
        let server = server_ca
            .server("nats", &[], &["127.0.0.1".parse().unwrap()])
            .unwrap();
        let clients = Authority::generate("clients").unwrap();
        let client_ca = put(dir.path(), "clients", &clients.credentials());
        for (name, common_name) in [
            ("director", users::DIRECTOR),
            ("monitor", users::HEALTH_MONITOR),
        ] {
            put(dir.path(), name, &clients.client(common_name).unwrap());
        }
        let server = Server::start(Options {
            executable: None,
            directory: dir.path().join("nats"),
            listen: ([127, 0, 0, 1], free_port()).into(),
            tls: put(dir.path(), "server", &server),
            client_ca: client_ca.certificate.clone(),
        })
        .await
        .unwrap();
        let ca = ClientCa::load(&client_ca).unwrap();
        Self { dir, server, ca }
    }

    async fn client(&self, name: &str) -> Result<async_nats::Client, async_nats::ConnectError> {
        let path = |end: &str| self.dir.path().join(format!("{name}.{end}"));
        let ca = self.dir.path().join("ca.pem");
        let tls = client_tls(&ca, &path("pem"), &path("key")).unwrap();
        async_nats::ConnectOptions::new()
            .require_tls(true)
            .tls_client_config(tls)
            .max_reconnects(Some(1))
            .connect(self.server.local_url())
            .await
    }

    /// A client with a certificate of the agents' CA.
    async fn holder(
        &self,
        credentials: Credentials,
    ) -> Result<async_nats::Client, async_nats::ConnectError> {
        let name = uuid::Uuid::new_v4().to_string();
        put(self.dir.path(), &name, &credentials);
        self.client(&name).await
    }

    async fn director(&self) -> agents::Client {
        let options = agents::Options {
            url: self.server.local_url(),
            server_ca: self.dir.path().join("ca.pem"),
            certificate: self.dir.path().join("director.pem"),
            private_key: self.dir.path().join("director.key"),
            timeout: Duration::from_secs(2),
        };
        agents::Client::connect(&options, None).await.unwrap()
    }

    /// An agent that answers with what `answer` makes of a request; `Null` is no answer.
    async fn agent(&self, id: &AgentId, answer: impl Fn(&Request) -> Value + Send + 'static) {
        self.server.users().admit(id).await;
        let client = self.holder(self.ca.bootstrap(id).unwrap()).await.unwrap();
        let mut requests = client.subscribe(format!("agent.{id}")).await.unwrap();
        client.flush().await.unwrap();
        tokio::spawn(async move {
            while let Some(message) = requests.next().await {
                let request: Request = serde_json::from_slice(&message.payload).unwrap();
                let answer = answer(&request);
                if !answer.is_null() {
                    let reply_to = request.reply_to.clone();
                    client
                        .publish(reply_to, answer.to_string().into())
                        .await
                        .unwrap();
                }
            }
        });
    }
}

#[derive(Default)]
struct Lines(Mutex<Vec<String>>);

#[async_trait::async_trait]
impl Caller for Lines {
    fn debug(&self, line: &str) {
        self.0.lock().unwrap().push(line.to_string());
    }
}

#[tokio::test]
async fn an_agent_has_its_own_subjects_and_no_others() {
    let bus = Bus::start().await;
    let monitor = bus.client("monitor").await.unwrap();
    let mut heartbeats = monitor.subscribe("hm.agent.heartbeat.*").await.unwrap();
    monitor.flush().await.unwrap();
    let (a, b) = (AgentId::new("a"), AgentId::new("b"));
    let users = bus.server.users();
    tokio::join!(users.admit(&a), users.admit(&b));

    let agent = bus.holder(bus.ca.permanent(&a).unwrap()).await.unwrap();
    let mut overheard = agent.subscribe("agent.b").await.unwrap();
    for (subject, body) in [
        ("hm.agent.heartbeat.b", "forged"),
        ("agent.b", "forged"),
        ("hm.director.alert", "forged"),
        ("hm.agent.heartbeat.a", "own"),
    ] {
        agent.publish(subject, body.into()).await.unwrap();
    }
    agent.flush().await.unwrap();
    let first = timeout(PATIENCE, heartbeats.next()).await.unwrap().unwrap();
    assert_eq!(first.subject.as_str(), "hm.agent.heartbeat.a");
    assert_eq!(first.payload, "own");

    // The director may send to b; a must not hear it, b must.
    let other = bus.holder(bus.ca.permanent(&b).unwrap()).await.unwrap();
    let mut requests = other.subscribe("agent.b").await.unwrap();
    other.flush().await.unwrap();
    let director = bus.client("director").await.unwrap();
    director.publish("agent.b", "secret".into()).await.unwrap();
    let heard = timeout(PATIENCE, requests.next()).await.unwrap().unwrap();
    assert_eq!(heard.payload, "secret");
    director.flush().await.unwrap();
    agent.flush().await.unwrap();
    let nothing = timeout(Duration::from_millis(50), overheard.next()).await;
    assert!(
        !matches!(nothing, Ok(Some(_))),
        "agent a heard agent b's request"
    );
    bus.server.stop().await;
}

#[tokio::test]
async fn certificates_come_and_go() {
    let bus = Bus::start().await;
    let id = AgentId::new("agent-1");
    let users = bus.server.users();
    let bootstrap = || bus.holder(bus.ca.bootstrap(&id).unwrap());
    let permanent = || bus.holder(bus.ca.permanent(&id).unwrap());

    assert!(bootstrap().await.is_err(), "not admitted yet");
    users.admit(&id).await;
    bootstrap().await.unwrap();
    permanent().await.unwrap();
    users.made_permanent(&id).await;
    assert!(bootstrap().await.is_err(), "it has its permanent one");
    permanent().await.unwrap();
    users.remove(&id).await;
    assert!(permanent().await.is_err(), "its VM is gone");
    // A certificate of the right CA for a name that nobody has.
    let stranger = bus.ca.issue("stranger.agent.bosh-internal").unwrap();
    assert!(bus.holder(stranger).await.is_err());
    bus.server.stop().await;
}

#[tokio::test]
async fn calls_reach_agents_and_answers_come_back() {
    let bus = Bus::start().await;
    let director = bus.director().await;
    let id = AgentId::new("agent-2");
    let polls = Arc::new(Mutex::new(0));
    let counted = polls.clone();
    bus.agent(&id, move |request| {
        let running = json!({"value": {"agent_task_id": "t1", "state": "running"}});
        match request.method.as_str() {
            "ping" => json!({"value": "pong"}),
            "apply" | "drain" => running,
            "get_task" => {
                let mut polls = counted.lock().unwrap();
                *polls += 1;
                if *polls % 3 == 0 {
                    json!({"value": 7})
                } else {
                    running
                }
            }
            "run_script" => json!({"exception": {"message": "unknown message run_script"}}),
            "start" => {
                json!({"exception": {"message": "no monit", "backtrace": ["here", "there"]}})
            }
            "get_state" => json!({"value": {"job_state": "running", "agent_id": "agent-2"}}),
            _ => Value::Null,
        }
    })
    .await;
    let lines = Arc::new(Lines::default());
    let agent = director.agent(&id, "redis/0", lines.clone());

    agent.wait_until_ready(PATIENCE, "vm-1").await.unwrap();
    agent.apply(&ApplySpec::default()).await.unwrap();
    assert_eq!(*polls.lock().unwrap(), 3);
    assert_eq!(agent.drain(DrainType::Shutdown, None).await.unwrap(), 7);
    let options = RunScriptOptions::default();
    let script = agent.run_script("pre-start", &options).await;
    script.expect("old agents know no scripts");
    let state = agent.get_state(false).await.unwrap();
    assert_eq!(state.job_state, bosh_protocol::JobState::Running);
    let error = agent.start().await.unwrap_err();
    assert_eq!(error.to_string(), "no monit\nhere\nthere");
    assert_eq!(error.code(), 450_001);

    let short = Duration::from_millis(100);
    let silent = agent.get_state_within(true, short).await;
    assert!(silent.is_ok());
    let error = agent.list_disk().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "Timed out sending 'list_disk' to instance: 'redis/0', agent-id: 'agent-2' after 2 seconds"
    );
    let lines = lines.0.lock().unwrap().clone();
    assert!(lines.iter().any(|line| {
        line.starts_with("SENT: agent.agent-2 {\"protocol\":3,\"method\":\"apply\",\"arguments\":[")
    }));
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("RECEIVED: director."))
    );
    bus.server.stop().await;
}

#[tokio::test]
async fn an_agent_that_never_answers_is_given_up() {
    let bus = Bus::start().await;
    let director = bus.director().await;
    let id = AgentId::new("silent");
    let agent = director.agent(&id, "", Arc::new(()));
    let error = agent
        .wait_until_ready(Duration::from_millis(300), "vm-9")
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "Timed out pinging VM 'vm-9' with agent 'silent' after 0 seconds"
    );
    bus.server.stop().await;
}

#[tokio::test]
async fn a_dead_server_comes_back_and_so_do_its_clients() {
    let bus = Bus::start().await;
    let director = bus.director().await;
    let id = AgentId::new("agent-3");
    bus.server.users().admit(&id).await;
    let pid = std::fs::read_to_string(bus.dir.path().join("nats/nats.pid")).unwrap();
    let pid = nix::unistd::Pid::from_raw(pid.trim().parse().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();

    let deadline = Instant::now() + PATIENCE;
    let agent = loop {
        match bus.holder(bus.ca.permanent(&id).unwrap()).await {
            Ok(client) => break client,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let mut requests = agent.subscribe("agent.agent-3").await.unwrap();
    agent.flush().await.unwrap();
    let replies = agent.clone();
    tokio::spawn(async move {
        while let Some(message) = requests.next().await {
            let request: Request = serde_json::from_slice(&message.payload).unwrap();
            let answer = json!({"value": "pong"}).to_string();
            replies
                .publish(request.reply_to, answer.into())
                .await
                .unwrap();
        }
    });
    let agent = director.agent(&id, "", Arc::new(()));
    agent.wait_until_ready(PATIENCE, "vm").await.unwrap();
    bus.server.stop().await;
}

#[tokio::test]
async fn a_taken_port_is_said_in_one_line() {
    let bus = Bus::start().await;
    let taken = bus.server.local_url();
    let address = taken.trim_start_matches("nats://").parse().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let error = Server::start(Options {
        executable: None,
        directory: dir.path().to_path_buf(),
        listen: address,
        tls: Tls {
            certificate: bus.dir.path().join("server.pem"),
            private_key: bus.dir.path().join("server.key"),
        },
        client_ca: bus.dir.path().join("clients.pem"),
    })
    .await
    .err()
    .unwrap();
    assert_eq!(
        error.to_string(),
        format!(
            "start nats-server: {address} is taken by another program: end it, or choose another port"
        )
    );
    bus.server.stop().await;
}
