//! The alerts that one plugin has yet to deliver, and those it was told of and that are not over. In memory, and, where
//! there is a directory for it, in a [`journal`] as well: a monitor that is killed goes on where it was.
//!
//! Bounded: beyond `max_alerts` or `max_bytes` the oldest are given up, counted and logged, and so is what is older than
//! `max_age`. Where the disk takes no more (full, gone), alerts wait in memory and this is logged.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::journal::Journal;
use super::stats::Counters;
use crate::config;
use crate::event::{Alert, Status};

/// The most alerts that are remembered as told.
const TOLD: usize = 10_000;

/// A journal is rewritten when it has this many bytes more than what it would have anew.
const SLACK: u64 = 1 << 20;

/// An alert that waits.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// In the order of arrival.
    pub(super) seq: u64,
    pub(super) alert: Arc<Alert>,
    /// When it came, by the wall clock.
    pub(super) at: i64,
    /// When it came, or was found in the journal.
    pub(super) since: Instant,
    /// How often it was tried in vain.
    pub(super) attempts: u32,
    bytes: u64,
}

/// An alert that the plugin was told of.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) alert: Arc<Alert>,
    /// When it was told last, by the wall clock.
    pub(super) at: i64,
    /// Whether the plugin was told that somebody sees to it.
    pub(super) acknowledged: bool,
}

#[derive(Serialize, Deserialize)]
enum Record {
    /// An alert has come.
    #[serde(rename = "a")]
    Arrived(u64, i64, Arc<Alert>),
    /// These need no more work.
    #[serde(rename = "d")]
    Done(Vec<u64>),
    /// An alert was told of and is not over.
    #[serde(rename = "t")]
    Told(i64, Arc<Alert>),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Spool {
    plugin: String,
    limits: config::Spool,
    state: Mutex<State>,
    /// Locked for the time of a write; never while `state` is.
    journal: Mutex<Option<Journal>>,
    /// Rings when something has come.
    pub(super) bell: Notify,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Item>,
    bytes: u64,
    next: u64,
    told: HashMap<String, Told>,
}

impl Spool {
    /// The spool of a plugin, with what its journal in `dir` holds.
    pub(super) fn open(
        plugin: &str,
        dir: Option<&Path>,
        limits: config::Spool,
        counters: Arc<Counters>,
    ) -> std::io::Result<Self> {
        let (mut state, mut journal) = (State::default(), None);
        if let Some(dir) = dir {
            let (opened, records, broken) = Journal::open(&dir.join(format!("{plugin}.journal")))?;
            if broken > 0 {
                tracing::warn!(plugin, broken, "the spool had lines that are no records");
            }
            state = State::replay(records);
            if !state.items.is_empty() {
                tracing::info!(plugin, "{} alerts wait from before", state.items.len());
            }
            journal = Some(opened);
        }
        let spool = Self {
            plugin: plugin.to_owned(),
            limits,
            state: Mutex::new(state),
            journal: Mutex::new(journal),
            bell: Notify::new(),
            counters,
        };
        spool.counters.spooled.set(spool.state().items.len());
        spool.bell.notify_one();
        Ok(spool)
    }

    pub(super) fn state_of<T>(&self, look: impl FnOnce(&VecDeque<Item>) -> T) -> T {
        look(&self.state().items)
    }

