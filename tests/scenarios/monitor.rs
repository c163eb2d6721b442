//! The health monitor between a real nats-server, real listeners and a fake director.

use std::time::Duration;

use bosh_tests::bus::Bus;
use bosh_tests::fake_director::{FakeDirector, Known, agent_id, instance};
use bosh_tests::monitor::{Monitor, director_options};
use bosh_tests::{smtp, wait, webhook};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(20);

async fn director(instances: u64) -> anyhow::Result<FakeDirector> {
    FakeDirector::start(Known {
        instances: (0..instances).map(instance).collect(),
        ..Known::default()
    })
    .await
}

/// Intervals at which silence is noticed within seconds.
fn alert_to_silence() -> Value {
    json!({ "poll_director": 0.2, "poll_grace_period": 0, "analyze_agents": 0.2, "analyze_instances": 0.2, "agent_timeout": 1, "rogue_agent_alert": 60, "resurrection_config": 0.2 })
}

fn resurrector(director: &FakeDirector) -> Value {
    json!([{ "name": "resurrector", "events": ["alert"], "options": { "director": director_options(director) } }])
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_alert_reaches_every_plugin_once() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (bus, director) = (Bus::start(dir.path()).await?, director(1).await?);
    let (mail, hook) = (
        smtp::Sink::start().await?,
        webhook::Listener::start().await?,
    );
    let plugins = json!([
        { "name": "webhook", "events": ["alert"], "options": { "url": format!("http://{}/", hook.addr) } },
        { "name": "email", "events": ["alert"], "options": { "interval": 0.1, "recipients": ["ops@example.test"],
            "smtp": { "from": "hm@example.test", "host": "127.0.0.1", "port": mail.addr.port(), "domain": "example.test" } } },
        { "name": "event_logger", "events": ["alert"], "options": { "director": director_options(&director) } },
    ]);
    let _monitor =
        Monitor::start(&bus, &director, &dir.path().join("hm"), json!({}), plugins).await?;
    let client = bus.client().await?;
    let alert = json!({ "id": "a-1", "severity": 2, "title": "redis - does not exist - restart", "summary": "gone", "created_at": 1_700_000_000 });
    let last = json!({ "id": "a-2", "severity": 4, "title": "redis - is back", "created_at": 1_700_000_001 });
    for message in [
        &alert,
        &alert,
        &json!({ "severity": "high" }),
        &json!([]),
        &last,
    ] {
        client
            .publish(
                format!("hm.agent.alert.{}", agent_id(0)),
                message.to_string().into(),
            )
            .await?;
    }
    client.flush().await?;

    let calls = wait::until("both webhooks", SOON, || async {
        Ok(Some(hook.calls()).filter(|calls| calls.len() >= 2))
    })
    .await?;
    let mails = wait::until("the mails", SOON, || async {
        Ok(Some(mail.mails()).filter(|mails| {
            mails
                .iter()
                .any(|mail| mail.text.contains("redis - is back"))
        }))
    })
    .await?;
    wait::until("both events", SOON, || async {
        Ok((director.known().events.len() >= 2).then_some(()))
    })
    .await?;

    assert_eq!(calls.len(), 2, "{calls:?}");
    let body = &calls[0].body;
    assert_eq!(
        body["source"],
        format!(
            "dep: web({}) [id={}, index=0, cid=vm-0]",
            instance(0)["id"].as_str().unwrap(),
            agent_id(0)
        )
    );
    assert_eq!(
        (&body["deployment"], &body["job"], &body["severity"]),
        (&json!("dep"), &json!("web"), &json!(2))
    );
    let text: String = mails.iter().map(|mail| mail.text.as_str()).collect();
    assert_eq!(text.matches("does not exist").count(), 1, "{text}");
    assert!(text.contains("from BOSH Health Monitor"), "{text}");
    assert_eq!(mails[0].to, ["ops@example.test"]);
    let events = director.known().events.clone();
    assert_eq!(
        (
            &events[0]["action"],
            &events[0]["object_type"],
            &events[0]["object_name"]
        ),
        (&json!("create"), &json!("alert"), &json!("a-1"))
    );
    assert_eq!(
        events[0]["instance"],
        format!("web/{}", instance(0)["id"].as_str().unwrap())
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_agents_vm_is_scanned_and_a_speaking_ones_is_not() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (bus, director) = (Bus::start(dir.path()).await?, director(2).await?);
    let _monitor = Monitor::start(
        &bus,
        &director,
        &dir.path().join("hm"),
        alert_to_silence(),
        resurrector(&director),
    )
    .await?;
    let client = bus.client().await?;
    let scan = wait::until("a scan", SOON, || async {
        client
            .publish(
                format!("hm.agent.heartbeat.{}", agent_id(0)),
                r#"{"job_state":"running"}"#.into(),
            )
            .await?;
        client.flush().await?;
        Ok(director.known().scans.first().cloned())
    })
    .await?;
    assert_eq!(scan, json!({ "jobs": { "web": [instance(1)["id"]] } }));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mass_outage_is_a_meltdown_and_nothing_is_scanned() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (bus, director, hook) = (
        Bus::start(dir.path()).await?,
        director(6).await?,
        webhook::Listener::start().await?,
    );
    let mut plugins = resurrector(&director);
    plugins.as_array_mut().unwrap().push(json!({ "name": "webhook", "events": ["alert"], "options": { "url": format!("http://{}/", hook.addr) } }));
    let _monitor = Monitor::start(
        &bus,
        &director,
        &dir.path().join("hm"),
        alert_to_silence(),
        plugins,
    )
    .await?;
    wait::until("the meltdown", SOON, || async {
        Ok(hook
            .calls()
            .iter()
            .any(|call| call.body["title"] == "We are in meltdown")
            .then_some(()))
    })
    .await?;
    assert!(
        director.known().scans.is_empty(),
        "{:?}",
        director.known().scans
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn resurrection_rules_hold() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (bus, director, hook) = (
        Bus::start(dir.path()).await?,
        director(1).await?,
        webhook::Listener::start().await?,
    );
    director.known().resurrection =
        vec!["rules: [{enabled: false, include: {instance_groups: [web]}}]".to_owned()];
    let mut plugins = resurrector(&director);
    plugins.as_array_mut().unwrap().push(json!({ "name": "webhook", "events": ["alert"], "options": { "url": format!("http://{}/", hook.addr) } }));
    let _monitor = Monitor::start(
        &bus,
        &director,
        &dir.path().join("hm"),
        alert_to_silence(),
        plugins,
    )
    .await?;
    wait::until("the refusal", SOON, || async {
        let refused = hook
            .calls()
            .into_iter()
            .any(|call| call.body["title"] == "Resurrection is disabled by resurrection config");
        Ok(refused.then_some(()))
    })
    .await?;
    assert!(director.known().scans.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_are_answered_as_upstreams_are() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (bus, director) = (Bus::start(dir.path()).await?, director(3).await?);
    let monitor = Monitor::start(
        &bus,
        &director,
        &dir.path().join("hm"),
        json!({ "poll_director": 0.2 }),
        json!([]),
    )
    .await?;
    let client = bus.client().await?;
    for (index, body) in [
        (0, r#"{"job_state":"failing"}"#),
        (1, r#"{"job_state":"running","number_of_processes":0}"#),
        (7, "{}"),
    ] {
        client
            .publish(
                format!("hm.agent.heartbeat.{}", agent_id(index)),
                body.into(),
            )
            .await?;
    }
    client.flush().await?;
    monitor.logs("Agent heartbeats received = 3\n").await?;
    let http = reqwest::Client::builder().build()?;
    let get = |path: &str| {
        http.get(format!("http://127.0.0.1:{}{path}", monitor.port))
            .send()
    };
    assert!(
        get("/healthz")
            .await?
            .text()
            .await?
            .starts_with("Last pulse was ")
    );
    for (path, expected) in [
        ("/failing_instances", json!({ "dep": 1 })),
        ("/unhealthy_agents", json!({ "dep": 1 })),
        ("/stopped_instances", json!({ "dep": 0 })),
        ("/unknown_instances", json!({ "dep": 1 })),
        ("/unresponsive_agents", json!({ "dep": 0 })),
        (
            "/total_available_agents",
            json!({ "dep": 3, "unmanaged": 1 }),
        ),
    ] {
        assert_eq!(get(path).await?.json::<Value>().await?, expected, "{path}");
    }
    Ok(())
}
