//! The plugins that speak HTTP: pagerduty, data_dog, consul_event_forwarder, event_logger, webhook.

use bosh_monitor::event::{Alert, Event};
use bosh_tests::fake_director::{FakeDirector, Known};
use bosh_tests::monitor::director_options;
use bosh_tests::webhook::{Call, Listener};
use serde_json::{Value, json};

use crate::support::{alert, heartbeat, over, publish, start, stats, until};

async fn calls(listener: &Listener, number: usize) -> anyhow::Result<Vec<Call>> {
    until(&format!("{number} requests"), || {
        Some(listener.calls()).filter(|calls| calls.len() >= number)
    })
    .await
}

#[tokio::test]
async fn pagerduty_legacy() -> anyhow::Result<()> {
    let (dir, server) = (tempfile::tempdir()?, Listener::start().await?);
    let url = format!(
        "http://{}/generic/2010-04-15/create_event.json",
        server.addr
    );
    let options = json!({ "service_key": "zbzb", "url": url });
    let dispatcher = start(
        dir.path(),
        json!([{ "name": "pagerduty", "events": ["alert", "heartbeat"], "options": options }]),
    )?;
    publish(&dispatcher, alert("one"));
    calls(&server, 1).await?;
    publish(&dispatcher, over("one"));
    dispatcher.publish(&heartbeat("i-1"));
    let calls = calls(&server, 2).await?;
    let (body, beat) = (&calls[0].body, &calls[1].body);
    assert_eq!(calls[0].path, "/generic/2010-04-15/create_event.json");
    assert_eq!(
        (&body["event_type"], &body["incident_key"]),
        (&json!("trigger"), &json!("id of one"))
    );
    assert_eq!(
        body["description"],
        "Severity 2: dep: web(i-1) [id=a-1, index=0, cid=vm-1] one"
    );
    assert_eq!(body["details"], alert("one").to_hash());
    assert_eq!(
        beat["incident_key"], "hb-1",
        "upstream has heartbeats become incidents as well, and knows of no end"
    );
    assert_eq!(beat["details"]["metrics"][0]["name"], "system.load.1m");
    Ok(())
}

#[tokio::test]
async fn pagerduty_triggers_acknowledges_and_resolves() -> anyhow::Result<()> {
    let (dir, server) = (tempfile::tempdir()?, Listener::start().await?);
    let options =
        json!({ "routing_key": "rk", "url": format!("http://{}/v2/enqueue", server.addr) });
    let dispatcher = start(
        dir.path(),
        json!([{ "name": "pagerduty", "events": ["alert"], "options": options }]),
    )?;
    server.answer([202, 202, 202]);
    publish(&dispatcher, alert("one"));
    calls(&server, 1).await?;
    let all = serde_json::from_value(json!({ "all": true, "seconds": 3600 }))?;
    let wall = time::OffsetDateTime::now_utc().unix_timestamp();
    dispatcher.silences().add(all, wall)?;
    publish(
        &dispatcher,
        Alert {
            id: "again".into(),
            ..alert("one")
        },
    );
    calls(&server, 2).await?;
    publish(&dispatcher, over("one"));
    let calls = calls(&server, 3).await?;
    let actions: Vec<_> = calls
        .iter()
        .map(|call| call.body["event_action"].clone())
        .collect();
    assert_eq!(actions, ["trigger", "acknowledge", "resolve"]);
    assert!(
        calls
            .iter()
            .all(|call| call.body["dedup_key"] == "agents/one" && call.body["routing_key"] == "rk")
    );
    Ok(())
}

#[tokio::test]
async fn data_dog() -> anyhow::Result<()> {
    let (dir, server) = (tempfile::tempdir()?, Listener::start().await?);
    let options = json!({ "api_key": "k&y", "application_key": "app", "url": format!("http://{}", server.addr), "pagerduty_service_name": "pd" });
    let dispatcher = start(
        dir.path(),
        json!([{ "name": "data_dog", "events": ["alert", "heartbeat"], "options": options }]),
    )?;
    publish(&dispatcher, alert("one"));
    calls(&server, 1).await?;
    dispatcher.publish(&heartbeat("i-1"));
    let calls = calls(&server, 2).await?;
    assert_eq!(calls[0].path, "/api/v1/events?api_key=k%26y");
    assert_eq!(calls[0].body["text"], "one, and that is all @pd");
    assert_eq!(calls[0].headers["content-type"], "application/json");
    assert_eq!(calls[1].path, "/api/v1/series?api_key=k%26y");
    let series = calls[1].body["series"].as_array().expect("series");
    assert_eq!(series.len(), 15);
    assert_eq!(series[14]["metric"], "bosh.healthmonitor.system.healthy");
    assert_eq!(series[14]["points"], json!([[1_320_196_099, 1.0]]));
    Ok(())
}

fn consul(server: &Listener, more: Value) -> Value {
    let mut options = json!({ "host": "127.0.0.1", "port": server.addr.port().to_string(), "protocol": "http", "namespace": "ns_" });
    for (key, value) in more.as_object().expect("options") {
        options[key] = value.clone();
    }
    json!([{ "name": "consul_event_forwarder", "events": ["alert", "heartbeat"], "options": options }])
}

