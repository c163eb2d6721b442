//! The real agent on the dummy platform, spoken to over a real nats-server with mutual TLS.

#![expect(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, in its helpers too"
)]

mod bad_input;
mod bus;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use bosh_protocol::JobState;
use serde_json::{Value, json};
use support::agent::{Agent, Director, ID, Monitor};
use support::nats::{Ca, Nats, SILENCE};
use support::{DEADLINE, eventually, release};

/// A director and an agent that answers it.
async fn ready() -> (Nats, Agent, Director) {
    let nats = Nats::start(&[ID]).await;
    let agent = Agent::start(&nats, json!({}));
    let mut director = Director::connect(&nats).await;
    director.wait_until_ready().await;
    (nats, agent, director)
}

/// The same, with the small release applied.
async fn applied() -> (Nats, Agent, Director) {
    let (nats, agent, mut director) = ready().await;
    let spec = release::spec(&agent.base(), agent.dir.path());
    assert_eq!(
        director.task("prepare", json!([spec])).await.unwrap(),
        "prepared"
    );
    assert_eq!(
        director.task("apply", json!([spec])).await.unwrap(),
        "applied"
    );
    (nats, agent, director)
}

#[tokio::test]
async fn a_new_vm_answers_and_beats() {
    let nats = Nats::start(&[ID]).await;
    let mut monitor = Monitor::connect(&nats).await;
    let mut director = Director::connect(&nats).await;
    let agent = Agent::start(&nats, json!({}));
    let heartbeat = monitor.heartbeat().await;
    assert_eq!((heartbeat.job, heartbeat.index), (None, None));
    assert_eq!(heartbeat.job_state, JobState::Running);
    assert_eq!(heartbeat.number_of_processes, Some(0));
    assert_eq!(heartbeat.vitals.load.len(), 3);
    assert!(heartbeat.vitals.mem.kb.parse::<u64>().unwrap() > 0);
    assert!(heartbeat.vitals.disk.contains_key("system"));

    assert_eq!(director.call("ping", json!([])).await.unwrap(), "pong");
    assert_eq!(
        director.call("info", json!([])).await.unwrap(),
        json!({"api_version": 1})
    );
    let state = director.call("get_state", json!([])).await.unwrap();
    assert_eq!(
        state,
        json!({
            "properties": {"logging": {"max_log_file_size": ""}},
            "job": {"name": null, "release": "", "template": "", "version": "", "templates": []},
            "packages": {}, "configuration_hash": "", "networks": {}, "resource_pool": {}, "deployment": "",
            "name": "", "index": null, "id": "", "az": "", "persistent_disk": 0, "rendered_templates_archive": null,
            "agent_id": ID, "job_state": "running", "vm": {"name": "vm-1"},
        })
    );
    let full = director.call("get_state", json!(["full"])).await.unwrap();
    assert!(full["vitals"]["uptime"]["secs"].is_u64(), "{full}");
    drop(agent);
}

#[tokio::test]
async fn mistakes_are_answered_in_upstreams_words() {
    let (_nats, _agent, mut director) = ready().await;
    for (method, arguments, expected) in [
        ("dance", json!([]), "unknown message dance"),
        (
            "get_task",
            json!(["7"]),
            "Action Failed get_task: Task with id 7 could not be found",
        ),
        (
            "cancel_task",
            json!(["7"]),
            "Action Failed cancel_task: Task with id 7 could not be found",
        ),
        (
            "get_task",
            json!([]),
            "Action Failed get_task: Extracting method arguments from payload: Not enough arguments, expected 1, got 0",
        ),
        (
            "ssh",
            json!(["dance", {}]),
            "Action Failed ssh: Unknown command for SSH method",
        ),
    ] {
        assert_eq!(
            director.call(method, arguments).await.unwrap_err(),
            expected
        );
    }
    let id = director.start("drain", json!(["status"])).await;
    assert_eq!(
        director.wait(&id).await.unwrap_err(),
        format!(
            "Action Failed get_task: Task {id} result: Unexpected call with drain type 'status'"
        )
    );
    let failed = director.task("run_errand", json!([])).await.unwrap_err();
    assert!(
        failed.ends_with("At least one job template is required to run an errand"),
        "{failed}"
    );
    let failed = director
        .task("mount_disk", json!(["d-9"]))
        .await
        .unwrap_err();
    assert!(
        failed.ends_with("Persistent disk with volume id 'd-9' could not be found"),
        "{failed}"
    );
    let failed = director
        .task("apply", json!([{"networks": {"nowhere": {}}}]))
        .await
        .unwrap_err();
    assert!(
        failed.ends_with("Network 'nowhere' is not found in settings"),
        "{failed}"
    );
    let failed = director
        .task("run_script", json!(["../evil", {}]))
        .await
        .unwrap_err();
    assert!(
        failed.contains("Script name must be a plain file name"),
        "{failed}"
    );
    let failed = director
        .task("prepare", json!([{"packages": {"p": {"sha1": "%"}}}]))
        .await
        .unwrap_err();
    assert!(failed.contains("unable to parse digest string"), "{failed}");
}

