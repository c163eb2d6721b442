//! What looks like dead agents and is not, and what is more than dead agents.

use std::time::Duration;

use bosh_tests::bus::Bus;
use bosh_tests::fake_director::{agent_id, instance};
use bosh_tests::monitor::{Beating, Monitor};
use bosh_tests::{wait, webhook};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::{SOON, alert_to_silence, director, resurrector, titles, to};

const BEAT: Duration = Duration::from_millis(250);

/// An agent is silent after two seconds, and that is noticed soon.
fn intervals() -> Value {
    json!({ "poll_director": 0.5, "poll_grace_period": 0, "analyze_agents": 0.2, "agent_timeout": 2, "rogue_agent_alert": 60 })
}

/// Waits for the alert about one agent and sees that there was none about any other agent.
async fn only_this_one_dies(hook: &webhook::Listener, agent: u64) -> anyhow::Result<()> {
    let title = format!("{} has timed out", agent_id(agent));
    wait::until(&title, SOON, || async {
        Ok(titles(hook).contains(&title).then_some(()))
    })
    .await?;
    let others: Vec<_> = titles(hook)
        .into_iter()
        .filter(|other| other.ends_with("has timed out") && *other != title)
        .collect();
    assert!(others.is_empty(), "{others:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_monitor_that_stood_still_blames_nobody() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (bus, director, hook) = (
        Bus::start(dir.path()).await?,
        director(3).await?,
        webhook::Listener::start().await?,
    );
    let _beating = Beating::start(&bus, 0..2, BEAT).await?;
    let dying = Beating::start(&bus, 2..3, BEAT).await?;
    let plugins = json!([to(&hook)]);
    let monitor = Monitor::start(
        &bus,
        &director,
        &dir.path().join("hm"),
        intervals(),
        plugins,
    )
    .await?;
    monitor.leads(SOON).await?;
    monitor.signal(Signal::SIGSTOP)?;
    // This is what is tried, not a wait for something.
    tokio::time::sleep(Duration::from_secs(4)).await;
    monitor.signal(Signal::SIGCONT)?;
    monitor.logs("could not listen for a while").await?;
    assert!(
        monitor
            .metric("bosh_monitor_lapses_total{reason=\"stalled\"}")
            .await?
            >= Some(1.)
    );
    drop(dying);
    only_this_one_dies(&hook, 2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bus_that_was_away_blames_nobody() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (mut bus, director, hook) = (
        Bus::start(dir.path()).await?,
        director(3).await?,
        webhook::Listener::start().await?,
    );
    let _beating = Beating::start(&bus, 0..2, BEAT).await?;
    let dying = Beating::start(&bus, 2..3, BEAT).await?;
    let plugins = json!([to(&hook)]);
    let monitor = Monitor::start(
        &bus,
        &director,
        &dir.path().join("hm"),
        intervals(),
        plugins,
    )
    .await?;
    monitor.leads(SOON).await?;
    bus.down();
    wait::until("the bus to be missed", SOON, || async {
        let up = monitor.metric("bosh_monitor_nats_connected").await?;
        Ok((up == Some(0.)).then_some(()))
    })
    .await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(titles(&hook), [""; 0], "while the bus is away");
    bus.up().await?;
    monitor.leads(SOON).await?;
    drop(dying);
    only_this_one_dies(&hook, 2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_monitor_that_was_too_slow_blames_nobody() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    // The server has no patience: it drops who does not read.
    let impatient = "max_payload: 200000\nmax_pending: 1000000\nwrite_deadline: \"1s\"\n";
    let bus = Bus::with(dir.path(), impatient).await?;
    let (director, hook) = (director(3).await?, webhook::Listener::start().await?);
    let _beating = Beating::start(&bus, 0..2, BEAT).await?;
    let dying = Beating::start(&bus, 2..3, BEAT).await?;
    let plugins = json!([to(&hook)]);
    let monitor = Monitor::start(
        &bus,
        &director,
        &dir.path().join("hm"),
        intervals(),
        plugins,
    )
    .await?;
    monitor.leads(SOON).await?;
    monitor.signal(Signal::SIGSTOP)?;
    let client = bus.client().await?;
    let long = format!("{{\"x\":\"{}\"}}", "x".repeat(100_000));
    for _ in 0..200 {
        client
            .publish(
                format!("hm.agent.heartbeat.{}", agent_id(0)),
                long.clone().into(),
            )
            .await?;
    }
    client.flush().await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    monitor.signal(Signal::SIGCONT)?;
    wait::until("the connection to have broken", SOON, || async {
        let broke = monitor
            .metric("bosh_monitor_lapses_total{reason=\"disconnected\"}")
            .await?;
        Ok((broke >= Some(1.)).then_some(()))
    })
    .await?;
    monitor.leads(SOON).await?;
    drop(dying);
    only_this_one_dies(&hook, 2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_director_that_is_down_makes_nobody_a_stranger() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (bus, director, hook) = (
        Bus::start(dir.path()).await?,
        director(1).await?,
        webhook::Listener::start().await?,
    );
    let mut intervals = intervals();
    intervals["rogue_agent_alert"] = 1.into();
    intervals["agent_timeout"] = 3.into();
    let plugins = json!([to(&hook)]);
    let monitor =
        Monitor::start(&bus, &director, &dir.path().join("hm"), intervals, plugins).await?;
    monitor.leads(SOON).await?;
    director.known().down = true;
    wait::until("word of it", SOON, || async {
        let told =
            titles(&hook).contains(&"Health monitor failed to connect to director".to_owned());
        Ok(told.then_some(()))
    })
    .await?;
    // A new VM, and one that nobody knows; both for longer than a stranger is tolerated.
    let new = Beating::start(&bus, 0..3, BEAT).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let strangers = |hook: &webhook::Listener| {
        let mut strangers: Vec<_> = titles(hook)
            .into_iter()
            .filter(|title| title.ends_with("is not a part of any deployment"))
            .collect();
        strangers.dedup();
        strangers
    };
    assert_eq!(strangers(&hook), [""; 0]);
    {
        let mut known = director.known();
        known.instances.push(instance(1));
        known.down = false;
    }
    let expected = format!("{} is not a part of any deployment", agent_id(2));
    wait::until("the stranger", SOON, || async {
        Ok(strangers(&hook).contains(&expected).then_some(()))
    })
    .await?;
    assert_eq!(strangers(&hook), [expected]);
    drop(new);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_agents_that_come_back_at_once_are_all_heard() -> anyhow::Result<()> {
    const AGENTS: u64 = 10_000;
    let dir = tempfile::tempdir()?;
    let (mut bus, director, hook) = (
        Bus::start(dir.path()).await?,
        director(AGENTS).await?,
        webhook::Listener::start().await?,
    );
    let mut intervals = intervals();
    intervals["poll_director"] = 5.into();
    intervals["agent_timeout"] = 8.into();
    let plugins = json!([to(&hook)]);
    let monitor =
        Monitor::start(&bus, &director, &dir.path().join("hm"), intervals, plugins).await?;
    monitor.leads(SOON).await?;
    bus.down();
    bus.up().await?;
    wait::until("the monitor to be back", SOON, || async {
        let up = monitor.metric("bosh_monitor_nats_connected").await?;
        Ok((up == Some(1.)).then_some(()))
    })
    .await?;
    let client = bus.client().await?;
    for agent in 0..AGENTS {
        let beat = r#"{"job_state":"running"}"#;
        client
            .publish(
                format!("hm.agent.heartbeat.{}", agent_id(agent)),
                beat.into(),
            )
            .await?;
    }
    client.flush().await?;
    wait::until("all heartbeats", SOON, || async {
        let taken = monitor
            .metric("bosh_monitor_messages_total{kind=\"heartbeat\"}")
            .await?;
        Ok((taken >= Some(AGENTS as f64)).then_some(()))
    })
    .await?;
    let counted: Value = reqwest::get(monitor.url("/unknown_instances"))
        .await?
        .json()
        .await?;
    assert_eq!(counted, json!({ "dep": 0 }));
    assert_eq!(titles(&hook), [""; 0]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_changes_nothing() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (bus, director, hook) = (
        Bus::start(dir.path()).await?,
        director(2).await?,
        webhook::Listener::start().await?,
    );
    let _beating = Beating::start(&bus, 0..1, BEAT).await?;
    let dying = Beating::start(&bus, 1..2, BEAT).await?;
    let clock = dir.path().join("clock");
    std::fs::write(&clock, "+0\n")?;
    let more = json!({ "intervals": intervals(), "plugins": [to(&hook)] });
    let monitor = Monitor::with(&bus, &director, &dir.path().join("hm"), more, |command| {
        command
            .env("LD_PRELOAD", FAKETIME)
            .env("FAKETIME_TIMESTAMP_FILE", &clock)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("DONT_FAKE_MONOTONIC", "1");
    })
    .await?;
    monitor.leads(SOON).await?;
    for (steps, offset) in [(1., "+3600\n"), (2., "-7200\n")] {
        std::fs::write(&clock, offset)?;
        wait::until("the step to be noticed", SOON, || async {
            let noticed = monitor.metric("bosh_monitor_clock_steps_total").await?;
            Ok((noticed >= Some(steps)).then_some(()))
        })
        .await?;
    }
    monitor.leads(SOON).await?;
    drop(dying);
    only_this_one_dies(&hook, 1).await
}

/// Debian's; in the loader's own notation.
const FAKETIME: &str = "/usr/$LIB/faketime/libfaketime.so.1";

#[tokio::test(flavor = "multi_thread")]
async fn a_mass_outage_is_one_alert_and_nothing_is_repaired() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (bus, director, hook) = (
        Bus::start(dir.path()).await?,
        director(40).await?,
        webhook::Listener::start().await?,
    );
    let mut plugins = resurrector(&director);
    plugins.as_array_mut().expect("a list").push(to(&hook));
    let network = Beating::start(&bus, 0..40, BEAT).await?;
    let monitor = Monitor::start(
        &bus,
        &director,
        &dir.path().join("hm"),
        alert_to_silence(),
        plugins,
    )
    .await?;
    monitor.leads(SOON).await?;
    drop(network);
    let outage = || {
        titles(&hook)
            .iter()
            .filter(|title| title.starts_with("Mass outage: "))
            .count()
    };
    wait::until("the alert", SOON, || async {
        Ok((outage() > 0).then_some(()))
    })
    .await?;
    // Many more analyses.
    let analyses = director.known().polls + 10;
    wait::until("more analyses", SOON, || async {
        Ok((director.known().polls >= analyses).then_some(()))
    })
    .await?;
    assert_eq!(titles(&hook).len(), 1, "{:?}", titles(&hook));
    assert!(director.known().scans.is_empty());
    assert_eq!(monitor.metric("bosh_monitor_mass_outage").await?, Some(1.));
    // Nearly all come back: it is over, and the one that does not is repaired.
    let _network = Beating::start(&bus, 1..40, BEAT).await?;
    wait::until("the repair", SOON, || async {
        Ok((!director.known().scans.is_empty()).then_some(()))
    })
    .await?;
    assert_eq!(
        director.known().scans[0],
        json!({ "jobs": { "web": [instance(0)["id"]] } })
    );
    Ok(())
}
