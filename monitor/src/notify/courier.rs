//! Takes what a plugin's spool and queue hold to its target. One task per plugin: whatever happens to it happens to it
//! alone.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::group;
use super::plan::{Planner, Step};
use super::spool::Spool;
use super::stats::Counters;
use super::target::{Failure, Manner, PATIENCE, Target};
use super::words;
use crate::event::{Alert, Heartbeat};

/// How often the same heartbeats are tried; what is newer comes soon enough.
const HEARTBEAT_TRIES: u32 = 5;

pub(super) struct Courier {
    pub(super) plugin: String,
    pub(super) target: Box<dyn Target>,
    pub(super) manner: Manner,
    pub(super) spool: Arc<Spool>,
    pub(super) heartbeats: mpsc::Receiver<Arc<Heartbeat>>,
    pub(super) planner: Planner,
    /// Turns true when the spool has got all it will get.
    pub(super) closing: watch::Receiver<bool>,
    pub(super) counters: Arc<Counters>,
    /// Heartbeats on their way, and how often they were tried.
    pub(super) held: (Vec<Arc<Heartbeat>>, u32),
}

impl Courier {
    /// Runs until the monitor ends.
    pub(super) async fn run(mut self) {
        let mut closing = false;
        loop {
            self.give_up_the_old().await;
            let now = Instant::now();
            let step = self.spool.state_of(|items| self.planner.next(items, now));
            let until = match step {
                Step::Deliver(places) => {
                    self.deliver(&places).await;
                    continue;
                }
                Step::Wait(until) => Some(until),
                Step::Idle => None,
            };
            if closing {
                break;
            }
            closing = self.wait(until).await;
            if closing {
                self.planner.hurry();
            }
        }
        while self.planner.paused(Instant::now()).is_none() && self.take_heartbeats() {
            self.deliver_heartbeats().await;
        }
        self.target.close().await;
        let left = self.spool.state_of(|items| items.len());
        if left > 0 {
            let durable = self.manner.durable;
            tracing::warn!(
                plugin = self.plugin,
                left,
                durable,
                "alerts are not delivered yet"
            );
        }
    }

    /// Waits for the time, for alerts or for the end, and delivers heartbeats meanwhile. Whether it is the end.
    async fn wait(&mut self, until: Option<Instant>) -> bool {
        let now = Instant::now();
        let free = self.planner.paused(now);
        // Heartbeats have fixed times where alerts have them.
        let ready = free.or_else(|| self.planner.tick(now).filter(|tick| *tick > now));
        let waited_for = free.is_some() || !self.held.0.is_empty();
        let deadline = [until, ready.filter(|_| waited_for)];
        let deadline = deadline.into_iter().flatten().min();
        let room = self.manner.heartbeats.saturating_sub(self.held.0.len());
        // A target that is left alone leaves its heartbeats in the queue.
        let wanted = free.is_none() && room > 0;
        tokio::select! {
            () = self.spool.bell.notified() => {}
            () = sleep_until(deadline.unwrap_or(now)), if deadline.is_some() => {}
            changed = self.closing.changed() => return changed.is_err() || *self.closing.borrow_and_update(),
            number = self.heartbeats.recv_many(&mut self.held.0, room.max(1)), if wanted => {
                if number == 0 {
                    // The queue has ended: only the end is left to come.
                    tokio::select! {
                        () = self.spool.bell.notified() => {}
                        () = sleep_until(deadline.unwrap_or(now)), if deadline.is_some() => {}
                        _ = self.closing.changed() => return true,
                    }
                }
            }
        }
        let now = Instant::now();
        let due = match ready {
            Some(ready) => ready <= now,
            None => true,
        };
        if due && !self.held.0.is_empty() && self.planner.paused(now).is_none() {
            self.deliver_heartbeats().await;
        }
        false
    }

    async fn give_up_the_old(&mut self) {
        let expired = self.spool.expired(words::wall());
        if !expired.is_empty() {
            let lost = expired.len() as u64;
            tracing::error!(
                plugin = self.plugin,
                lost,
                "alerts could not be delivered for too long and are given up"
            );
            self.counters.lost.add(lost);
            self.done(expired).await;
        }
    }

    async fn done(&self, seqs: Vec<u64>) {
        let spool = self.spool.clone();
        let written = tokio::task::spawn_blocking(move || spool.done(seqs)).await;
        if let Err(error) = written {
            tracing::error!(plugin = self.plugin, "writing the spool: {error}");
        }
    }