#[tokio::test]
async fn deploys_supervises_and_stops_a_job() {
    let (nats, agent, mut director) = applied().await;
    let mut monitor = Monitor::connect(&nats).await;
    let base = agent.base();
    let read = |name: &str| std::fs::read_to_string(base.join(name)).unwrap();

    assert_eq!(
        director
            .task("run_script", json!(["pre-start", {"env": {"WHO": "you"}}]))
            .await
            .unwrap(),
        json!({})
    );
    assert_eq!(read("sys/log/sleeper/pre-start.stdout.log"), "hello you\n");
    assert_eq!(director.call("start", json!([])).await.unwrap(), "started");
    let heartbeat = monitor.heartbeat_with("running").await;
    assert_eq!(heartbeat.deployment, "first-light");
    assert_eq!(heartbeat.job.as_deref(), Some("sleepers"));
    assert_eq!(
        heartbeat.node_id.as_str(),
        "8e3b1a52-8e05-4a7f-a6f0-0a3d6b6d9d21"
    );
    let state = eventually_running(&mut director).await;
    assert_eq!(state["processes"][0]["name"], "sleeper");
    assert_eq!(
        state["networks"]["private"]["cloud_properties"],
        json!({"x": [1]})
    );
    assert_eq!(state["configuration_hash"], "c-1");

    // It is killed, reported and started again.
    let pid = || {
        std::fs::read_to_string(base.join("sys/run/sleeper/sleeper.pid"))
            .ok()?
            .trim()
            .parse::<i32>()
            .ok()
    };
    let first = eventually("a pid", || async { pid() }).await;
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(first),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    let alert = monitor.alert().await;
    assert_eq!(alert.severity, 1, "{alert:?}");
    assert!(
        alert.title.starts_with("sleeper (10.244.0.10) - "),
        "{alert:?}"
    );
    eventually("another pid", || async {
        pid().filter(|pid| *pid != first)
    })
    .await;
    eventually_running(&mut director).await;

    assert_eq!(
        director.task("drain", json!(["shutdown"])).await.unwrap(),
        0
    );
    assert_eq!(monitor.shutdown().await, Value::Null);
    assert_eq!(read("drained"), "job_shutdown {\"persistent_disk\":0}\n");
    assert_eq!(director.task("stop", json!([])).await.unwrap(), "stopped");
    monitor.heartbeat_with("stopped").await;
    assert_eq!(
        director.call("get_state", json!([])).await.unwrap()["job_state"],
        "stopped"
    );

    let failed = director
        .task("run_script", json!(["post-deploy", {}]))
        .await
        .unwrap_err();
    assert!(
        failed.ends_with("1 of 1 post-deploy scripts failed. Failed Jobs: sleeper."),
        "{failed}"
    );
}

