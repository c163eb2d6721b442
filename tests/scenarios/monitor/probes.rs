//! What probes, the director's metrics server and Prometheus read.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::ensure;
use bosh_tests::bus::Bus;
use bosh_tests::fake_director::agent_id;
use bosh_tests::monitor::{Beating, Monitor};
use bosh_tests::wait;
use serde_json::{Value, json};

use crate::{SOON, director};

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

/// What reads a page as Prometheus does, and names what is missing of its conventions.
const PARSER: &str = r#"
import sys
from prometheus_client.parser import text_string_to_metric_families
seen = set()
for family in text_string_to_metric_families(sys.stdin.read()):
    assert family.name not in seen, f"{family.name} comes twice"
    seen.add(family.name)
    assert family.documentation, f"{family.name} has no help"
    assert family.type in ("gauge", "counter"), family
    series = set()
    for sample in family.samples:
        assert family.type != "counter" or sample.name.endswith("_total"), sample
        key = (sample.name, tuple(sorted(sample.labels.items())))
        assert key not in series, f"{key} comes twice"
        series.add(key)
print(len(seen))
"#;

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_reads_everything_and_not_too_much() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (bus, director) = (Bus::start(dir.path()).await?, director(30).await?);
    let more = json!({
        "metrics": { "max_instances": 20 },
        "plugins": [{ "name": "logger", "events": ["alert"] }],
    });
    let monitor = Monitor::with(&bus, &director, &dir.path().join("hm"), more, |_| {}).await?;
    let client = bus.client().await?;
    let beat = json!({ "job_state": "failing", "number_of_processes": 4, "vitals": {
        "cpu": { "user": "12.5", "sys": 1, "wait": "0" }, "mem": { "kb": "1000", "percent": "50" },
        "disk": { "persistent": { "percent": "7", "inode_percent": "1" } }, "load": ["0.5"] } });
    let alert = json!({ "id": "1", "severity": 2, "title": "redis (10.0.0.1) - does not exist - restart", "created_at": 1 });
    for (subject, body) in [
        ("heartbeat", beat.to_string()),
        ("heartbeat", "no".to_owned()),
        ("alert", alert.to_string()),
    ] {
        client
            .publish(format!("hm.agent.{subject}.{}", agent_id(0)), body.into())
            .await?;
    }
    client.flush().await?;
    let labels = format!(
        r#"{{deployment="dep",instance_group="web",instance_id="{}",index="0",az="""#,
        "00000000-1111-4000-8000-000000000000"
    );
    wait::until("the heartbeat", SOON, || async {
        let state = format!("bosh_instance_job_state{labels},state=\"failing\"}}");
        Ok((monitor.metric(&state).await? == Some(1.)).then_some(()))
    })
    .await?;
    for (series, expected) in [
        (format!("bosh_instance_cpu_ratio{labels},mode=\"user\"}}"), 0.125),
        (format!("bosh_instance_memory_used_bytes{labels}}}"), 1_024_000.),
        (format!("bosh_instance_disk_used_ratio{labels},disk=\"persistent\"}}"), 0.07),
        (format!("bosh_instance_processes{labels}}}"), 4.),
        (format!("bosh_instance_up{labels}}}"), 1.),
        ("bosh_deployment_failing_instances{deployment=\"dep\"}".into(), 1.),
        ("bosh_monitor_omitted_instances".into(), 10.),
        ("bosh_monitor_refused_messages_total{kind=\"heartbeat\",reason=\"not_json\"}".into(), 1.),
        ("bosh_alerts_total{deployment=\"dep\",severity=\"critical\"}".into(), 1.),
        ("bosh_process_alerts_total{deployment=\"dep\",instance_group=\"web\",process=\"redis\",event=\"does not exist\"}".into(), 1.),
    ] {
        let found = wait::until(&series, SOON, || async { monitor.metric(&series).await }).await?;
        assert_eq!(found, expected, "{series}");
    }
    let response = reqwest::get(monitor.url("/metrics")).await?;
    assert_eq!(
        response.headers()["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let text = response.text().await?;
    assert_eq!(text.matches("bosh_instance_up{").count(), 20);
    let mut parser = Command::new("/usr/bin/python3")
        .args(["-c", PARSER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = parser.stdin.take() {
        stdin.write_all(text.as_bytes())?;
    }
    let output = parser.wait_with_output()?;
    ensure!(output.status.success(), "the parser refused the page");
    let families: u32 = String::from_utf8(output.stdout)?.trim().parse()?;
    assert!(families > 40, "{families}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn until_the_director_has_been_heard_nothing_is_counted() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (bus, director) = (Bus::start(dir.path()).await?, director(2).await?);
    let monitor = Monitor::start(
        &bus,
        &director,
        &dir.path().join("one"),
        json!({}),
        json!([]),
    )
    .await?;
    assert_eq!(
        reqwest::get(monitor.url("/unresponsive_agents"))
            .await?
            .status(),
        200
    );
    drop(monitor);
    director.known().down = true;
    director.known().instances.clear();
    let two = dir.path().join("two");
    let start = Monitor::start(&bus, &director, &two, json!({}), json!([]));
    // It never gets to know the deployment, so the wait for that is left; the process goes with it.
    let asked = async {
        let config = two.join("health_monitor.yml");
        let port = wait::until("the configuration", SOON, || async {
            let config: Value = serde_yaml_ng::from_str(&std::fs::read_to_string(&config)?)?;
            Ok(config["http"]["port"].as_u64())
        })
        .await?;
        wait::until("503", SOON, || async {
            let status = reqwest::get(format!("http://127.0.0.1:{port}/unresponsive_agents"))
                .await?
                .status();
            Ok((status == 503).then_some(()))
        })
        .await
    };
    tokio::select! {
        _ = start => anyhow::bail!("it cannot know the deployment"),
        asked = asked => asked,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_page_is_for_the_files_user_alone() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (bus, director) = (Bus::start(dir.path()).await?, director(2).await?);
    let more = json!({ "http": { "user": "ops", "password": "secret" }, "plugins": [{ "name": "logger", "events": ["alert"] }] });
    let monitor = Monitor::with(&bus, &director, &dir.path().join("hm"), more, |_| {}).await?;
    let _beating = Beating::start(&bus, 0..2, Duration::from_millis(200)).await?;
    let http = reqwest::Client::new();
    for path in [
        "/",
        "/app.js",
        "/style.css",
        "/events",
        "/api/overview",
        "/api/alerts",
        "/api/silences",
    ] {
        let stranger = http.get(monitor.url(path)).send().await?;
        assert_eq!(stranger.status(), 401, "{path}");
        assert!(
            stranger.headers().contains_key("www-authenticate"),
            "{path}"
        );
        let wrong = http.get(monitor.url(path)).basic_auth("ops", Some("guess"));
        assert_eq!(wrong.send().await?.status(), 401, "{path}");
    }
    for path in ["/healthz", "/metrics", "/total_available_agents"] {
        assert_eq!(
            http.get(monitor.url(path)).send().await?.status(),
            200,
            "{path}"
        );
    }
    let get = |path: &str| {
        http.get(monitor.url(path))
            .basic_auth("ops", Some("secret"))
    };
    let page = get("/").send().await?;
    assert!(
        page.headers()["content-security-policy"]
            .to_str()?
            .starts_with("default-src 'none'")
    );
    let text = page.text().await?;
    assert!(
        !text.contains("http://") && !text.contains("https://"),
        "nothing from elsewhere"
    );
    wait::until("running instances", SOON, || async {
        let told: Value = get("/api/deployments/dep").send().await?.json().await?;
        Ok((told["instances"][1]["state"] == "running").then_some(()))
    })
    .await?;

    // Silences: set, listed, ended; not by another site's page.
    let ask = json!({ "matcher": { "deployment": "dep" }, "seconds": 60, "comment": "upgrade", "by": "me" });
    let post = || {
        http.post(monitor.url("/api/silences"))
            .basic_auth("ops", Some("secret"))
    };
    let made = post().json(&ask).send().await?;
    assert_eq!(made.status(), 201);
    let id = made.json::<Value>().await?["id"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let listed: Value = get("/api/silences").send().await?.json().await?;
    assert_eq!(listed[0]["comment"], "upgrade");
    let refused = post()
        .json(&json!({ "matcher": {}, "seconds": 60 }))
        .send()
        .await?;
    assert_eq!(refused.status(), 422);
    let foreign = post()
        .json(&ask)
        .header("sec-fetch-site", "cross-site")
        .send()
        .await?;
    assert_eq!(foreign.status(), 403);
    let form = post()
        .header("content-type", "text/plain")
        .body(ask.to_string())
        .send()
        .await?;
    assert_eq!(form.status(), 415);
    let end = || {
        http.delete(monitor.url(&format!("/api/silences/{id}")))
            .basic_auth("ops", Some("secret"))
    };
    assert_eq!(end().send().await?.status(), 204);
    assert_eq!(end().send().await?.status(), 404);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_user_in_the_file_there_is_no_status_page() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (bus, director) = (Bus::start(dir.path()).await?, director(0).await?);
    let monitor = Monitor::start(
        &bus,
        &director,
        &dir.path().join("hm"),
        json!({}),
        json!([]),
    )
    .await?;
    assert_eq!(reqwest::get(monitor.url("/")).await?.status(), 403);
    Ok(())
}
