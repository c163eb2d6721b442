//! The health monitor between a real nats-server, real listeners and a fake director.
//!
//! - `repair.rs`: from an alert or a silence to plugins and repair;
//! - `probes.rs`: what is read over HTTP;
//! - `outages.rs`: what looks like dead agents and is not, and what is more than dead agents;
//! - `several.rs`: two monitors on one bus;
//! - `input.rs`: what should never be on the bus;
//! - `spool.rs`: a monitor that is killed while alerts wait;
//! - `browser.rs`: the status page in a browser.

mod browser;
mod input;
mod outages;
mod probes;
mod repair;
mod several;
mod spool;

use std::time::Duration;

use bosh_tests::fake_director::{FakeDirector, Known, instance};
use bosh_tests::monitor::director_options;
use bosh_tests::webhook;
use serde_json::{Value, json};

/// How long anything may take on a machine that has other things to do.
const SOON: Duration = Duration::from_secs(30);

async fn director(instances: u64) -> anyhow::Result<FakeDirector> {
    FakeDirector::start(Known {
        instances: (0..instances).map(instance).collect(),
        ..Known::default()
    })
    .await
}

/// Intervals at which silence is noticed within seconds.
fn alert_to_silence() -> Value {
    json!({
        "poll_director": 0.2, "poll_grace_period": 0, "analyze_agents": 0.2, "analyze_instances": 0.2, "agent_timeout": 1,
        "rogue_agent_alert": 60, "resurrection_config": 0.2,
    })
}

/// The plugin that has VMs repaired.
fn resurrector(director: &FakeDirector) -> Value {
    json!([{ "name": "resurrector", "events": ["alert"], "options": { "director": director_options(director) } }])
}

/// The plugin that tells a listener of every alert.
fn to(hook: &webhook::Listener) -> Value {
    json!({ "name": "webhook", "events": ["alert"], "options": { "url": format!("http://{}/", hook.addr) } })
}

/// The titles of the alerts that a listener was told of.
fn titles(hook: &webhook::Listener) -> Vec<String> {
    let calls = hook.calls().into_iter();
    calls
        .map(|call| call.body["title"].as_str().unwrap_or_default().to_owned())
        .collect()
}