async fn eventually_running(director: &mut Director) -> Value {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        let state = director.call("get_state", json!([])).await.unwrap();
        if state["job_state"] == "running" && state["processes"][0]["state"] == "running" {
            return state;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "the job does not run: {state}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn errands_report_and_can_be_cancelled() {
    let (_nats, agent, mut director) = applied().await;
    let result = director.task("run_errand", json!([])).await.unwrap();
    assert_eq!(
        result,
        json!({"stdout": "word\n", "stderr": "oops\n", "exit_code": 5})
    );
    let failed = director
        .task("run_errand", json!(["nope"]))
        .await
        .unwrap_err();
    assert!(failed.ends_with("Could not find errand nope"), "{failed}");

    let id = director.start("run_errand", json!(["slow"])).await;
    let begun = agent.base().join("begun");
    eventually("the errand begins", || async {
        begun.exists().then_some(())
    })
    .await;
    // Logs can be had while it runs; nothing that changes the machine happens before it ends.
    director
        .task("fetch_logs", json!(["job", []]))
        .await
        .unwrap();
    let waiting = director.start("stop", json!([])).await;
    assert_eq!(
        director
            .call("cancel_task", json!([waiting]))
            .await
            .unwrap_err(),
        "Action Failed cancel_task: not supported"
    );
    assert_eq!(
        director.call("get_task", json!([waiting])).await.unwrap()["state"],
        "running"
    );
    assert_eq!(
        director.call("cancel_task", json!([id])).await.unwrap(),
        "canceled"
    );
    let result = director.wait(&id).await.unwrap();
    assert_eq!(
        (&result["stdout"], &result["exit_code"]),
        (&json!("begun\n"), &json!(143))
    );
    assert_eq!(director.wait(&waiting).await.unwrap(), "stopped");
}

#[tokio::test]
async fn compiles_and_uploads() {
    let (_nats, agent, mut director) = ready().await;
    let packaging = "#!/bin/sh\nset -e\ncat words.txt > $BOSH_INSTALL_TARGET/shout\n";
    let files = [
        ("./packaging", 0o755, packaging.to_owned()),
        ("./words.txt", 0o644, "words".to_owned()),
    ];
    let digest = release::upload(agent.dir.path(), "source-1", &files);
    let result = director
        .task(
            "compile_package",
            json!(["source-1", digest, "shout", "1.1", {}]),
        )
        .await
        .unwrap();
    let id = result["result"]["blobstore_id"].as_str().unwrap();
    let compiled = std::fs::read(agent.dir.path().join("blobs").join(id)).unwrap();
    assert_eq!(result["result"]["sha1"], release::digest(&compiled));

    let failing = [(
        "./packaging",
        0o755,
        "echo no compiler >&2; exit 9\n".to_owned(),
    )];
    let digest = release::upload(agent.dir.path(), "source-2", &failing);
    let failed = director
        .task(
            "compile_package",
            json!(["source-2", digest, "bad", "1.1", {}]),
        )
        .await
        .unwrap_err();
    assert!(
        failed.contains("Compiling package bad") && failed.contains("no compiler"),
        "{failed}"
    );
}

#[tokio::test]
async fn logs_are_bundled_and_removed() {
    let (_nats, agent, mut director) = applied().await;
    director
        .task("run_script", json!(["pre-start", {}]))
        .await
        .unwrap();
    let result = director
        .task("fetch_logs", json!(["job", null]))
        .await
        .unwrap();
    let id = result["blobstore_id"].as_str().unwrap();
    let tarball = std::fs::read(agent.dir.path().join("blobs").join(id)).unwrap();
    assert_eq!(result["sha1"], release::digest(&tarball));

    let bundle = director
        .call("bundle_logs", json!([{"log_type": "job", "filters": []}]))
        .await
        .unwrap();
    assert!(
        bundle["sha512"].as_str().unwrap().starts_with("sha512:"),
        "{bundle}"
    );
    let path = bundle["logs_tar_path"].as_str().unwrap();
    assert!(std::path::Path::new(path).exists());
    assert_eq!(
        director.call("remove_file", json!([path])).await.unwrap(),
        path
    );
    assert!(!std::path::Path::new(path).exists());
    let failed = director
        .task("fetch_logs", json!(["poems", []]))
        .await
        .unwrap_err();
    assert!(failed.contains("Invalid log type"), "{failed}");
}

#[tokio::test]
async fn disks_come_and_go() {
    let (_nats, _agent, mut director) = ready().await;
    assert_eq!(
        director
            .task("add_persistent_disk", json!(["d-1", {"path": "/dev/sdx"}]))
            .await
            .unwrap(),
        json!({})
    );
    assert_eq!(
        director.task("list_disk", json!([])).await.unwrap(),
        json!([])
    );
    assert_eq!(
        director.task("mount_disk", json!(["d-1"])).await.unwrap(),
        json!({})
    );
    assert_eq!(
        director.task("list_disk", json!([])).await.unwrap(),
        json!(["d-1"])
    );
    let message = director.task("unmount_disk", json!(["d-1"])).await.unwrap();
    assert!(
        message["message"]
            .as_str()
            .unwrap()
            .starts_with("Unmounted partition of"),
        "{message}"
    );
    let message = director.task("unmount_disk", json!(["d-1"])).await.unwrap();
    assert!(
        message["message"]
            .as_str()
            .unwrap()
            .ends_with("is not mounted"),
        "{message}"
    );
    assert_eq!(
        director
            .task("remove_persistent_disk", json!(["d-1"]))
            .await
            .unwrap(),
        json!({})
    );
    assert!(director.task("mount_disk", json!(["d-1"])).await.is_err());
    assert_eq!(
        director
            .task("add_dynamic_disk", json!(["y", "/dev/sdy"]))
            .await
            .unwrap(),
        json!({})
    );
    assert_eq!(
        director
            .call("remove_dynamic_disk", json!(["y"]))
            .await
            .unwrap(),
        json!({})
    );
}

#[tokio::test]
async fn small_methods() {
    let (_nats, agent, mut director) = ready().await;
    let payload = "aGVsbG8=";
    let blob = json!({"blob_id": "b-1", "checksum": release::digest(b"hello"), "payload": payload});
    assert_eq!(
        director.task("upload_blob", json!([blob])).await.unwrap(),
        "b-1"
    );
    let blob =
        json!({"blob_id": "b-2", "checksum": release::digest(b"goodbye"), "payload": payload});
    let failed = director
        .task("upload_blob", json!([blob]))
        .await
        .unwrap_err();
    assert!(
        failed.contains("Payload corrupted. Checksum mismatch."),
        "{failed}"
    );
    assert!(
        !agent.log().contains(payload),
        "what is uploaded may be secret"
    );

    let setup = json!(["setup", {"user": "bosh_1", "public_key": "ssh-ed25519 AAAA"}]);
    let result = director.call("ssh", setup).await.unwrap();
    assert_eq!(
        (&result["status"], &result["ip"]),
        (&json!("success"), &json!("10.244.0.10"))
    );
    let result = director
        .call("ssh", json!(["cleanup", {"user_regex": "^bosh_1$"}]))
        .await
        .unwrap();
    assert_eq!(result, json!({"command": "cleanup", "status": "success"}));
    assert!(
        director
            .call("ssh", json!(["setup", {"user": "root"}]))
            .await
            .is_err()
    );

    let records = json!({"Version": 2, "records": [["10.0.0.1", "a.bosh"]]}).to_string();
    std::fs::write(agent.dir.path().join("blobs/dns-1"), &records).unwrap();
    let digest = release::digest(records.as_bytes());
    assert_eq!(
        director
            .call("sync_dns", json!(["dns-1", digest, 2]))
            .await
            .unwrap(),
        "synced"
    );
    assert_eq!(
        director
            .call("sync_dns", json!(["gone", digest, 1]))
            .await
            .unwrap(),
        "synced",
        "old news"
    );
    assert!(
        director
            .call("sync_dns", json!(["gone", digest, 3]))
            .await
            .is_err()
    );

    assert_eq!(
        director
            .call("delete_arp_entries", json!([{"ips": ["10.0.0.9", "?"]}]))
            .await
            .unwrap(),
        json!({})
    );
    assert_eq!(
        director.task("migrate_disk", json!([])).await.unwrap(),
        json!({})
    );
    assert_eq!(director.call("shutdown", json!([])).await.unwrap(), "");
}

#[tokio::test]
async fn update_settings_moves_to_another_nats() {
    let (_nats, agent, mut director) = ready().await;
    let elsewhere = Nats::start(&[ID]).await;
    let mut monitor = Monitor::connect(&elsewhere).await;
    let pid = agent.pid();
    let update = json!({"mbus": {"urls": [elsewhere.url()], "cert": elsewhere.ca.agent(ID).settings()},
                        "trusted_certs": "", "disk_associations": []});
    // The answer may come by the old connection or get lost with it: only the start is certain.
    director.start("update_settings", json!([update])).await;
    let mut director = Director::connect(&elsewhere).await;
    director.wait_until_ready().await;
    monitor.heartbeat().await;
    assert_eq!(agent.pid(), pid, "it is the same process");

    // And a restarted agent stays there.
    let mut agent = agent;
    agent.restart();
    director.wait_until_ready().await;
}

#[tokio::test]
async fn a_new_certificate_loses_and_doubles_no_request() {
    let (nats, _agent, mut director) = ready().await;
    for _ in 0..3 {
        let cert = nats.ca.agent(ID).settings();
        let update = json!({"mbus": {"urls": [nats.url()], "cert": cert}, "trusted_certs": ""});
        let id = director.start("update_settings", json!([update])).await;
        // Asked from before until after the change.
        assert_eq!(director.wait(&id).await.unwrap(), "ok");
        for _ in 0..50 {
            assert_eq!(director.call("ping", json!([])).await.unwrap(), "pong");
        }
    }
    assert_eq!(director.unexpected_replies(SILENCE).await, 0);
}

#[tokio::test]
async fn survives_a_restart_of_nats_and_of_itself() {
    let (mut nats, mut agent, mut director) = applied().await;
    assert_eq!(director.call("start", json!([])).await.unwrap(), "started");
    eventually_running(&mut director).await;
    let pid = || std::fs::read_to_string(agent.base().join("sys/run/sleeper/sleeper.pid")).unwrap();
    let before = pid();

    nats.restart().await;
    let mut director = Director::connect(&nats).await;
    director.wait_until_ready().await;
    let mut monitor = Monitor::connect(&nats).await;

    let pid_before = before.clone();
    agent.restart();
    director.wait_until_ready().await;
    monitor.heartbeat_with("running").await;
    let state = eventually_running(&mut director).await;
    assert_eq!(state["deployment"], "first-light");
    let after = std::fs::read_to_string(agent.base().join("sys/run/sleeper/sleeper.pid")).unwrap();
    assert_eq!(
        after, pid_before,
        "the process is adopted, not started again"
    );
    assert_eq!(director.task("stop", json!([])).await.unwrap(), "stopped");
}

#[tokio::test]
async fn a_server_by_another_name_is_not_trusted() {
    let nats = Nats::start_as(&[ID], "default.director.bosh-internal").await;
    let agent = Agent::start(&nats, json!({}));
    eventually("the agent refuses the server", || async {
        agent
            .log()
            .contains("CommonName does not match")
            .then_some(())
    })
    .await;
    tokio::time::sleep(SILENCE).await;
    assert!(!agent.log().contains("connected to NATS"));
}

#[tokio::test]
async fn sigterm_ends_the_agent_and_not_the_jobs() {
    let (_nats, mut agent, mut director) = applied().await;
    director.call("start", json!([])).await.unwrap();
    eventually_running(&mut director).await;
    let pid: i32 = std::fs::read_to_string(agent.base().join("sys/run/sleeper/sleeper.pid"))
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let own = nix::unistd::Pid::from_raw(i32::try_from(agent.pid()).unwrap());
    nix::sys::signal::kill(own, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(agent.ended().await.code(), Some(1));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None).expect("the job still runs");
}

#[tokio::test]
async fn unusable_settings_are_named() {
    let nats = Nats::start(&[ID]).await;
    let mut agent = Agent::start(
        &nats,
        json!({"env": {"bosh": {"mbus": {"cert": {"private_key": "nonsense"}}}}}),
    );
    assert_eq!(agent.ended().await.code(), Some(1));
    let log = agent.log();
    assert!(
        log.contains("parse private key of the message bus certificate"),
        "{log}"
    );
    assert!(!log.contains("nonsense"));
}

#[tokio::test]
async fn create_env_speaks_https() {
    // Chosen by the kernel, and free again for the agent.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let pair = Ca::new().sign("create-env");
    let url = format!("https://vcap:b00t@127.0.0.1:{port}");
    let agent = Agent::start_on(&url, pair.settings(), json!({}));
    // Another test in this process may have installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let root = reqwest::Certificate::from_pem(pair.ca.as_bytes()).unwrap();
    let client = reqwest::Client::builder()
        .tls_certs_only([root])
        .build()
        .unwrap();
    let at = |path: &str| format!("https://127.0.0.1:{port}{path}");
    let call = |method: &str, arguments: Value| {
        let body =
            json!({"protocol": 3, "method": method, "arguments": arguments, "reply_to": "cli"})
                .to_string();
        client
            .post(at("/agent"))
            .basic_auth("vcap", Some("b00t"))
            .body(body)
            .send()
    };
    let response = eventually("the agent answers", || async {
        call("ping", json!([])).await.ok()
    })
    .await;
    assert_eq!(response.text().await.unwrap(), r#"{"value":"pong"}"#);
    let response = call("dance", json!([])).await.unwrap();
    assert_eq!(
        response.text().await.unwrap(),
        r#"{"exception":{"message":"unknown message dance"}}"#
    );

    let refused = client
        .post(at("/agent"))
        .basic_auth("vcap", Some("wrong"))
        .body("{}")
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 401);
    assert_eq!(refused.headers()["www-authenticate"], "Basic realm=\"\"");

    let blob = "x".repeat(1_000_000);
    let put = client
        .put(at("/blobs/b-1"))
        .basic_auth("vcap", Some("b00t"))
        .body(blob.clone())
        .send()
        .await
        .unwrap();
    assert_eq!(put.status(), 201);
    let get = |id: &str| {
        client
            .get(at(&format!("/blobs/{id}")))
            .basic_auth("vcap", Some("b00t"))
            .send()
    };
    assert_eq!(get("b-1").await.unwrap().text().await.unwrap(), blob);
    assert_eq!(get("b-2").await.unwrap().status(), 404);
    assert_eq!(
        client.get(at("/blobs/b-1")).send().await.unwrap().status(),
        401
    );
    let elsewhere = client
        .get(at("/elsewhere"))
        .basic_auth("vcap", Some("b00t"))
        .send()
        .await
        .unwrap();
    assert_eq!(elsewhere.status(), 404);
    drop(agent);
}
