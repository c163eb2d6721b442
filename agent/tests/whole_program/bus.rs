//! The message bus when it fails, moves, and comes back.

use std::io::Write as _;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bosh_protocol::JobState;
use futures_util::StreamExt as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::support::agent::{Agent, Director, ID, Monitor};
use crate::support::nats::{Nats, SILENCE};
use crate::support::{DEADLINE, eventually};
use crate::{applied, eventually_running, ready};

fn update(nats: &Nats) -> Value {
    json!([{"mbus": {"urls": [nats.url()], "cert": nats.ca.agent(ID).settings()}, "trusted_certs": ""}])
}

/// Clients of upstream's own tests use one reply subject for all they ask.
#[tokio::test]
async fn the_same_request_again_is_answered_again() {
    let (nats, _agent, _director) = ready().await;
    let client = nats.connect("default.director.bosh-internal").await;
    let reply_to = format!("director.fixed.{ID}.x");
    let mut replies = client.subscribe(reply_to.clone()).await.unwrap();
    let request =
        json!({"protocol": 2, "method": "ping", "arguments": [], "reply_to": reply_to}).to_string();
    for _ in 0..5 {
        client
            .publish(format!("agent.{ID}"), request.clone().into())
            .await
            .unwrap();
        let reply = tokio::time::timeout(DEADLINE, replies.next()).await;
        assert_eq!(reply.unwrap().unwrap().payload, r#"{"value":"pong"}"#);
    }
    assert!(
        tokio::time::timeout(SILENCE, replies.next()).await.is_err(),
        "one answer each"
    );
}

fn signal(pid: &str, signal: Signal) {
    kill(Pid::from_raw(pid.trim().parse().unwrap()), signal).unwrap();
}

#[tokio::test]
async fn while_nats_is_away_jobs_are_looked_after_and_alerts_kept() {
    let (mut nats, agent, mut director) = applied().await;
    assert_eq!(director.call("start", json!([])).await.unwrap(), "started");
    eventually_running(&mut director).await;
    let file = agent.base().join("sys/run/sleeper/sleeper.pid");
    let pid = || std::fs::read_to_string(&file).unwrap_or_default();
    let first = pid();
    let task = director.start("run_errand", json!(["sleeper"])).await;

    nats.stop();
    signal(&first, Signal::SIGKILL);
    eventually("the process is started again", || {
        let now = pid();
        let again = !now.trim().is_empty() && now != first;
        async move { again.then_some(()) }
    })
    .await;

    // The monitor is to be there before the agent is, so that it hears all of it.
    let own = agent.pid().to_string();
    signal(&own, Signal::SIGSTOP);
    nats.go_on().await;
    let mut monitor = Monitor::connect(&nats).await;
    let mut director = Director::connect(&nats).await;
    signal(&own, Signal::SIGCONT);
    let alert = monitor.alert().await;
    assert!(alert.title.contains("sleeper"), "{alert:?}");
    assert_eq!(
        monitor.heartbeat().await.job_state,
        JobState::Running,
        "the first heartbeat comes with the connection"
    );
    let errand = director.wait(&task).await.unwrap();
    assert!(errand["exit_code"].is_i64(), "{errand}");
}

#[tokio::test]
async fn one_of_several_servers_is_enough() {
    let mut nats = Nats::start(&[ID]).await;
    // Nobody listens where this one did.
    let dead = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let urls = json!([format!("nats://{dead}"), nats.url()]);
    let more = json!({"env": {"bosh": {"mbus": {"urls": urls}}}});
    let _agent = Agent::start(&nats, more);
    let mut director = Director::connect(&nats).await;
    director.wait_until_ready().await;
    nats.restart().await;
    let mut director = Director::connect(&nats).await;
    director.wait_until_ready().await;
}

/// Settings that lead away from a server that is down: it must not be bothered any longer.
#[tokio::test]
async fn what_was_replaced_is_let_go_of_at_once() {
    // The director's own client would go on trying its server, but not without its runtime.
    let directors = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let mut elsewhere = Nats::start(&[ID]).await;
    // There nobody answers yet, so that the agent will have no connection at all.
    elsewhere.stop();
    let update = update(&elsewhere);
    let first = directors.spawn(async move {
        let (nats, agent, mut director) = ready().await;
        let id = director.start("update_settings", update).await;
        director.wait(&id).await.unwrap();
        (nats, agent)
    });
    let (mut nats, _agent) = first.await.unwrap();
    directors.shutdown_background();
    let port = nats.port;
    nats.stop();
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let attempts = Arc::new(AtomicUsize::new(0));
    let counter = attempts.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            counter.fetch_add(1, Ordering::Relaxed);
            if let Ok(mut stream) = stream {
                // No NATS at all.
                let _ = stream.write_all(b"HTTP/1.0 404\r\n\r\n");
            }
        }
    });
    elsewhere.go_on().await;
    let mut director = Director::connect(&elsewhere).await;
    director.wait_until_ready().await;
    let so_far = attempts.load(Ordering::Relaxed);
    assert!(
        so_far <= 1,
        "{so_far} attempts at what is no longer asked for"
    );
    assert_eq!(director.unexpected_replies(SILENCE * 4).await, 0);
    assert_eq!(attempts.load(Ordering::Relaxed), so_far);
}

