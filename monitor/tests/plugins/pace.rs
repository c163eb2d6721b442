//! Filters, groups, limits, repeats and silences, through a whole plugin.

use bosh_monitor::event::Alert;
use bosh_tests::webhook::Listener;
use serde_json::{Value, json};

use crate::support::{alert, heartbeat, over, publish, start, stats, until};

async fn hook(more: Value) -> anyhow::Result<(tempfile::TempDir, Listener, Value)> {
    let (dir, server) = (tempfile::tempdir()?, Listener::start().await?);
    let mut plugin = json!({ "name": "webhook", "id": "hook", "events": ["alert", "heartbeat"], "options": { "url": format!("http://{}/", server.addr) } });
    for (key, value) in more.as_object().expect("an entry") {
        plugin[key] = value.clone();
    }
    Ok((dir, server, json!([plugin])))
}

fn titles(server: &Listener) -> Vec<String> {
    let calls = server.calls();
    let titles = calls
        .iter()
        .map(|call| call.body["title"].as_str().unwrap_or("-").to_owned());
    titles.collect()
}

#[tokio::test]
async fn only_what_passes_the_filter_comes() -> anyhow::Result<()> {
    let filter = json!({ "min_severity": "critical", "deployment": "d*", "exclude": { "title": "*noise*" } });
    let (dir, server, plugins) = hook(json!({ "filter": filter })).await?;
    let dispatcher = start(dir.path(), plugins)?;
    publish(
        &dispatcher,
        Alert {
            severity: 4,
            ..alert("a warning")
        },
    );
    publish(
        &dispatcher,
        Alert {
            deployment: Some("other".into()),
            ..alert("of another")
        },
    );
    publish(&dispatcher, alert("some noise"));
    publish(&dispatcher, over("a warning"));
    publish(&dispatcher, alert("it"));
    publish(&dispatcher, over("it"));
    until("two requests", || (server.calls().len() == 2).then_some(())).await?;
    assert_eq!(titles(&server), ["it", "it"]);
    assert_eq!(server.calls()[1].body["status"], "resolved");
    assert_eq!(stats(&dispatcher, "hook").filtered, 3);
    dispatcher.publish(&heartbeat("i-1"));
    until("the heartbeat", || {
        (server.calls().len() == 3).then_some(())
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn a_group_is_one_request_that_names_its_members() -> anyhow::Result<()> {
    let (dir, server, plugins) =
        hook(json!({ "group": { "by": "deployment", "wait": 0.5 } })).await?;
    let dispatcher = start(dir.path(), plugins)?;
    for title in ["a", "b"] {
        publish(&dispatcher, alert(title));
    }
    publish(
        &dispatcher,
        Alert {
            deployment: Some("other".into()),
            ..alert("c")
        },
    );
    until("two requests", || (server.calls().len() == 2).then_some(())).await?;
    let mut seen = titles(&server);
    seen.sort();
    assert_eq!(seen, ["2 alerts, among them: a", "c"]);
    let calls = server.calls();
    let group = calls
        .iter()
        .find(|call| call.body["alerts"].is_array())
        .expect("a group");
    assert_eq!(group.body["alerts"][1]["title"], "b");
    assert_eq!(stats(&dispatcher, "hook").delivered, 3);
    Ok(())
}

#[tokio::test]
async fn beyond_the_limit_everything_comes_in_one() -> anyhow::Result<()> {
    let (dir, server, plugins) = hook(json!({ "limit": { "alerts": 2, "per": 1 } })).await?;
    let dispatcher = start(dir.path(), plugins)?;
    for number in 0..50 {
        publish(&dispatcher, alert(&format!("{number}")));
    }
    until("all of them", || {
        (stats(&dispatcher, "hook").delivered == 50).then_some(())
    })
    .await?;
    let calls = server.calls();
    assert!(calls.len() <= 4, "{:?}", titles(&server));
    let told: usize = calls
        .iter()
        .map(|call| call.body["alerts"].as_array().map_or(1, Vec::len))
        .sum();
    assert_eq!(told, 50);
    for pair in calls.windows(3) {
        assert!(
            pair[2].at - pair[0].at >= std::time::Duration::from_millis(900),
            "two a second"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_repeat_and_what_is_silenced_do_not_come() -> anyhow::Result<()> {
    let (dir, server, plugins) = hook(json!({ "repeat": 3600 })).await?;
    let dispatcher = start(dir.path(), plugins.clone())?;
    publish(&dispatcher, alert("a"));
    publish(
        &dispatcher,
        Alert {
            id: "again".into(),
            ..alert("a")
        },
    );
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    let quiet = serde_json::from_value(
        json!({ "matcher": { "title": "b" }, "seconds": 600, "comment": "upgrade" }),
    )?;
    let silence = dispatcher.silences().add(quiet, now)?;
    publish(&dispatcher, alert("b"));
    until("one request", || (server.calls().len() == 1).then_some(())).await?;
    dispatcher.stop(crate::support::SOON).await;
    // Both are remembered by the next monitor.
    let dispatcher = start(dir.path(), plugins)?;
    publish(
        &dispatcher,
        Alert {
            id: "once more".into(),
            ..alert("a")
        },
    );
    publish(&dispatcher, alert("b"));
    let seen = stats(&dispatcher, "hook");
    assert_eq!((seen.repeated, seen.silenced), (1, 1));
    let open: Vec<_> = dispatcher
        .open()
        .iter()
        .filter_map(|alert| alert.key.clone())
        .collect();
    assert_eq!(open, ["agents/a"], "what was told and is not over");
    assert!(dispatcher.silences().end(&silence.id, now)?);
    publish(&dispatcher, alert("b"));
    publish(&dispatcher, over("a"));
    until("the others", || (server.calls().len() == 3).then_some(())).await?;
    assert_eq!(titles(&server), ["a", "b", "a"]);
    Ok(())
}
