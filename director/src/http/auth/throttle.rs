//! Slows the guessing of passwords down. Pure: time is an argument.
//!
//! What a source (an address) failed at is answered ever later, and only so many of its answers wait at once: more
//! guesses are refused unseen meanwhile. Other sources notice nothing of it, and neither do credentials that were
//! right before, from wherever they come.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// So many failures are a typing error.
const FREE: u32 = 3;
/// What the first failure after those costs; each next one the double.
const FIRST: Duration = Duration::from_millis(250);
/// What a failure costs at most.
const LONGEST: Duration = Duration::from_secs(4);
/// How many of a source's failures wait for their answer at once.
const WAITING: u32 = 8;
/// How long after its last failure a source is forgotten.
const MEMORY: Duration = Duration::from_secs(300);
/// How many sources are remembered.
const SOURCES: usize = 4096;

/// Who failed how often.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    sources: HashMap<IpAddr, Source>,
}

#[derive(Debug)]
struct Source {
    failures: u32,
    last: Instant,
    waiting: u32,
}

impl Throttle {
    /// Whether a source may try.
    pub(super) fn admits(&self, source: IpAddr) -> bool {
        self.sources
            .get(&source)
            .is_none_or(|source| source.waiting < WAITING)
    }

    /// Notes a failure: how long its answer is held back. When that is over, [`Self::answered`] must be called.
    pub(super) fn failed(&mut self, source: IpAddr, now: Instant) -> Duration {
        if self.sources.len() >= SOURCES && !self.sources.contains_key(&source) {
            self.forget(now);
        }
        let entry = self.sources.entry(source).or_insert(Source {
            failures: 0,
            last: now,
            waiting: 0,
        });
        if now.saturating_duration_since(entry.last) > MEMORY {
            entry.failures = 0;
        }
        entry.failures = entry.failures.saturating_add(1);
        entry.last = now;
        entry.waiting += 1;
        match entry.failures.saturating_sub(FREE) {
            0 => Duration::ZERO,
            over => FIRST.saturating_mul(1 << (over - 1).min(16)).min(LONGEST),
        }
    }

    /// A failure got its answer.
    pub(super) fn answered(&mut self, source: IpAddr) {
        if let Some(source) = self.sources.get_mut(&source) {
            source.waiting = source.waiting.saturating_sub(1);
        }
    }

    /// Makes room: what is old goes, or else what has been quiet for longest.
    fn forget(&mut self, now: Instant) {
        self.sources.retain(|_, source| {
            source.waiting > 0 || now.saturating_duration_since(source.last) <= MEMORY
        });
        if self.sources.len() < SOURCES {
            return;
        }
        let quietest = self
            .sources
            .iter()
            .min_by_key(|(_, source)| (source.waiting, source.last))
            .map(|(address, _)| *address);
        if let Some(address) = quietest {
            self.sources.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(n: u32) -> IpAddr {
        Ipv4Addr::from(n).into()
    }

    #[test]
    fn each_failure_costs_more_and_never_too_much() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        let mut costs = Vec::new();
        for _ in 0..10 {
            costs.push(throttle.failed(address(1), now).as_millis());
            throttle.answered(address(1));
        }
        assert_eq!(costs, [0, 0, 0, 250, 500, 1000, 2000, 4000, 4000, 4000]);
        assert_eq!(throttle.failed(address(2), now), Duration::ZERO);
        let later = now + MEMORY + Duration::from_secs(1);
        assert_eq!(throttle.failed(address(1), later), Duration::ZERO);
    }

    #[test]
    fn only_so_many_answers_of_one_source_wait() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        for _ in 0..WAITING {
            assert!(throttle.admits(address(1)));
            throttle.failed(address(1), now);
        }
        assert!(!throttle.admits(address(1)));
        assert!(throttle.admits(address(2)));
        throttle.answered(address(1));
        assert!(throttle.admits(address(1)));
    }

    #[test]
    fn a_flood_of_sources_is_bounded_and_keeps_those_that_wait() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        throttle.failed(address(0), now);
        for n in 1..3 * u32::try_from(SOURCES).unwrap() {
            throttle.failed(address(n), now + Duration::from_millis(u64::from(n)));
            throttle.answered(address(n));
        }
        assert_eq!(throttle.sources.len(), SOURCES);
        assert!(throttle.sources.contains_key(&address(0)));
        assert!(!throttle.sources.contains_key(&address(1)));
    }
}
