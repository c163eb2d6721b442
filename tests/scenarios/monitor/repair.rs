//! From an alert or a silence to plugins and repair.

use bosh_tests::bus::Bus;
use bosh_tests::fake_director::{agent_id, instance};
use bosh_tests::monitor::{Monitor, director_options};
use bosh_tests::{smtp, wait, webhook};
use serde_json::json;

use crate::{SOON, alert_to_silence, director, resurrector, titles, to};

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_alert_reaches_every_plugin_once() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (bus, director) = (Bus::start(dir.path()).await?, director(1).await?);
    let (mail, hook) = (
        smtp::Sink::start().await?,
        webhook::Listener::start().await?,
    );
    let plugins = json!([
        to(&hook),
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
    plugins.as_array_mut().unwrap().push(to(&hook));
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
    plugins.as_array_mut().unwrap().push(to(&hook));
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
async fn a_scan_that_is_queued_is_not_asked_for_again() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (bus, director, hook) = (
        Bus::start(dir.path()).await?,
        director(1).await?,
        webhook::Listener::start().await?,
    );
    director.known().tasks = vec![
        json!({ "id": 1, "state": "queued", "description": "scan and fix", "deployment": "dep" }),
    ];
    let mut plugins = resurrector(&director);
    plugins.as_array_mut().unwrap().push(to(&hook));
    let monitor = Monitor::start(
        &bus,
        &director,
        &dir.path().join("hm"),
        alert_to_silence(),
        plugins,
    )
    .await?;
    monitor.logs("CCK is already queued for dep").await?;
    assert!(director.known().scans.is_empty());
    assert!(!titles(&hook).contains(&"Scan unresponsive VMs".to_owned()));
    director.known().tasks.clear();
    wait::until("the scan", SOON, || async {
        Ok((!director.known().scans.is_empty()).then_some(()))
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_a_uaa_are_used_until_they_expire() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (bus, director) = (Bus::start(dir.path()).await?, director(1).await?);
    director.known().token_lifetime = Some(3600);
    let intervals = json!({ "poll_director": 0.1 });
    let _monitor = Monitor::start(
        &bus,
        &director,
        &dir.path().join("hm"),
        intervals,
        json!([]),
    )
    .await?;
    let polls = |count| {
        let director = director.clone();
        wait::until("polls", SOON, move || {
            let polls = director.known().polls;
            async move { Ok((polls >= count).then_some(())) }
        })
    };
    polls(5).await?;
    assert_eq!(director.known().tokens, 1, "one will do");
    // Revoked: the next is a new one, good for less than the minute that it would be renewed before.
    {
        let mut known = director.known();
        known.tokens += 1;
        known.token_lifetime = Some(30);
    }
    let before = director.known().tokens;
    let seen = director.known().polls;
    polls(seen + 3).await?;
    assert!(director.known().tokens >= before + 3, "each was renewed");
    Ok(())
}
