//! Two monitors on one bus, with the permissions that upstream's server gives them.

use std::time::{Duration, Instant};

use bosh_tests::bus::Bus;
use bosh_tests::fake_director::{FakeDirector, agent_id, instance};
use bosh_tests::monitor::Monitor;
use bosh_tests::{wait, webhook};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::{SOON, alert_to_silence, director, resurrector, titles, to};

/// Of the lease, in seconds.
const INTERVAL: f64 = 3.;

struct Pair {
    _dir: tempfile::TempDir,
    bus: Bus,
    director: FakeDirector,
    hook: webhook::Listener,
    monitors: [Monitor; 2],
}

impl Pair {
    async fn start() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let bus = Bus::like_upstreams(dir.path()).await?;
        let (director, hook) = (director(1).await?, webhook::Listener::start().await?);
        let mut plugins = resurrector(&director);
        plugins.as_array_mut().expect("a list").push(to(&hook));
        let mut intervals = alert_to_silence();
        intervals["agent_timeout"] = 3600.into();
        let more = json!({ "intervals": intervals, "plugins": plugins, "high_availability": { "interval": INTERVAL } });
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        let one = Monitor::with(&bus, &director, &one, more.clone(), |_| {}).await?;
        let two = Monitor::with(&bus, &director, &two, more, |_| {}).await?;
        Ok(Self {
            _dir: dir,
            bus,
            director,
            hook,
            monitors: [one, two],
        })
    }

    /// Which of them lead.
    async fn leaders(&self) -> Vec<usize> {
        let mut leaders = Vec::new();
        for (at, monitor) in self.monitors.iter().enumerate() {
            // One that is dead or stopped does not answer.
            let asked = monitor.metric("bosh_monitor_leader");
            let answer = tokio::time::timeout(Duration::from_millis(200), asked).await;
            if matches!(answer, Ok(Ok(Some(1.)))) {
                leaders.push(at);
            }
        }
        leaders
    }

    /// Waits until one leads, and sees that it is one.
    async fn leader(&self) -> anyhow::Result<usize> {
        wait::until("one of the monitors to lead", SOON, || async {
            let leaders = self.leaders().await;
            assert!(leaders.len() < 2, "never both");
            Ok(leaders.first().copied())
        })
        .await
    }

    async fn alert(&self, id: &str) -> anyhow::Result<()> {
        let client = self.bus.client().await?;
        let alert = json!({ "id": id, "severity": 2, "title": id, "created_at": 1 });
        client
            .publish(
                format!("hm.agent.alert.{}", agent_id(0)),
                alert.to_string().into(),
            )
            .await?;
        Ok(client.flush().await?)
    }

    async fn heard(&self, id: &str) -> anyhow::Result<()> {
        wait::until(id, SOON, || async {
            Ok(titles(&self.hook).contains(&id.to_owned()).then_some(()))
        })
        .await
    }

    /// How often an alert was delivered.
    fn times(&self, id: &str) -> usize {
        titles(&self.hook)
            .iter()
            .filter(|title| *title == id)
            .count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_acts_and_the_other_takes_over_when_it_is_killed() -> anyhow::Result<()> {
    let mut pair = Pair::start().await?;
    let first = pair.leader().await?;
    pair.alert("while both live").await?;
    pair.heard("while both live").await?;

    pair.monitors[first].process.0.kill()?;
    let killed = Instant::now();
    pair.alert("while nobody leads").await?;
    let second = pair.leader().await?;
    let took = killed.elapsed();
    assert_ne!(second, first);
    assert!(took.as_secs_f64() < 2. * INTERVAL, "{took:?}");
    pair.heard("while nobody leads").await?;
    pair.alert("after that").await?;
    pair.heard("after that").await?;

    // An instance that has lost its VM is repaired by the one that is left.
    let mut gone = instance(0);
    gone["cid"] = serde_json::Value::Null;
    pair.director.known().instances = vec![gone];
    wait::until("the repair", SOON, || async {
        Ok((!pair.director.known().scans.is_empty()).then_some(()))
    })
    .await?;
    for id in ["while both live", "while nobody leads", "after that"] {
        assert_eq!(pair.times(id), 1, "{id}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_stopped_leaves_it_to_the_other() -> anyhow::Result<()> {
    let pair = Pair::start().await?;
    let first = pair.leader().await?;
    pair.monitors[first].signal(Signal::SIGSTOP)?;
    let second = pair.leader().await?;
    assert_ne!(second, first);
    pair.alert("while one is stopped").await?;
    pair.heard("while one is stopped").await?;
    pair.monitors[first].signal(Signal::SIGCONT)?;
    pair.monitors[first].logs("no longer leads").await?;
    pair.alert("after that").await?;
    pair.heard("after that").await?;
    assert_eq!(pair.leaders().await, [second]);
    // Whatever the stopped one had on its desk, it has had the time to hand it on.
    wait::until("the alert to have been read by both", SOON, || async {
        let read = pair.monitors[first]
            .metric("bosh_monitor_messages_total{kind=\"alert\"}")
            .await?;
        Ok((read >= Some(2.)).then_some(()))
    })
    .await?;
    for id in ["while one is stopped", "after that"] {
        assert_eq!(pair.times(id), 1, "{id}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_told_to_stop_is_followed_at_once() -> anyhow::Result<()> {
    let pair = Pair::start().await?;
    let first = pair.leader().await?;
    // The other has to have been there for long enough to be trusted with it.
    pair.monitors[1 - first]
        .logs("there is another monitor")
        .await?;
    pair.monitors[first].signal(Signal::SIGTERM)?;
    let second = pair.leader().await?;
    assert_ne!(second, first);
    pair.alert("after that").await?;
    pair.heard("after that").await?;
    assert_eq!(pair.times("after that"), 1);
    Ok(())
}
