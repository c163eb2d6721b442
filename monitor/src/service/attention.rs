//! Knows when the monitor could not listen, so that nobody is blamed for a silence that was its own. Pure.

use std::time::{Duration, Instant};

/// What kept the monitor from listening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lapse {
    /// This process or machine stood still for so long.
    Stalled(Duration),
    /// The connection to the bus broke.
    Disconnected,
    /// Messages were dropped because they came faster than they were read.
    Dropped,
}

/// How often which lapse happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lapses {
    /// Times this process or machine stood still.
    pub stalls: u64,
    /// Times the connection broke.
    pub disconnects: u64,
    /// Messages dropped, or more.
    pub dropped: u64,
    /// Times the clock was set.
    pub clock_steps: u64,
}

/// What is remembered between two looks.
#[derive(Debug)]
pub struct Attention {
    limit: Duration,
    pulse: Instant,
    wall: Duration,
    /// Until when everything that was said has been read.
    caught_up: Instant,
    lapses: Lapses,
}

/// How much the two clocks may differ between two looks before one of them was set.
const CLOCK_STEP: Duration = Duration::from_secs(1);

impl Attention {
    /// Begins now. `wall` is the time since the epoch, on the clock that may be set.
    pub fn new(agent_timeout: Duration, now: Instant, wall: Duration) -> Self {
        Self {
            limit: (agent_timeout / 4).clamp(Duration::from_millis(500), Duration::from_secs(5)),
            pulse: now,
            wall,
            caught_up: now,
            lapses: Lapses::default(),
        }
    }

    /// Looks at the clocks. Whether this process or machine stood still since the last look, and whether a clock was set.
    pub fn pulse(&mut self, now: Instant, wall: Duration) -> (Option<Lapse>, bool) {
        let passed = now.saturating_duration_since(self.pulse);
        let stepped = wall.abs_diff(self.wall + passed) > CLOCK_STEP;
        (self.pulse, self.wall) = (now, wall);
        self.lapses.clock_steps += u64::from(stepped);
        let stalled = passed > self.limit;
        self.lapses.stalls += u64::from(stalled);
        (stalled.then_some(Lapse::Stalled(passed)), stepped)
    }

    /// Takes note of the connection's counters: how often it broke, and how many messages were dropped.
    pub fn connection(&mut self, disconnects: u64, dropped: u64) -> Option<Lapse> {
        let (broke, lost) = (
            disconnects > self.lapses.disconnects,
            dropped > self.lapses.dropped,
        );
        self.lapses.disconnects = disconnects;
        self.lapses.dropped = dropped;
        if broke {
            Some(Lapse::Disconnected)
        } else {
            lost.then_some(Lapse::Dropped)
        }
    }

    /// Takes note that nothing is left to be read.
    pub fn caught_up(&mut self, now: Instant) {
        self.caught_up = now;
    }

    /// Until when everything that was said has been read: an agent's silence counts up to there.
    pub fn heard_until(&self) -> Instant {
        self.caught_up
    }

    /// How far behind the reading is.
    pub fn lag(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.caught_up)
    }

    /// How often what happened.
    pub fn lapses(&self) -> Lapses {
        self.lapses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(60);

    #[test]
    fn standing_still_is_noticed() {
        let (now, wall) = (Instant::now(), Duration::from_secs(1_000_000));
        let mut attention = Attention::new(TIMEOUT, now, wall);
        let second = Duration::from_secs(1);
        assert_eq!(attention.pulse(now + second, wall + second), (None, false));
        let later = Duration::from_secs(100);
        let (lapse, stepped) = attention.pulse(now + later, wall + later);
        assert_eq!(lapse, Some(Lapse::Stalled(Duration::from_secs(99))));
        assert!(!stepped);
        assert_eq!(attention.lapses().stalls, 1);
    }

    #[test]
    fn a_clock_that_is_set_is_not_a_stall() {
        let (now, wall) = (Instant::now(), Duration::from_secs(1_000_000));
        let mut attention = Attention::new(TIMEOUT, now, wall);
        let second = Duration::from_secs(1);
        let hour = Duration::from_secs(3600);
        assert_eq!(attention.pulse(now + second, wall + hour), (None, true));
        assert_eq!(attention.pulse(now + 2 * second, wall - hour), (None, true));
        assert_eq!(attention.lapses().clock_steps, 2);
    }

    #[test]
    fn breaks_between_two_looks_are_noticed_afterwards() {
        let now = Instant::now();
        let mut attention = Attention::new(TIMEOUT, now, Duration::ZERO);
        assert_eq!(attention.connection(0, 0), None);
        assert_eq!(attention.connection(2, 0), Some(Lapse::Disconnected));
        assert_eq!(attention.connection(2, 0), None);
        assert_eq!(attention.connection(2, 7), Some(Lapse::Dropped));
        attention.caught_up(now + TIMEOUT);
        assert_eq!(attention.lag(now + 2 * TIMEOUT), TIMEOUT);
    }
}