    /// Looks at what was told, and changes it.
    pub(super) fn told<T>(&self, look: impl FnOnce(&mut HashMap<String, Told>) -> T) -> T {
        look(&mut self.state().told)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes alerts in: writes them down, has them delivered, and makes sure of the disk. May block on the disk.
    pub(super) fn push(&self, alerts: Vec<Arc<Alert>>, at: i64) {
        let first = {
            let mut state = self.state();
            let first = state.next;
            state.next += alerts.len() as u64;
            first
        };
        let records: Vec<_> = (first..)
            .zip(&alerts)
            .map(|(seq, alert)| Record::Arrived(seq, at, alert.clone()))
            .collect();
        let mut journal = self.journal();
        self.append(&mut journal, &records);
        let since = Instant::now();
        let given_up = {
            let mut state = self.state();
            for (seq, alert) in (first..).zip(alerts) {
                state.put(seq, at, since, alert);
            }
            let given_up = state.trim(&self.limits);
            self.counters.spooled.set(state.items.len());
            given_up
        };
        self.bell.notify_one();
        if !given_up.is_empty() {
            let lost = given_up.len() as u64;
            tracing::error!(
                plugin = self.plugin,
                lost,
                "the plugin's spool is full; its oldest alerts are given up"
            );
            self.counters.lost.add(lost);
            self.append(&mut journal, &[Record::Done(given_up)]);
        }
        if let Some(open) = &*journal
            && let Err(error) = open.sync()
        {
            tracing::error!(plugin = self.plugin, "syncing the spool: {error}");
        }
        self.compact(&mut journal);
    }

    /// These need no more work. May block on the disk.
    pub(super) fn done(&self, seqs: Vec<u64>) {
        {
            let mut state = self.state();
            let mut bytes = 0;
            state.items.retain(|item| {
                let done = seqs.contains(&item.seq);
                bytes += if done { item.bytes } else { 0 };
                !done
            });
            state.bytes -= bytes;
            self.counters.spooled.set(state.items.len());
        }
        let mut journal = self.journal();
        self.append(&mut journal, &[Record::Done(seqs)]);
        self.compact(&mut journal);
    }

    /// These were tried in vain.
    pub(super) fn failed(&self, seqs: &[u64]) {
        let mut state = self.state();
        let failed = state
            .items
            .iter_mut()
            .filter(|item| seqs.contains(&item.seq));
        failed.for_each(|item| item.attempts += 1);
    }

    /// Those that have waited for too long.
    pub(super) fn expired(&self, now: i64) -> Vec<u64> {
        let oldest = now.saturating_sub(self.limits.max_age.as_secs() as i64);
        let state = self.state();
        let expired = state.items.iter().filter(|item| item.at < oldest);
        expired.map(|item| item.seq).collect()
    }

    fn journal(&self) -> MutexGuard<'_, Option<Journal>> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, journal: &mut Option<Journal>, records: &[Record]) {
        if let Some(journal) = journal
            && let Err(error) = journal.append(records)
        {
            self.counters.unwritten.add(1);
            tracing::error!(
                plugin = self.plugin,
                "writing the spool: {error}: what comes is kept in memory only"
            );
        }
    }

    fn compact(&self, journal: &mut Option<Journal>) {
        let Some(open) = journal else { return };
        let records = {
            let state = self.state();
            if open.length() < 2 * state.bytes + SLACK {
                return;
            }
            state.records()
        };
        if let Err(error) = open.rewrite(&records) {
            tracing::error!(plugin = self.plugin, "rewriting the spool: {error}");
        }
    }
}

impl State {
    fn replay(records: Vec<Record>) -> Self {
        let (mut state, since) = (Self::default(), Instant::now());
        for record in records {
            match record {
                Record::Arrived(seq, at, alert) => {
                    if let Some(key) = &alert.key {
                        match alert.status {
                            Status::Firing => state.tell(key.clone(), alert.clone(), at),
                            Status::Acknowledged => {
                                if let Some(told) = state.told.get_mut(key) {
                                    told.acknowledged = true;
                                }
                            }
                            Status::Resolved => _ = state.told.remove(key),
                        }
                    }
                    state.next = state.next.max(seq + 1);
                    state.put(seq, at, since, alert);
                }
                Record::Done(seqs) => {
                    let done: std::collections::HashSet<u64> = seqs.into_iter().collect();
                    let mut bytes = 0;
                    state.items.retain(|item| {
                        let done = done.contains(&item.seq);
                        bytes += if done { item.bytes } else { 0 };
                        !done
                    });
                    state.bytes -= bytes;
                }
                Record::Told(at, alert) => {
                    if let Some(key) = alert.key.clone() {
                        state.tell(key, alert, at);
                    }
                }
            }
        }
        state
    }

    fn put(&mut self, seq: u64, at: i64, since: Instant, alert: Arc<Alert>) {
        let bytes = size(&alert);
        self.bytes += bytes;
        self.items.push_back(Item {
            seq,
            alert,
            at,
            since,
            attempts: 0,
            bytes,
        });
    }

    fn tell(&mut self, key: String, alert: Arc<Alert>, at: i64) {
        remember(&mut self.told, key, alert, at);
    }

    /// Gives up the oldest that are too many.
    fn trim(&mut self, limits: &config::Spool) -> Vec<u64> {
        let mut given_up = Vec::new();
        while self.items.len() > limits.max_alerts || self.bytes > limits.max_bytes {
            let Some(oldest) = self.items.pop_front() else {
                break;
            };
            self.bytes -= oldest.bytes;
            given_up.push(oldest.seq);
        }
        given_up
    }

