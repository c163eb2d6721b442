//! A target that hangs, refuses, resets or fails: its alerts wait for it, and the others have theirs.

use std::time::{Duration, Instant};

use bosh_tests::fake_director::{FakeDirector, Known};
use bosh_tests::monitor::director_options;
use bosh_tests::{smtp, webhook};
use serde_json::{Value, json};

use crate::support::{Collector, Door, Way, alert, publish, start, stats, until};

const FAULTS: [Way; 3] = [Way::Hangs, Way::Resets, Way::Refuses];

/// Alerts are published while the door of `plugin` is `way`; a webhook beside it has them at once; and when the door opens,
/// the plugin's own server has them all.
async fn endure(
    way: Way,
    mut door: Door,
    plugin: Value,
    seen: &dyn Fn() -> String,
) -> anyhow::Result<()> {
    let (dir, beside) = (tempfile::tempdir()?, webhook::Listener::start().await?);
    let plugins = json!([
        plugin,
        { "name": "webhook", "id": "beside", "events": ["alert"], "options": { "url": format!("http://{}/", beside.addr) } },
    ]);
    let dispatcher = start(dir.path(), plugins)?;
    let titles: Vec<String> = (0..5).map(|number| format!("alert-{number}-")).collect();
    let begun = Instant::now();
    titles
        .iter()
        .for_each(|title| publish(&dispatcher, alert(title)));
    until("the other plugin's alerts", || {
        (beside.calls().len() == 5).then_some(())
    })
    .await?;
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{way:?}: {:?}",
        begun.elapsed()
    );
    until("the spool", || {
        (stats(&dispatcher, "faulty").spooled == 5).then_some(())
    })
    .await?;
    if way != Way::Hangs {
        until("a failure", || {
            (stats(&dispatcher, "faulty").failed > 0).then_some(())
        })
        .await?;
    }
    door.set(Way::Open).await?;
    until("what waited", || {
        titles
            .iter()
            .all(|title| seen().contains(title))
            .then_some(())
    })
    .await?;
    until("the spool's end", || {
        (stats(&dispatcher, "faulty").spooled == 0).then_some(())
    })
    .await?;
    assert_eq!(stats(&dispatcher, "faulty").lost, 0, "{way:?}");
    Ok(())
}

