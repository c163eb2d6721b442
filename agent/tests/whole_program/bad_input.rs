//! Requests that are wrong, huge or hostile: one clear error, and nothing half done.

use std::path::Path;
use std::time::Duration;

use async_nats::Client;
use bosh_protocol::Method;
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::support::agent::{Agent, Director, ID};
use crate::support::nats::{Nats, SILENCE};
use crate::support::{DEADLINE, eventually, release};
use crate::{applied, ready};

/// Sends bytes and returns what comes back, if anything does in time; then the agent must still answer a ping.
async fn send(client: &Client, bytes: Vec<u8>, wait: Duration) -> Option<Value> {
    let own = format!("director.raw.{ID}.own");
    let ping = format!("director.raw.{ID}.ping");
    let mut replies = client.subscribe(own).await.unwrap();
    let mut pong = client.subscribe(ping.clone()).await.unwrap();
    let to = format!("agent.{ID}");
    client.publish(to.clone(), bytes.into()).await.unwrap();
    let reply = tokio::time::timeout(wait, replies.next()).await;
    let request = json!({"method": "ping", "reply_to": ping}).to_string();
    client.publish(to, request.into()).await.unwrap();
    let alive = tokio::time::timeout(DEADLINE, pong.next()).await;
    assert_eq!(
        alive.unwrap().unwrap().payload,
        r#"{"value":"pong"}"#,
        "the agent goes on"
    );
    let reply = reply.ok().flatten()?;
    Some(serde_json::from_slice(&reply.payload).unwrap())
}

#[tokio::test]
async fn envelopes() {
    let (nats, _agent, _director) = ready().await;
    let client = nats.connect("default.director.bosh-internal").await;
    let own = format!("director.raw.{ID}.own");
    // Nobody can be told.
    for bytes in [
        b"".to_vec(),
        b"{".to_vec(),
        b"null".to_vec(),
        b"[]".to_vec(),
        b"\xff\xfe\x00".to_vec(),
        b"{\"method\": \"ping\"}".to_vec(),
        b"{\"method\": 7}".to_vec(),
        vec![b'['; 200_000],
        format!(r#"{{"method": 7, "reply_to": "{own}"}}"#).into_bytes(),
        format!(r#"{{"method": "ping", "reply_to": "{own}"}} more"#).into_bytes(),
        // A subject that is none.
        br#"{"method": "ping", "reply_to": "a b"}"#.to_vec(),
        // A subject that this agent may not publish to.
        br#"{"method": "ping", "reply_to": "agent.other"}"#.to_vec(),
    ] {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        assert_eq!(send(&client, bytes, SILENCE).await, None, "{shown}");
    }
    for (request, expected) in [
        (
            json!({"reply_to": own}),
            json!({"exception": {"message": "unknown message "}}),
        ),
        (
            json!({"method": "foo", "arguments": {}, "reply_to": own}),
            json!({"exception": {"message": "unknown message foo"}}),
        ),
        (
            json!({"method": "ping", "arguments": {"a": 1}, "reply_to": own}),
            json!({"exception": {"message": "Action Failed ping: Extracting json arguments: Unmarshalling payload \
                   arguments to interface{} types: json: cannot unmarshal object into Go struct field \
                   payloadType.arguments of type []interface {}"}}),
        ),
        (
            json!({"METHOD": "ping", "arguments": null, "reply_to": own}),
            json!({"value": "pong"}),
        ),
        (
            json!({"method": "ping", "arguments": vec![0; 400_000], "reply_to": own}),
            json!({"value": "pong"}),
        ),
        (
            json!({"method": "get_task", "arguments": [7], "reply_to": own}),
            json!({"exception": {"message": "Action Failed get_task: Extracting method arguments from payload: Unmarshalling \
                   action argument: json: cannot unmarshal number into Go value of type string"}}),
        ),
    ] {
        let shown = request.to_string()[..60].to_owned();
        let reply = send(&client, request.to_string().into_bytes(), DEADLINE).await;
        assert_eq!(reply, Some(expected), "{shown}");
    }
}

/// The request of a method's golden file.
fn golden(method: Method) -> Vec<Value> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("protocol/tests/golden/methods");
    let text = std::fs::read_to_string(dir.join(format!("{method}.json"))).unwrap();
    let golden: Value = serde_json::from_str(&text).unwrap();
    golden["request"]["arguments"].as_array().unwrap().clone()
}

/// What an agent has, as far as a request could change it.
async fn belongings(agent: &Agent, director: &mut Director) -> (Value, Vec<String>) {
    let mut state = director.call("get_state", json!([])).await.unwrap();
    state["processes"] = Value::Null;
    let mut files = Vec::new();
    let mut dirs = vec![agent.base()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                dirs.push(path.clone());
            }
            // Tasks come and go whatever comes of them.
            if !path.ends_with("bosh/tasks.json") {
                files.push(path.display().to_string());
            }
        }
    }
    files.sort();
    (state, files)
}

