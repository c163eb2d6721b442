//! A monitor that is killed goes on where it was.

use std::collections::BTreeSet;

use bosh_tests::bus::{Bus, free_port};
use bosh_tests::fake_director::agent_id;
use bosh_tests::monitor::Monitor;
use bosh_tests::{wait, webhook};
use serde_json::json;

use crate::{SOON, director};

const ALERTS: usize = 100;

/// Nobody listens while the alerts come and the monitor is killed; then the monitor is killed once more in the middle of
/// delivering them. Every alert arrives, some perhaps twice.
#[tokio::test(flavor = "multi_thread")]
async fn killed_twice_it_loses_no_alert() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (bus, director) = (Bus::start(dir.path()).await?, director(1).await?);
    let (home, port) = (dir.path().join("hm"), free_port()?);
    let plugins = json!([
        { "name": "webhook", "id": "hook", "events": ["alert"], "options": { "url": format!("http://127.0.0.1:{port}/") } },
    ]);
    let start = || Monitor::start(&bus, &director, &home, json!({}), plugins.clone());
    let monitor = start().await?;
    let client = bus.client().await?;
    for number in 0..ALERTS {
        let alert = json!({ "id": format!("a-{number}"), "severity": 2, "title": "down", "created_at": 1_700_000_000 });
        let subject = format!("hm.agent.alert.{}", agent_id(0));
        client.publish(subject, alert.to_string().into()).await?;
    }
    client.flush().await?;
    let journal = home.join("spool/hook.journal");
    wait::until("the spool to have them", SOON, || async {
        let text = std::fs::read_to_string(&journal)?;
        Ok((text.matches("\"id\":\"a-").count() == ALERTS).then_some(()))
    })
    .await?;
    // This is SIGKILL.
    drop(monitor);

    let hook = webhook::Listener::start_on(port).await?;
    hook.answer((0..10).flat_map(|_| [200, 200, 500]));
    let monitor = start().await?;
    wait::until("some of them", SOON, || async {
        Ok((hook.calls().len() >= 5).then_some(()))
    })
    .await?;
    drop(monitor);
    let _monitor = start().await?;
    let expected: BTreeSet<_> = (0..ALERTS).map(|number| format!("a-{number}")).collect();
    wait::until("all of them", 3 * SOON, || async {
        let calls = hook.calls();
        let seen = calls.iter().filter_map(|call| call.body["id"].as_str());
        Ok((seen.map(str::to_owned).collect::<BTreeSet<_>>() == expected).then_some(()))
    })
    .await
}