#[tokio::test]
async fn consul_is_told_alerts_as_events() -> anyhow::Result<()> {
    let (dir, server) = (tempfile::tempdir()?, Listener::start().await?);
    let more = json!({ "events": true, "params": "acl_token=tt" });
    let dispatcher = start(dir.path(), consul(&server, more))?;
    publish(&dispatcher, alert("Test Alert"));
    let calls = calls(&server, 1).await?;
    assert_eq!(
        (calls[0].method.as_str(), calls[0].path.as_str()),
        ("PUT", "/v1/event/fire/ns_test_alert?acl_token=tt")
    );
    assert_eq!(calls[0].text, alert("Test Alert").to_hash().to_string());
    dispatcher.publish(&heartbeat("i-1"));
    dispatcher.stop(crate::support::SOON).await;
    assert_eq!(
        server.calls().len(),
        1,
        "heartbeats are events only when asked for"
    );
    Ok(())
}

#[tokio::test]
async fn consul_checks_are_registered_updated_and_registered_again() -> anyhow::Result<()> {
    let (dir, server) = (tempfile::tempdir()?, Listener::start().await?);
    let more =
        json!({ "ttl": "120s", "ttl_note": "test", "events": true, "heartbeats_as_alerts": true });
    let dispatcher = start(dir.path(), consul(&server, more))?;
    let mut seen = 0;
    let mut beat = async |state: &str, number: usize| -> anyhow::Result<Vec<String>> {
        let Event::Heartbeat(heartbeat) = heartbeat("i-1") else {
            unreachable!()
        };
        let mut heartbeat = (*heartbeat).clone();
        heartbeat.job_state = Some(state.to_owned());
        dispatcher.publish(&Event::Heartbeat(heartbeat.into()));
        let calls = calls(&server, seen + number).await?;
        let paths = calls[seen..].iter().map(|call| call.path.clone()).collect();
        seen += number;
        Ok(paths)
    };
    let fire = "/v1/event/fire/ns_web_i-1?";
    assert_eq!(
        beat("running", 2).await?,
        [fire, "/v1/agent/check/register?"]
    );
    let check = server.calls()[1].body.clone();
    assert_eq!(
        check,
        json!({ "name": "ns_web_i-1", "notes": "test", "ttl": "120s" })
    );
    assert_eq!(
        beat("running", 2).await?,
        [fire, "/v1/agent/check/pass/ns_web_i-1?"]
    );
    assert_eq!(
        beat("failing", 2).await?,
        [fire, "/v1/agent/check/fail/ns_web_i-1?"]
    );
    // The agent of Consul's was restarted and knows the check no longer.
    server.answer([200, 404]);
    assert_eq!(
        beat("stopped", 2).await?,
        [fire, "/v1/agent/check/warn/ns_web_i-1?"]
    );
    assert_eq!(
        beat("running", 2).await?,
        [fire, "/v1/agent/check/register?"]
    );
    let last = &server.calls()[8];
    assert!(last.text.len() < 512, "{}", last.text);
    assert_eq!(last.body["name"], "web/i-1");
    Ok(())
}

#[tokio::test]
async fn event_logger() -> anyhow::Result<()> {
    let (dir, director) = (
        tempfile::tempdir()?,
        FakeDirector::start(Known::default()).await?,
    );
    let options = json!({ "director": director_options(&director) });
    let dispatcher = start(
        dir.path(),
        json!([{ "name": "event_logger", "events": ["alert"], "options": options }]),
    )?;
    publish(&dispatcher, alert("one"));
    let event = until("the event", || director.known().events.first().cloned()).await?;
    assert_eq!(
        event["context"]["message"],
        "one. Alert @ 2011-11-02 01:08:19 UTC, severity 2: one, and that is all"
    );
    assert_eq!(
        (&event["instance"], &event["timestamp"]),
        (&json!("web/i-1"), &json!("1320196099"))
    );
    Ok(())
}