/// A director that has moved is found by its name: it is looked up for each attempt.
#[tokio::test]
async fn names_are_looked_up_again() {
    if !nix::unistd::geteuid().is_root() {
        panic!("this test replaces /etc/hosts in a mount namespace and must run as root");
    }
    let mut nats = Nats::start_at("127.0.0.2", &[ID]).await;
    let hosts = tempfile::NamedTempFile::new().unwrap();
    // In place, for the agent sees this very file.
    let point = |address: &str| {
        let text = format!("{address} director.test\n");
        std::fs::write(hosts.path(), text).unwrap();
    };
    point("127.0.0.2");
    let url = format!("nats://director.test:{}", nats.port);
    let agent = Agent::start_in_namespace(
        &url,
        nats.ca.agent(ID).settings(),
        &format!("mount --bind {} /etc/hosts", hosts.path().display()),
    );
    let mut director = Director::connect(&nats).await;
    director.wait_until_ready().await;
    let pid = agent.pid();

    nats.stop();
    point("127.0.0.3");
    nats.move_to("127.0.0.3").await;
    let mut director = Director::connect(&nats).await;
    director.wait_until_ready().await;
    assert_eq!(agent.pid(), pid);
}

#[tokio::test]
async fn https_takes_up_a_new_certificate() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let (old, new) = (
        crate::support::nats::Ca::new(),
        crate::support::nats::Ca::new(),
    );
    let url = format!("https://vcap:b00t@127.0.0.1:{port}");
    let agent = Agent::start_on(&url, old.sign("create-env").settings(), json!({}));
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ask = async |ca: &str, method: &str, arguments: Value| {
        let root = reqwest::Certificate::from_pem(ca.as_bytes()).unwrap();
        let client = reqwest::Client::builder()
            .tls_certs_only([root])
            .build()
            .unwrap();
        let body = json!({"method": method, "arguments": arguments}).to_string();
        let sent = client
            .post(format!("https://127.0.0.1:{port}/agent"))
            .basic_auth("vcap", Some("b00t"))
            .body(body)
            .send();
        sent.await.ok()?.text().await.ok()
    };
    let (old_ca, pair) = (old.sign("x").ca, new.sign("create-env"));
    eventually("the agent answers", || ask(&old_ca, "ping", json!([]))).await;
    let update = json!([{"mbus": {"urls": [url], "cert": pair.settings()}, "trusted_certs": ""}]);
    let started = ask(&old_ca, "update_settings", update).await.unwrap();
    assert!(started.contains("agent_task_id"), "{started}");
    let pong = eventually("the agent has its new certificate", || {
        ask(&pair.ca, "ping", json!([]))
    })
    .await;
    assert_eq!(pong, r#"{"value":"pong"}"#);
    assert!(ask(&old_ca, "ping", json!([])).await.is_none());
    drop(agent);
}