fn nothing_changed(before: &(Value, Vec<String>), after: &(Value, Vec<String>)) {
    let gone: Vec<_> = before.1.iter().filter(|f| !after.1.contains(f)).collect();
    let new: Vec<_> = after.1.iter().filter(|f| !before.1.contains(f)).collect();
    assert!(
        gone.is_empty() && new.is_empty(),
        "gone: {gone:?}, new: {new:?}"
    );
    assert_eq!(before.0, after.0);
}

#[tokio::test]
async fn every_method_refuses_what_it_does_not_take() {
    let (_nats, agent, mut director) = applied().await;
    let before = belongings(&agent, &mut director).await;
    let mut refusals = 0;
    for &method in Method::ALL {
        let good = golden(method);
        // What may be left out may not be wrong either; what is not looked at may be anything.
        for index in 0..good.len() {
            let wrong = match &good[index] {
                Value::String(_) => json!({"not": "a text"}),
                Value::Number(_) => json!("no number"),
                _ => json!("no object"),
            };
            // A hint may be a text.
            if index == 1 && matches!(method, Method::AddPersistentDisk | Method::AddDynamicDisk) {
                continue;
            }
            let mut arguments = good.clone();
            arguments[index] = wrong;
            let refused = match method.is_asynchronous(3) {
                true => director.task(method.as_str(), json!(arguments)).await,
                false => director.call(method.as_str(), json!(arguments)).await,
            }
            .expect_err(method.as_str());
            assert!(
                refused.contains(
                    "Extracting method arguments from payload: Unmarshalling action argument: json: cannot unmarshal "
                ),
                "{method} {index}: {refused}"
            );
            refusals += 1;
        }
    }
    assert!(refusals > 25, "{refusals}");
    nothing_changed(&before, &belongings(&agent, &mut director).await);
}

#[tokio::test]
async fn too_few_arguments_are_counted() {
    let (_nats, _agent, mut director) = ready().await;
    for &method in Method::ALL {
        let required = match method {
            Method::GetState | Method::RunErrand => 0,
            Method::Drain => 1,
            _ => golden(method).len(),
        };
        if required == 0 {
            continue;
        }
        let refused = match method.is_asynchronous(3) {
            true => director.task(method.as_str(), json!([])).await,
            false => director.call(method.as_str(), json!([])).await,
        }
        .expect_err(method.as_str());
        assert!(
            refused.ends_with(&format!("Not enough arguments, expected {required}, got 0")),
            "{method}: {refused}"
        );
    }
}

#[tokio::test]
async fn settings_that_cannot_be_used_are_not_kept() {
    let (nats, mut agent, mut director) = ready().await;
    let cert = nats.ca.agent(ID).settings();
    for (update, expected) in [
        (
            json!({"mbus": {"urls": ["gopher://x"], "cert": cert}}),
            "Using the new message bus: Message Bus Handler with scheme gopher could not be found",
        ),
        (
            json!({"mbus": {"urls": [nats.url()], "cert": {"ca": cert["ca"], "certificate": "?", "private_key": "?"}}}),
            "Using the new message bus: ",
        ),
        (
            json!({"blobstores": [{"provider": "dav", "options": {}}]}),
            "Using the new blobstore: ",
        ),
        (
            json!({"disk_associations": [{"name": "d", "cid": "none"}]}),
            "Fetching disk settings: Persistent disk with volume id 'none' could not be found",
        ),
    ] {
        let error = director
            .task("update_settings", json!([update]))
            .await
            .expect_err(&update.to_string());
        assert!(error.contains(expected), "{error}");
    }
    assert!(!agent.base().join("bosh/update_settings.json").exists());
    agent.restart();
    director.wait_until_ready().await;
}