    async fn deliver(&mut self, places: &[usize]) {
        let (seqs, alerts): (Vec<u64>, Vec<Arc<Alert>>) = self.spool.state_of(|items| {
            let chosen = places.iter().filter_map(|place| items.get(*place));
            chosen.map(|item| (item.seq, item.alert.clone())).unzip()
        });
        let message = match self.manner.several {
            true => alerts,
            false => vec![group::merge(&alerts)],
        };
        let outcome = timeout(PATIENCE, self.target.alerts(&message)).await;
        let outcome = outcome.unwrap_or_else(|_| Err(Failure::retry("no answer")));
        let now = Instant::now();
        match outcome {
            Ok(()) => {
                self.counters.delivered.add(seqs.len() as u64);
                self.planner.delivered(now);
                self.done(seqs).await;
            }
            Err(Failure::Refused(why)) => {
                let lost = self.counters.refused.add(seqs.len() as u64);
                tracing::error!(
                    plugin = self.plugin,
                    lost,
                    alert = message[0].id,
                    "the target refuses an alert: {why}"
                );
                self.planner.delivered(now);
                self.done(seqs).await;
            }
            Err(Failure::Retry(why, wish)) => {
                let failed = self.counters.failed.add(1);
                self.spool.failed(&seqs);
                self.planner.failed(now, wish);
                let waiting = self.spool.state_of(|items| items.len());
                tracing::warn!(
                    plugin = self.plugin,
                    failed,
                    waiting,
                    "could not deliver, trying again: {why}"
                );
            }
        }
    }

    fn take_heartbeats(&mut self) -> bool {
        while self.held.0.len() < self.manner.heartbeats {
            match self.heartbeats.try_recv() {
                Ok(heartbeat) => self.held.0.push(heartbeat),
                Err(_) => break,
            }
        }
        !self.held.0.is_empty()
    }

    async fn deliver_heartbeats(&mut self) {
        let outcome = timeout(PATIENCE, self.target.heartbeats(&self.held.0)).await;
        let outcome = outcome.unwrap_or_else(|_| Err(Failure::retry("no answer")));
        let number = self.held.0.len() as u64;
        match outcome {
            Ok(()) => {
                self.counters.heartbeats.add(number);
                self.planner.well();
                self.held = (Vec::new(), 0);
            }
            Err(Failure::Retry(why, wish)) if self.held.1 + 1 < HEARTBEAT_TRIES => {
                self.counters.failed.add(1);
                self.held.1 += 1;
                self.planner.failed(Instant::now(), wish);
                tracing::warn!(
                    plugin = self.plugin,
                    "could not deliver heartbeats, trying again: {why}"
                );
            }
            Err(failure) => {
                let why = match failure {
                    Failure::Retry(why, wish) => {
                        self.planner.failed(Instant::now(), wish);
                        why
                    }
                    Failure::Refused(why) => why,
                };
                let lost = self.counters.lost.add(number);
                tracing::error!(
                    plugin = self.plugin,
                    lost,
                    "{number} heartbeats are given up: {why}"
                );
                self.held = (Vec::new(), 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::config;
    use crate::notify::plan::Pacing;
    use async_trait::async_trait;

    /// Fails so often, and takes everything then.
    struct Frail {
        failures: usize,
        taken: Arc<AtomicUsize>,
    }

    #[async_trait]
    impl Target for Frail {
        async fn alerts(&mut self, _: &[Arc<Alert>]) -> Result<(), Failure> {
            Ok(())
        }

        async fn heartbeats(&mut self, heartbeats: &[Arc<Heartbeat>]) -> Result<(), Failure> {
            if let Some(left) = self.failures.checked_sub(1) {
                self.failures = left;
                return Err(Failure::retry("not yet"));
            }
            self.taken.fetch_add(heartbeats.len(), Ordering::Relaxed);
            Ok(())
        }
    }

    /// Heartbeats are given up while a target is away; those that come later are taken when it is back, though no alert wakes
    /// anybody up.
    #[tokio::test(start_paused = true)]
    async fn after_heartbeats_were_given_up_others_are_delivered() {
        let (queue, heartbeats) = mpsc::channel(10);
        let (closing, closed) = watch::channel(false);
        let (taken, counters) = (Arc::new(AtomicUsize::new(0)), Arc::<Counters>::default());
        let limits = config::Spool::default();
        let spool = Spool::open("x", None, limits, counters.clone()).unwrap();
        let courier = Courier {
            plugin: "x".to_owned(),
            target: Box::new(Frail {
                failures: HEARTBEAT_TRIES as usize,
                taken: taken.clone(),
            }),
            manner: Manner::default(),
            spool: Arc::new(spool),
            heartbeats,
            planner: Planner::new(Pacing::default(), Instant::now()),
            closing: closed,
            counters: counters.clone(),
            held: (Vec::new(), 0),
        };
        let worker = tokio::spawn(courier.run());
        let beat = Arc::new(crate::notify::tsdb::tests::heartbeat(0));
        queue.send(beat.clone()).await.unwrap();
        while counters.lost.get() == 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        queue.send(beat).await.unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(taken.load(Ordering::Relaxed), 1);
        closing.send_replace(true);
        worker.await.unwrap();
    }
}