#[tokio::test]
async fn a_webhook_is_signed_and_says_what_its_template_says() -> anyhow::Result<()> {
    let (dir, server) = (tempfile::tempdir()?, Listener::start().await?);
    let hook = |more: Value| {
        let mut options = json!({ "url": format!("http://{}/hook?token=t", server.addr) });
        for (key, value) in more.as_object().expect("options") {
            options[key] = value.clone();
        }
        json!({ "name": "webhook", "events": ["alert"], "options": options })
    };
    let plugins = json!([
        hook(json!({ "secret": "s3cret", "headers": { "X-Who": "hm" } })),
        hook(
            json!({ "method": "PUT", "body": "{\"say\": \"{{title}} ({{status}})\"}", "signature_header": "X-Sig", "secret": "s3cret" })
        ),
        hook(json!({ "body": "{{severity_name}}: {{title}}", "content_type": "text/plain" })),
        hook(json!({ "format": "slack" })),
        hook(json!({ "format": "teams" })),
        hook(json!({ "format": "discord" })),
    ]);
    let dispatcher = start(dir.path(), plugins)?;
    publish(&dispatcher, alert("say \"no\""));
    let calls = calls(&server, 6).await?;
    let with = |what: &str, test: &dyn Fn(&Call) -> bool| {
        calls
            .iter()
            .find(|call| test(call))
            .unwrap_or_else(|| panic!("{what}: {calls:?}"))
            .clone()
    };
    let plain = with("json", &|call| call.headers.contains_key("x-who"));
    assert_eq!(
        (plain.method.as_str(), plain.path.as_str()),
        ("POST", "/hook?token=t")
    );
    assert_eq!(plain.text, alert("say \"no\"").to_json().to_string());
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"s3cret");
    let hex = plain.headers["x-hub-signature-256"]
        .strip_prefix("sha256=")
        .expect("a signature");
    let tag: Vec<u8> = (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect();
    assert!(ring::hmac::verify(&key, plain.text.as_bytes(), &tag).is_ok());
    let own = with("template", &|call| call.method == "PUT");
    assert_eq!(own.body, json!({ "say": "say \"no\" (firing)" }));
    assert!(own.headers.contains_key("x-sig"));
    let text = with("text", &|call| call.headers["content-type"] == "text/plain");
    assert_eq!(text.text, "critical: say \"no\"");
    assert_eq!(
        with("slack", &|call| call.body["attachments"][0]["color"]
            == "#d0312d")
        .body["text"],
        "say \"no\""
    );
    with("teams", &|call| {
        call.body["attachments"][0]["content"]["type"] == "AdaptiveCard"
    });
    assert_eq!(
        with("discord", &|call| call.body["embeds"].is_array()).body["embeds"][0]["title"],
        "say \"no\""
    );
    publish(&dispatcher, over("say \"no\""));
    until("the recoveries", || {
        (server.calls().len() == 12).then_some(())
    })
    .await?;
    assert!(
        server.calls()[6..]
            .iter()
            .any(|call| call.body["say"] == "say \"no\" (resolved)")
    );
    Ok(())
}

#[tokio::test]
async fn what_a_server_refuses_for_good_is_given_up_and_what_it_puts_off_is_not()
-> anyhow::Result<()> {
    let (dir, server) = (tempfile::tempdir()?, Listener::start().await?);
    let hook = json!([{ "name": "webhook", "events": ["alert"], "options": { "url": format!("http://{}/", server.addr) } }]);
    let dispatcher = start(dir.path(), hook)?;
    server.answer([400]);
    server.answer_with(429, "retry-after", "1");
    server.answer([500, 200]);
    publish(&dispatcher, alert("refused"));
    calls(&server, 1).await?;
    publish(&dispatcher, alert("put off"));
    let calls = calls(&server, 4).await?;
    let titles: Vec<_> = calls
        .iter()
        .map(|call| call.body["title"].clone())
        .collect();
    assert_eq!(titles, ["refused", "put off", "put off", "put off"]);
    assert!(
        calls[2].at - calls[1].at >= std::time::Duration::from_millis(950),
        "the server asked for a second"
    );
    let stats = until("the numbers", || {
        Some(stats(&dispatcher, "webhook-0")).filter(|stats| stats.delivered == 1)
    })
    .await?;
    assert_eq!((stats.lost, stats.failed, stats.spooled), (1, 2, 0));
    Ok(())
}

/// A proxy of the entry's own is where the requests go, whatever the URL.
#[tokio::test]
async fn a_proxy_of_its_own() -> anyhow::Result<()> {
    let (dir, proxy) = (tempfile::tempdir()?, Listener::start().await?);
    let through = format!("http://{}", proxy.addr);
    let url = "http://nowhere.test/hook";
    let director =
        json!({ "endpoint": "http://director.nowhere.test:25555", "user": "hm", "password": "hm" });
    let entry = |name: &str, options: Value| json!({ "name": name, "events": ["alert"], "options": options });
    let plugins = json!([
        entry("webhook", json!({ "url": url, "http_proxy": through })),
        entry(
            "pagerduty",
            json!({ "url": url, "service_key": "k", "http_proxy": through })
        ),
        entry(
            "event_logger",
            json!({ "director": director, "http_proxy": through })
        ),
    ]);
    // What the director says of itself is asked for first, and has to be JSON.
    let dispatcher = start(dir.path(), plugins)?;
    publish(&dispatcher, alert("one"));
    let calls = until("all three", || {
        let calls = proxy.calls();
        let asked = |path: &str| calls.iter().any(|call| call.path.ends_with(path));
        (asked("/info")
            && calls
                .iter()
                .filter(|call| call.path.ends_with("/hook"))
                .count()
                == 2)
            .then_some(calls)
    })
    .await?;
    assert!(
        calls
            .iter()
            .all(|call| call.headers["host"].contains("nowhere.test")),
        "{calls:?}"
    );
    Ok(())
}
