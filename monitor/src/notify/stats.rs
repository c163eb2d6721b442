//! What happened to the events of each plugin, in numbers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Goes up, or is set.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, number: u64) -> u64 {
        self.0.fetch_add(number, Ordering::Relaxed) + number
    }

    pub(super) fn set(&self, number: usize) {
        self.0.store(number as u64, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters of one plugin.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) spooled: Counter,
    pub(super) delivered: Counter,
    pub(super) heartbeats: Counter,
    pub(super) failed: Counter,
    pub(super) lost: Counter,
    pub(super) refused: Counter,
    pub(super) unwritten: Counter,
    pub(super) filtered: Counter,
    pub(super) silenced: Counter,
    pub(super) repeated: Counter,
}

/// What happened to one plugin's events since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PluginStats {
    /// The entry's id.
    pub id: String,
    /// The plugin's name.
    pub name: String,
    /// Alerts that wait to be delivered, at the moment.
    pub spooled: u64,
    /// Events that wait in the plugin's queue, at the moment.
    pub queued: u64,
    /// Alerts that were delivered.
    pub delivered: u64,
    /// Heartbeats that were delivered.
    pub heartbeats: u64,
    /// Attempts that failed, and were or will be repeated.
    pub failed: u64,
    /// Events that were given up: spool or queue full, too old, or refused by the target for good.
    pub lost: u64,
    /// Writes to the spool that failed.
    pub unwritten: u64,
    /// Events that the plugin's filter kept out.
    pub filtered: u64,
    /// Alerts that a silence kept out.
    pub silenced: u64,
    /// Alerts that were told not long before.
    pub repeated: u64,
}

/// Looks at the numbers; clones look at the same ones.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    pub(super) plugins: Arc<Vec<Source>>,
}

/// Where one plugin's numbers come from.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) counters: Arc<Counters>,
    pub(super) queued: Box<dyn Gauge>,
}

/// How many events are in a queue.
pub(super) trait Gauge: Send + Sync + std::fmt::Debug {
    fn queued(&self) -> usize;
}

impl Stats {
    /// The numbers of all plugins, in the order of the configuration.
    pub fn plugins(&self) -> Vec<PluginStats> {
        let stats = |source: &Source| {
            let counters = &source.counters;
            PluginStats {
                id: source.id.clone(),
                name: source.name.clone(),
                spooled: counters.spooled.get(),
                queued: source.queued.queued() as u64,
                delivered: counters.delivered.get(),
                heartbeats: counters.heartbeats.get(),
                failed: counters.failed.get(),
                lost: counters.lost.get() + counters.refused.get(),
                unwritten: counters.unwritten.get(),
                filtered: counters.filtered.get(),
                silenced: counters.silenced.get(),
                repeated: counters.repeated.get(),
            }
        };
        self.plugins.iter().map(stats).collect()
    }
}
