//! What should never be on the bus.

use bosh_tests::bus::Bus;
use bosh_tests::fake_director::{agent_id, instance};
use bosh_tests::monitor::Monitor;
use bosh_tests::process::rss;
use bosh_tests::{wait, webhook};
use serde_json::json;

use crate::{SOON, alert_to_silence, director, resurrector, titles, to};

#[tokio::test(flavor = "multi_thread")]
async fn hostile_messages_are_counted_and_nothing_else() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (bus, director, hook) = (
        Bus::start(dir.path()).await?,
        director(2).await?,
        webhook::Listener::start().await?,
    );
    let mut plugins = resurrector(&director);
    plugins.as_array_mut().expect("a list").push(to(&hook));
    let mut intervals = alert_to_silence();
    intervals["agent_timeout"] = 600.into();
    let monitor =
        Monitor::start(&bus, &director, &dir.path().join("hm"), intervals, plugins).await?;
    monitor.leads(SOON).await?;
    let before = rss(monitor.process.pid())?;
    let client = bus.client().await?;
    let mut sent = std::collections::BTreeMap::<_, f64>::new();
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(400_000), "]".repeat(400_000));
    let shallow = format!("{{\"a\":{}{}}}", "[".repeat(40_000), "]".repeat(40_000));
    let long = "x".repeat(1_000_000);
    // Somebody else's VM, to be repaired.
    let forged = json!({
        "id": "f", "severity": 2, "title": "forged", "created_at": 1, "source": "x", "deployment": "dep", "category": "deployment_health",
        "jobs_to_instance_ids": { "web": [instance(1)["id"]] },
    });
    let agent = agent_id(0);
    let mut say = Vec::new();
    for round in 0..50 {
        for (kind, body, reason) in [
            ("heartbeat", "no".to_owned(), Some("not_json")),
            ("heartbeat", String::new(), Some("not_json")),
            ("heartbeat", "[]".into(), Some("not_an_object")),
            ("heartbeat", deep.clone(), Some("oversized")),
            ("heartbeat", shallow.clone(), None),
            (
                "heartbeat",
                format!("{{\"job_state\":\"{long}\"}}"),
                Some("oversized"),
            ),
            (
                "heartbeat",
                format!(
                    "{{\"agent_id\":\"{}\",\"job_state\":\"failing\",\"number_of_processes\":\"0\"}}",
                    agent_id(1)
                ),
                None,
            ),
            (
                "heartbeat",
                r#"{"timestamp":"soon"}"#.into(),
                Some("invalid"),
            ),
            ("alert", deep.clone(), Some("oversized")),
            (
                "alert",
                format!("{{\"title\":\"{long}\"}}"),
                Some("oversized"),
            ),
            (
                "alert",
                r#"{"severity":"2","title":"t","created_at":1}"#.into(),
                Some("invalid"),
            ),
            (
                "alert",
                format!("{{\"a\":{}{}}}", "[".repeat(999), "]".repeat(999)),
                Some("not_json"),
            ),
            (
                "alert",
                forged.to_string(),
                (round > 0).then_some("duplicate"),
            ),
        ] {
            let reason = reason.map(|reason| {
                format!(
                    "bosh_monitor_refused_messages_total{{kind=\"{kind}\",reason=\"{reason}\"}}"
                )
            });
            let taken = format!("bosh_monitor_messages_total{{kind=\"{kind}\"}}");
            *sent.entry(reason.unwrap_or(taken)).or_default() += 1.;
            say.push((format!("hm.agent.{kind}.{agent}"), body));
        }
    }
    say.push((
        format!("hm.agent.alert.{}", "a".repeat(300)),
        "{}".to_owned(),
    ));
    *sent
        .entry("bosh_monitor_refused_messages_total{kind=\"alert\",reason=\"bad_subject\"}".into())
        .or_default() += 1.;
    say.push(("hm.director.alert".to_owned(), "{}".to_owned()));
    *sent
        .entry(
            "bosh_monitor_refused_messages_total{kind=\"director_alert\",reason=\"invalid\"}"
                .into(),
        )
        .or_default() += 1.;
    for (subject, body) in say {
        client.publish(subject, body.into()).await?;
    }
    client.flush().await?;
    for (series, count) in sent {
        let found = wait::until(&series, SOON, || async {
            Ok(monitor
                .metric(&series)
                .await?
                .filter(|found| *found >= count))
        })
        .await?;
        assert_eq!(found, count, "{series}");
    }
    // What an agent says of another is its own.
    let told: serde_json::Value = reqwest::get(monitor.url("/failing_instances"))
        .await?
        .json()
        .await?;
    assert!(told["dep"].as_u64() <= Some(1), "{told}");
    wait::until("the forged alert", SOON, || async {
        Ok((titles(&hook) == ["forged"]).then_some(()))
    })
    .await?;
    assert!(director.known().scans.is_empty());
    let grown = rss(monitor.process.pid())?.saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn invented_agents_take_only_so_much() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (bus, director) = (Bus::start(dir.path()).await?, director(1).await?);
    let monitor = Monitor::start(
        &bus,
        &director,
        &dir.path().join("hm"),
        json!({}),
        json!([]),
    )
    .await?;
    let before = rss(monitor.process.pid())?;
    let client = bus.client().await?;
    for agent in 0..110_000 {
        client
            .publish(
                format!("hm.agent.heartbeat.{}", agent_id(1000 + agent)),
                "{}".into(),
            )
            .await?;
    }
    client.flush().await?;
    wait::until("the bound", SOON, || async {
        let refused =
            "bosh_monitor_refused_messages_total{kind=\"heartbeat\",reason=\"too_many_unmanaged\"}";
        Ok((monitor.metric(refused).await? == Some(10_000.)).then_some(()))
    })
    .await?;
    client
        .publish(
            format!("hm.agent.heartbeat.{}", agent_id(0)),
            r#"{"job_state":"stopped"}"#.into(),
        )
        .await?;
    client.flush().await?;
    wait::until(
        "one that is managed to be heard nevertheless",
        SOON,
        || async {
            let told: serde_json::Value = reqwest::get(monitor.url("/stopped_instances"))
                .await?
                .json()
                .await?;
            Ok((told["dep"] == 1).then_some(()))
        },
    )
    .await?;
    let grown = rss(monitor.process.pid())?.saturating_sub(before);
    assert!(grown < 128 << 20, "{grown} bytes more");
    Ok(())
}