#[tokio::test]
async fn hostile_names_lead_nowhere() {
    let (_nats, agent, mut director) = applied().await;
    let before = belongings(&agent, &mut director).await;
    let digest = release::digest(b"");
    let package =
        |name: &str| json!({"name": name, "version": "1", "sha1": digest, "blobstore_id": "b"});
    let templates = json!({"sha1": digest, "blobstore_id": "b"});
    for (method, arguments) in [
        (
            "prepare",
            json!([{"configuration_hash": "x", "packages": {"p": package("../../../etc")}}]),
        ),
        (
            "apply",
            json!([{"configuration_hash": "x", "job": {"templates": [{"name": "../..", "version": "1"}]},
                    "rendered_templates_archive": templates}]),
        ),
        (
            "compile_package",
            json!(["b", digest, "../../etc", "1", {}]),
        ),
        ("run_script", json!(["../../../../../bin/sh", {}])),
        ("run_errand", json!(["../../../bin"])),
        (
            "upload_blob",
            json!([{"blob_id": "../../x", "checksum": digest, "payload": ""}]),
        ),
        ("fetch_logs", json!(["../../../etc", []])),
        ("drain", json!(["dance"])),
        ("drain", json!(["update"])),
        ("mount_disk", json!(["../../etc"])),
    ] {
        let refused = director.task(method, arguments.clone()).await;
        let refused = refused.expect_err(&format!("{method} {arguments}"));
        assert!(
            !refused.is_empty() && !refused.contains("broke down"),
            "{refused}"
        );
    }
    nothing_changed(&before, &belongings(&agent, &mut director).await);
}

#[tokio::test]
async fn what_is_too_long_for_the_bus_is_shortened_or_refused() {
    let (_nats, agent, mut director) = applied().await;
    let run = agent.base().join("jobs/sleeper/bin/run");
    let script = |text: &str| {
        std::fs::remove_file(&run).ok();
        std::fs::write(&run, format!("#!/bin/sh\n{text}\n")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&run, mode).unwrap();
    };
    script("head -c 2000000 /dev/zero | tr '\\0' x");
    assert_eq!(
        director
            .task("run_errand", json!(["sleeper"]))
            .await
            .unwrap_err(),
        "Response exceeded maximum allowed length"
    );
    script("echo fine");
    let result = director
        .task("run_errand", json!(["sleeper"]))
        .await
        .unwrap();
    assert_eq!(result["stdout"], "fine\n");
    // As long as a request can be; the reply says it twice.
    let name = "n".repeat(900_000);
    let id = director.start("run_errand", json!([name])).await;
    let error = director.wait(&id).await.unwrap_err();
    assert!(error.starts_with(&format!(
        "Action Failed get_task: Task {id} result: Could not find errand nnn"
    )));
    let script_name = "\"".repeat(400_000);
    let id = director.start("drain", json!([script_name])).await;
    let error = director.wait(&id).await.unwrap_err();
    assert!(
        error.starts_with("Action Failed get_task"),
        "{}",
        &error[..80]
    );
    assert!(error.ends_with("\"'"), "both ends are kept");
}

#[tokio::test]
async fn tasks_of_another_agent_are_settled() {
    let nats = Nats::start(&[ID]).await;
    let mut agent = Agent::start(&nats, json!({}));
    let mut director = Director::connect(&nats).await;
    director.wait_until_ready().await;
    // As upstream's agent writes them.
    let task = |id: &str, method: &str| json!({"TaskID": id, "Method": method, "Payload": "e30="});
    let tasks = json!({
        "t-1": task("t-1", "update_settings"),
        "t-2": task("t-2", "apply"),
        "t-3": task("t-3", "dance"),
    });
    let file = agent.base().join("bosh/tasks.json");
    std::fs::write(&file, tasks.to_string()).unwrap();
    agent.restart();
    director.wait_until_ready().await;
    assert_eq!(director.wait("t-1").await.unwrap(), "ok");
    assert_eq!(
        director.wait("t-2").await.unwrap_err(),
        "Action Failed get_task: Task t-2 result: not supported"
    );
    assert_eq!(
        director.wait("t-3").await.unwrap_err(),
        "Action Failed get_task: Task with id t-3 could not be found"
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "{}");
    // And one that is no JSON.
    std::fs::write(&file, "{\"t-1\": ").unwrap();
    agent.restart();
    director.wait_until_ready().await;
    let update = json!([{"trusted_certs": "", "disk_associations": []}]);
    assert_eq!(
        director.task("update_settings", update).await.unwrap(),
        "ok"
    );
}