#[tokio::test]
async fn webhook_pagerduty_and_data_dog() -> anyhow::Result<()> {
    for way in FAULTS {
        for name in ["webhook", "pagerduty", "data_dog"] {
            let server = webhook::Listener::start().await?;
            let door = Door::new(server.addr, way).await?;
            let url = format!("http://{}/", door.addr);
            let options = match name {
                "webhook" => json!({ "url": url, "timeout": 1 }),
                "pagerduty" => json!({ "url": url, "routing_key": "r" }),
                _ => json!({ "url": url, "api_key": "a", "application_key": "b" }),
            };
            let plugin =
                json!({ "name": name, "id": "faulty", "events": ["alert"], "options": options });
            let seen = || {
                server
                    .calls()
                    .iter()
                    .map(|call| call.text.clone())
                    .collect::<String>()
            };
            endure(way, door, plugin, &seen).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn email() -> anyhow::Result<()> {
    for way in FAULTS {
        let server = smtp::Sink::start().await?;
        let door = Door::new(server.addr, way).await?;
        let options = json!({ "interval": 0.1, "recipients": ["a@example.test"],
            "smtp": { "from": "hm@example.test", "host": "127.0.0.1", "port": door.addr.port(), "domain": "x.test" } });
        let plugin =
            json!({ "name": "email", "id": "faulty", "events": ["alert"], "options": options });
        let seen = || {
            server
                .mails()
                .iter()
                .map(|mail| mail.text.clone())
                .collect::<String>()
        };
        endure(way, door, plugin, &seen).await?;
    }
    Ok(())
}

#[tokio::test]
async fn event_logger_and_consul() -> anyhow::Result<()> {
    for way in FAULTS {
        let director = FakeDirector::start(Known::default()).await?;
        let door = Door::new(director.addr, way).await?;
        let mut options = director_options(&director);
        options["endpoint"] = format!("http://{}", door.addr).into();
        let plugin = json!({ "name": "event_logger", "id": "faulty", "events": ["alert"], "options": { "director": options } });
        let seen = || json!(director.known().events).to_string();
        endure(way, door, plugin, &seen).await?;

        let server = webhook::Listener::start().await?;
        let door = Door::new(server.addr, way).await?;
        let options = json!({ "host": "127.0.0.1", "port": door.addr.port(), "protocol": "http", "events": true });
        let plugin = json!({ "name": "consul_event_forwarder", "id": "faulty", "events": ["alert"], "options": options });
        let seen = || {
            server
                .calls()
                .iter()
                .map(|call| call.path.clone())
                .collect::<String>()
        };
        endure(way, door, plugin, &seen).await?;
    }
    Ok(())
}

/// Syslog acknowledges nothing: what a peer's kernel took before the peer died is lost. So what hangs here is a listener
/// whose connections are never taken up, and a hanging peer is one over TLS, which has to say something first.
#[tokio::test]
async fn syslog() -> anyhow::Result<()> {
    for way in [Way::Refuses, Way::Hangs] {
        let dir = tempfile::tempdir()?;
        let (config, ca) = crate::support::tls(dir.path())?;
        let server = Collector::start(Some(config)).await?;
        let door = Door::new(server.addr, way).await?;
        let options = json!({ "host": "127.0.0.1", "port": door.addr.port(), "protocol": "tls", "ca_cert": ca });
        let plugin =
            json!({ "name": "syslog", "id": "faulty", "events": ["alert"], "options": options });
        endure(way, door, plugin, &|| server.text()).await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_answers_500_is_tried_until_it_does_not() -> anyhow::Result<()> {
    let (dir, server) = (tempfile::tempdir()?, webhook::Listener::start().await?);
    let hook = json!([{ "name": "webhook", "id": "hook", "events": ["alert"], "options": { "url": format!("http://{}/", server.addr) } }]);
    server.answer([500, 503]);
    let dispatcher = start(dir.path(), hook)?;
    publish(&dispatcher, alert("one"));
    publish(&dispatcher, alert("two"));
    until("both", || {
        (stats(&dispatcher, "hook").delivered == 2).then_some(())
    })
    .await?;
    assert_eq!(server.calls().len(), 4);
    assert_eq!(stats(&dispatcher, "hook").failed, 2);
    Ok(())
}

/// A target that was away for long enough to cost some heartbeats has those that come later.
#[tokio::test]
async fn metrics_flow_again_when_their_target_is_back() -> anyhow::Result<()> {
    let (dir, server) = (tempfile::tempdir()?, Collector::start(None).await?);
    let mut door = Door::new(server.addr, Way::Refuses).await?;
    let options = json!({ "host": "127.0.0.1", "port": door.addr.port() });
    let plugin =
        json!([{ "name": "tsdb", "id": "tsdb", "events": ["heartbeat"], "options": options }]);
    let dispatcher = start(dir.path(), plugin)?;
    dispatcher.publish(&crate::support::heartbeat("early"));
    until("some failures", || {
        (stats(&dispatcher, "tsdb").failed >= 2).then_some(())
    })
    .await?;
    door.set(Way::Open).await?;
    server.lines(15).await?;
    door.set(Way::Refuses).await?;
    dispatcher.publish(&crate::support::heartbeat("late"));
    until("another failure", || {
        (stats(&dispatcher, "tsdb").failed >= 3).then_some(())
    })
    .await?;
    door.set(Way::Open).await?;
    let lines = server.lines(30).await?;
    assert!(lines[29].contains("id=late"), "{}", lines[29]);
    dispatcher.publish(&crate::support::heartbeat("later"));
    server.lines(45).await?;
    Ok(())
}

/// Heartbeats that a hanging target does not take cost its alerts nothing.
#[tokio::test]
async fn a_flood_of_heartbeats_displaces_no_alert() -> anyhow::Result<()> {
    let (dir, server) = (tempfile::tempdir()?, webhook::Listener::start().await?);
    let mut door = Door::new(server.addr, Way::Hangs).await?;
    let options = json!({ "url": format!("http://{}/", door.addr), "timeout": 1 });
    let hook = json!([{ "name": "webhook", "id": "hook", "events": ["alert", "heartbeat"], "options": options }]);
    let dispatcher = start(dir.path(), hook)?;
    let beat = crate::support::heartbeat("i-1");
    for _ in 0..30_000 {
        dispatcher.publish(&beat);
    }
    publish(&dispatcher, alert("one"));
    until("the spool", || {
        (stats(&dispatcher, "hook").spooled == 1).then_some(())
    })
    .await?;
    assert!(
        stats(&dispatcher, "hook").lost > 0,
        "the queue of heartbeats is bounded"
    );
    door.set(Way::Open).await?;
    until("the alert", || {
        server
            .calls()
            .iter()
            .any(|call| call.body["title"] == "one")
            .then_some(())
    })
    .await?;
    Ok(())
}
