//! The lease as one monitor sees it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::{Message, Role};

/// Own messages that may be on their way at once; older ones no longer count when they come back.
const UNDERWAY: usize = 64;

/// How many alerts one message may tell of; beyond, they are given twice rather than not at all.
const HANDLED: usize = 10_000;

/// What a monitor may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Act: hand alerts to plugins, have VMs repaired.
    Leader,
    /// Keep alerts for later: nobody is known to act.
    Undecided,
    /// Leave it to another, which is known to act.
    Follower,
}

/// The lease as one monitor sees it.
#[derive(Debug)]
pub struct Lease {
    me: Uuid,
    interval: Duration,
    phase: Phase,
    seq: u64,
    /// Own messages on their way: number and when they were sent.
    underway: VecDeque<(u64, Instant)>,
    /// When the newest own message was sent that has come back.
    confirmed: Option<Instant>,
    /// Since when the connection has stood.
    connected: Option<Instant>,
    /// When a leader was last heard, or all that came before was heard for the first time.
    leader: Option<Instant>,
    /// When a claim was last heard that goes before ours.
    rival: Option<Instant>,
    /// Whether we may publish.
    mute: bool,
    /// Whether another monitor was ever heard.
    company: bool,
    handled: Vec<u64>,
    /// When it was last said that this monitor stands by.
    stood_by: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Follower,
    /// Has claimed once, with this message.
    Claimed {
        first: u64,
        at: Instant,
    },
    /// Has claimed twice; leads when the second has come back.
    Claiming {
        second: u64,
        at: Instant,
    },
    Leader {
        beat: Instant,
    },
}

impl Lease {
    /// A monitor that has just started and is not connected.
    pub fn new(me: Uuid, interval: Duration) -> Self {
        Self {
            me,
            interval,
            phase: Phase::Follower,
            seq: 0,
            underway: VecDeque::new(),
            confirmed: None,
            connected: None,
            leader: None,
            rival: None,
            mute: false,
            company: false,
            handled: Vec::new(),
            stood_by: None,
        }
    }

    /// How often [`tick`](Self::tick) wants to be called.
    pub fn period(interval: Duration) -> Duration {
        interval / 16
    }

    /// For how long after sending a leader may act on a message that came back.
    fn right(&self) -> Duration {
        self.interval.mul_f64(1.25)
    }

    /// What this monitor may do now.
    pub fn standing(&self, now: Instant) -> Standing {
        if self.leads(now) {
            return Standing::Leader;
        }
        let heard = |at: Instant| now.saturating_duration_since(at) < self.interval.mul_f64(1.5);
        let another = self.company && self.leader.is_some_and(heard) && !self.led();
        if another && self.connected.is_some() {
            Standing::Follower
        } else {
            Standing::Undecided
        }
    }

    fn led(&self) -> bool {
        matches!(self.phase, Phase::Leader { .. })
    }

    fn leads(&self, now: Instant) -> bool {
        if self.mute && !self.company {
            return true;
        }
        let fresh = |sent: Instant| now.saturating_duration_since(sent) < self.right();
        self.led() && self.confirmed.is_some_and(fresh)
    }

    /// Whether no other monitor was ever heard.
    pub fn alone(&self) -> bool {
        !self.company
    }

    /// Takes note that the connection stands or has broken.
    pub fn connection(&mut self, stands: bool, now: Instant) {
        match (stands, self.connected) {
            (true, None) => {
                self.connected = Some(now);
                // What was said in between nobody has heard.
                self.leader = None;
                self.phase = Phase::Follower;
            }
            (false, Some(_)) => {
                self.connected = None;
                self.phase = Phase::Follower;
                self.underway.clear();
            }
            _ => {}
        }
    }

    /// Takes note of whether the server lets us publish.
    pub fn muted(&mut self, mute: bool) {
        if mute && !self.mute {
            tracing::warn!(
                "NATS does not let this monitor publish: it cannot know of another on the same bus, and acts"
            );
            self.company = false;
        }
        self.mute = mute;
    }

    /// Ends the right to act until the next message comes back: the clocks disagree about how long ago the last one was.
    pub fn doubt(&mut self) {
        self.confirmed = None;
    }

    /// Takes note that an alert has been handed to the plugins.
    pub fn handled(&mut self, key: u64) {
        if self.handled.len() < HANDLED {
            self.handled.push(key);
        }
    }

    fn follow(&mut self, now: Instant) {
        self.phase = Phase::Follower;
        self.leader = Some(now);
    }

    /// A leader whose right has run out follows: another may lead by now.
    fn lapse(&mut self, now: Instant) {
        if self.led() && !self.leads(now) {
            tracing::warn!(
                "this monitor has not been heard by itself for too long, and no longer leads"
            );
            self.follow(now);
        }
    }