#[tokio::test]
async fn the_methods_of_old_directors() {
    let (_nats, agent, mut director) = ready().await;
    assert_eq!(
        director
            .call("prepare_configure_networks", json!([]))
            .await
            .unwrap(),
        "ok"
    );
    assert_eq!(
        director
            .task("configure_networks", json!([]))
            .await
            .unwrap(),
        "ok"
    );
    director.wait_until_ready().await;
    assert_eq!(
        director
            .call("prepare_network_change", json!([]))
            .await
            .unwrap(),
        "ok"
    );
    let settings = agent.base().join("bosh/settings.json");
    eventually("the settings are fetched anew", || {
        let there = settings.exists();
        async move { there.then_some(()) }
    })
    .await;
    director.wait_until_ready().await;
    let error = director
        .call("release_apply_spec", json!([]))
        .await
        .unwrap_err();
    assert!(
        error.starts_with("Action Failed release_apply_spec: Opening micro apply spec file: "),
        "{error}"
    );
    std::fs::create_dir(agent.base().join("micro")).unwrap();
    std::fs::write(agent.base().join("micro/apply_spec.json"), r#"{"a": 1}"#).unwrap();
    assert_eq!(
        director
            .call("release_apply_spec", json!([]))
            .await
            .unwrap(),
        json!({"a": 1})
    );
}

/// Runs a command in the mount namespace of an agent.
fn inside(agent: &Agent, command: &[&str]) {
    let status = std::process::Command::new("nsenter")
        .args(["-t", &agent.pid().to_string(), "-m"])
        .args(command)
        .status()
        .unwrap();
    assert!(status.success(), "{command:?}");
}

#[tokio::test]
async fn a_full_disk_is_an_error_and_nothing_more() {
    let nats = Nats::start(&[ID]).await;
    let agent = Agent::start_in_namespace(&nats.url(), nats.ca.agent(ID).settings(), "true");
    let mut director = Director::connect(&nats).await;
    director.wait_until_ready().await;
    let data = agent.base().join("data");
    let data = data.to_str().unwrap();
    let spec = release::spec(&agent.base(), agent.dir.path());
    inside(
        &agent,
        &["mount", "-t", "tmpfs", "-o", "size=8k", "full", data],
    );
    let error = director.task("prepare", json!([spec])).await.unwrap_err();
    assert!(
        error.contains("Preparing apply spec: ") && error.contains("No space left on device"),
        "{error}"
    );
    let state = director.call("get_state", json!([])).await.unwrap();
    assert_eq!(state["configuration_hash"], "");
    inside(&agent, &["umount", data]);
    assert_eq!(
        director.task("prepare", json!([spec])).await.unwrap(),
        "prepared"
    );
    assert_eq!(
        director.task("apply", json!([spec])).await.unwrap(),
        "applied"
    );
}

#[tokio::test]
async fn a_read_only_filesystem_is_an_error_and_nothing_more() {
    let nats = Nats::start(&[ID]).await;
    let agent = Agent::start_in_namespace(&nats.url(), nats.ca.agent(ID).settings(), "true");
    let mut director = Director::connect(&nats).await;
    director.wait_until_ready().await;
    let bosh = agent.base().join("bosh");
    let bosh = bosh.to_str().unwrap();
    inside(&agent, &["mount", "--bind", bosh, bosh]);
    inside(&agent, &["mount", "-o", "remount,bind,ro", bosh]);
    let update = json!([{"trusted_certs": "new", "disk_associations": []}]);
    let error = director
        .call("update_settings", update.clone())
        .await
        .unwrap_err();
    assert!(
        error.starts_with("Action Failed update_settings: ")
            && error.contains("Read-only file system"),
        "{error}"
    );
    let spec = json!({"deployment": "d", "configuration_hash": ""});
    let error = director.task("apply", json!([spec])).await.unwrap_err();
    assert!(error.contains("Persisting apply spec: "), "{error}");
    let state = director.call("get_state", json!([])).await.unwrap();
    assert_eq!(
        state["deployment"], "",
        "what could not be written is not believed"
    );
    inside(&agent, &["mount", "-o", "remount,bind,rw", bosh]);
    assert_eq!(
        director.task("update_settings", update).await.unwrap(),
        "ok"
    );
    assert_eq!(
        director.task("apply", json!([spec])).await.unwrap(),
        "applied"
    );
    let state = director.call("get_state", json!([])).await.unwrap();
    assert_eq!(state["deployment"], "d");
}

#[tokio::test]
async fn many_at_once_are_all_answered() {
    let (nats, _agent, _director) = ready().await;
    let client = nats.connect("default.director.bosh-internal").await;
    let mut replies = client
        .subscribe(format!("director.many.{ID}.*"))
        .await
        .unwrap();
    for n in 0..500 {
        let request = json!({"method": "ping", "arguments": [], "reply_to": format!("director.many.{ID}.{n}")});
        client
            .publish(format!("agent.{ID}"), request.to_string().into())
            .await
            .unwrap();
    }
    for n in 0..500 {
        let reply = tokio::time::timeout(Duration::from_secs(20), replies.next()).await;
        assert!(reply.is_ok(), "only {n} of 500");
    }
}