    fn records(&self) -> Vec<Record> {
        let told = self.told.values();
        let told = told.map(|told| Record::Told(told.at, told.alert.clone()));
        let items = self.items.iter();
        let items = items.map(|item| Record::Arrived(item.seq, item.at, item.alert.clone()));
        told.chain(items).collect()
    }
}

/// Takes note that an alert was told.
pub(super) fn remember(told: &mut HashMap<String, Told>, key: String, alert: Arc<Alert>, at: i64) {
    if let Some(known) = told.get_mut(&key) {
        known.at = at;
        known.acknowledged = false;
    } else if told.len() < TOLD {
        let new = Told {
            alert,
            at,
            acknowledged: false,
        };
        told.insert(key, new);
    }
}

/// About what an alert takes as JSON.
fn size(alert: &Alert) -> u64 {
    let texts = [
        Some(&alert.id),
        Some(&alert.title),
        Some(&alert.summary),
        alert.source.as_ref(),
        alert.deployment.as_ref(),
        alert.job.as_ref(),
        alert.instance_id.as_ref(),
        alert.key.as_ref(),
    ];
    let texts: usize = texts.into_iter().flatten().map(String::len).sum();
    let instances = alert.jobs_to_instance_ids.iter();
    let instances: usize = instances
        .map(|(job, ids)| job.len() + ids.iter().map(|id| id.len() + 3).sum::<usize>())
        .sum();
    (texts + instances + 200) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &Path, limits: config::Spool) -> Spool {
        Spool::open("webhook-0", Some(dir), limits, Arc::default()).unwrap()
    }

    fn alert(title: &str) -> Arc<Alert> {
        Arc::new(Alert::new(2, title, 0))
    }

    fn titles(spool: &Spool) -> Vec<String> {
        spool.state_of(|items| items.iter().map(|item| item.alert.title.clone()).collect())
    }

    #[test]
    fn what_is_not_done_waits_for_the_next_monitor() {
        let dir = tempfile::tempdir().unwrap();
        let spool = open(dir.path(), config::Spool::default());
        spool.push(vec![alert("a"), alert("b")], 10);
        spool.push(vec![alert("c")], 11);
        spool.done(vec![1]);
        // Nothing is closed: as after kill -9.
        let again = open(dir.path(), config::Spool::default());
        assert_eq!(titles(&again), ["a", "c"]);
        again.push(vec![alert("d")], 12);
        let seqs: Vec<u64> = again.state_of(|items| items.iter().map(|item| item.seq).collect());
        assert_eq!(seqs, [0, 2, 3], "sequence numbers are not used twice");
        assert_eq!(again.expired(10 + 24 * 3600), Vec::<u64>::new());
        assert_eq!(again.expired(12 + 24 * 3600), [0, 2]);
    }

    #[test]
    fn the_oldest_beyond_the_limits_are_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let limits = config::Spool {
            max_alerts: 2,
            ..config::Spool::default()
        };
        let spool = open(dir.path(), limits.clone());
        spool.push(vec![alert("a"), alert("b"), alert("c")], 10);
        assert_eq!(titles(&spool), ["b", "c"]);
        assert_eq!(titles(&open(dir.path(), limits)), ["b", "c"]);
        assert_eq!(spool.counters.lost.get(), 1);
        let limits = config::Spool {
            max_bytes: 1_000,
            ..config::Spool::default()
        };
        let dir = tempfile::tempdir().unwrap();
        let spool = open(dir.path(), limits);
        spool.push(vec![alert(&"x".repeat(700)), alert("y")], 10);
        assert_eq!(titles(&spool), ["y"]);
    }

    #[test]
    fn a_journal_does_not_grow_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let spool = open(dir.path(), config::Spool::default());
        let large = "x".repeat(100_000);
        let keyed = Arc::new(Alert {
            key: Some("agents/a".into()),
            ..Alert::new(2, "told", 0)
        });
        spool.told(|told| remember(told, "agents/a".into(), keyed.clone(), 10));
        spool.push(vec![keyed], 10);
        for seq in 1..=40 {
            spool.push(vec![alert(&large)], 10);
            spool.done(vec![seq]);
        }
        let length = std::fs::metadata(dir.path().join("webhook-0.journal"))
            .unwrap()
            .len();
        assert!(length < 2 << 20, "{length}");
        let again = open(dir.path(), config::Spool::default());
        assert_eq!(titles(&again), ["told"]);
        assert!(again.told(|told| told.contains_key("agents/a")));
    }
}