    /// What to say now.
    pub fn tick(&mut self, now: Instant) -> Option<Message> {
        self.lapse(now);
        let connected = self.connected?;
        let quiet = self.leader.map_or(connected, |heard| heard.max(connected));
        let long = |since: Instant, factor: f64| {
            now.saturating_duration_since(since) >= self.interval.mul_f64(factor)
        };
        match self.phase {
            Phase::Follower => {
                let calm = self.rival.is_none_or(|heard| long(heard, 0.25));
                if long(quiet, 1.5) && calm {
                    let message = self.say(Role::Candidate, now);
                    self.phase = Phase::Claimed {
                        first: message.seq,
                        at: now,
                    };
                    return Some(message);
                }
                let due = self.stood_by.is_none_or(|said| long(said, 1.));
                if due && self.leader.is_some() && !long(quiet, 1.) {
                    self.stood_by = Some(now);
                    return Some(self.say(Role::Standby, now));
                }
            }
            Phase::Claimed { first, at } => {
                let came_back = self.underway.iter().all(|(seq, _)| *seq > first);
                if came_back && long(at, 0.125) {
                    let message = self.say(Role::Claim, now);
                    self.phase = Phase::Claiming {
                        second: message.seq,
                        at: now,
                    };
                    return Some(message);
                }
                if long(at, 1.) {
                    self.phase = Phase::Follower;
                }
            }
            Phase::Claiming { at, .. } => {
                if long(at, 1.) {
                    self.phase = Phase::Follower;
                }
            }
            Phase::Leader { beat } => {
                // An alert that was handed on is told at once, and many together.
                let news = !self.handled.is_empty() && now > beat;
                if long(beat, 0.5) || news {
                    self.phase = Phase::Leader { beat: now };
                    return Some(self.say(Role::Leader, now));
                }
            }
        }
        None
    }

    /// The farewell of a leader that stops, and acts no more.
    pub fn farewell(&mut self, now: Instant) -> Option<Message> {
        let led = self.leads(now) && self.led();
        self.phase = Phase::Follower;
        led.then(|| self.say(Role::Gone, now))
    }

    /// Takes note of a message. Returns an answer, if it wants one.
    pub fn hear(&mut self, message: &Message, now: Instant) -> Option<Message> {
        self.lapse(now);
        if message.id == self.me {
            self.echo(message.seq, now);
            return None;
        }
        if !self.company {
            tracing::info!(other = %message.id, "there is another monitor on this bus");
            self.company = true;
        }
        match (message.role, self.phase) {
            (Role::Standby, _) => {}
            (Role::Gone, _) => {
                // Whoever is left needs no patience, unless it has just come.
                let patience = self.interval.mul_f64(1.5);
                self.leader = now.checked_sub(patience);
            }
            (Role::Leader, Phase::Leader { .. }) => {
                if message.id < self.me {
                    tracing::warn!(other = %message.id, "two monitors led; this one follows");
                    self.follow(now);
                }
            }
            (Role::Candidate | Role::Claim, Phase::Leader { .. }) => {
                self.phase = Phase::Leader { beat: now };
                return Some(self.say(Role::Leader, now));
            }
            // Whoever claims leads as soon as it hears itself.
            (Role::Leader | Role::Claim, _) => self.follow(now),
            (Role::Candidate, _) => {
                if message.id < self.me {
                    self.rival = Some(now);
                    self.phase = Phase::Follower;
                }
            }
        }
        None
    }

    fn echo(&mut self, seq: u64, now: Instant) {
        let Some(at) = self.underway.iter().position(|(sent, _)| *sent == seq) else {
            return;
        };
        let (_, sent) = self.underway[at];
        self.underway.drain(..=at);
        self.confirmed = self.confirmed.max(Some(sent));
        if let Phase::Claiming { second, .. } = self.phase
            && seq == second
        {
            // It says so at the next tick.
            let beat = now.checked_sub(self.interval).unwrap_or(now);
            self.phase = Phase::Leader { beat };
        }
    }

    fn say(&mut self, role: Role, now: Instant) -> Message {
        self.seq += 1;
        self.underway.push_back((self.seq, now));
        if self.underway.len() > UNDERWAY {
            self.underway.pop_front();
        }
        Message {
            id: self.me,
            seq: self.seq,
            role,
            handled: std::mem::take(&mut self.handled),
        }
    }
}

#[cfg(test)]
impl Lease {
    pub(super) fn phase_leader(&mut self, now: Instant) {
        self.phase = Phase::Leader { beat: now };
        self.confirmed = Some(now);
    }
}
