//! A mass outage: many agents that fall silent at about the same time. That is the network, the bus or a data centre, and not
//! so many broken VMs: it is one alert, and none of their VMs are repaired for it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::agents::late;
use crate::event::Alert;
use crate::registry::{Agent, Registry};

/// What counts as one.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Fewer agents than this never are one.
    pub minimum_agents: usize,
    /// The share of all agents, between 0 and 1, from which on they are.
    pub percent_threshold: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            minimum_agents: 10,
            percent_threshold: 0.2,
        }
    }
}

/// One that is on.
#[derive(Clone, Debug, PartialEq)]
pub struct Outage {
    /// When it was noticed.
    pub since: Instant,
    /// Who fell silent before this is not part of it.
    floor: Instant,
    /// Whether people have been told.
    pub told: bool,
}

impl Outage {
    /// Whether an agent's silence is part of it.
    pub fn covers(&self, registry: &Registry, agent: &Agent, now: Instant) -> bool {
        now - registry.silence(agent, now) >= self.floor
    }
}

/// A deployment's place among all, and an availability zone.
type Whereabouts = (u32, Option<std::sync::Arc<str>>);

/// How many are silent, and where.
#[derive(Debug)]
pub struct Toll {
    late: Duration,
    floor: Instant,
    /// Agents of deployments that no task is changing.
    total: usize,
    /// Those of them that are late, and fell silent together with the others.
    silent: usize,
    /// (deployment, availability zone) -> (silent, total).
    places: BTreeMap<Whereabouts, (usize, usize)>,
    names: Vec<std::sync::Arc<str>>,
}

impl Toll {
    /// An empty one; [`count`](Self::count) fills it.
    pub fn new(
        registry: &Registry,
        timeout: Duration,
        before: Option<&Outage>,
        now: Instant,
    ) -> Self {
        // Everyone who speaks at least twice in `timeout` and falls silent at one moment is late within this of each other.
        let window = 2 * timeout;
        let names = registry.deployments().iter();
        Self {
            late: late(timeout),
            floor: before.map_or_else(
                || now.checked_sub(window).unwrap_or(now),
                |outage| outage.floor,
            ),
            total: 0,
            silent: 0,
            places: BTreeMap::new(),
            names: names.map(|deployment| deployment.name.clone()).collect(),
        }
    }

    /// Counts an agent of a deployment that no task is changing.
    pub fn count(&mut self, registry: &Registry, agent: &Agent, now: Instant) {
        let (Some(place), Some((_, instance))) = (agent.place(), registry.instance(agent)) else {
            return;
        };
        let silence = registry.silence(agent, now);
        let silent = silence > self.late && now - silence >= self.floor;
        let (deployment, _) = place.order();
        let (down, total) = self
            .places
            .entry((deployment, instance.az.clone()))
            .or_default();
        *total += 1;
        self.total += 1;
        if silent {
            *down += 1;
            self.silent += 1;
        }
    }
}

/// Whether there is one. It begins when enough agents are late and one of them has timed out, and ends when not even half
/// as many are late any more.
pub fn judge(
    limits: &Limits,
    before: Option<&Outage>,
    toll: &Toll,
    timed_out: bool,
    now: Instant,
) -> Option<Outage> {
    let share = (toll.total as f64 * limits.percent_threshold).ceil() as usize;
    let enough = limits.minimum_agents.max(share).max(1);
    match before {
        Some(outage) if toll.silent >= enough.div_ceil(2) => Some(outage.clone()),
        Some(_) => None,
        None if timed_out && toll.silent >= enough => Some(Outage {
            since: now,
            floor: toll.floor,
            told: false,
        }),
        None => None,
    }
}

/// How many deployments and zones an alert names.
const NAMED: usize = 20;

/// The alert that says so.
pub fn alert(_: &Outage, toll: &Toll, wall: i64) -> Alert {
    let Toll { silent, total, .. } = toll;
    let mut places: Vec<_> = toll
        .places
        .iter()
        .filter(|(_, (down, _))| *down > 0)
        .collect();
    places.sort_by_key(|(_, (down, _))| std::cmp::Reverse(*down));
    let more = places.len().saturating_sub(NAMED);
    let mut named: Vec<String> = places
        .into_iter()
        .take(NAMED)
        .map(|((deployment, az), (down, of))| {
            let name = toll.names.get(*deployment as usize).map_or("", |name| name);
            let az = az
                .as_ref()
                .map(|az| format!(" in {az}"))
                .unwrap_or_default();
            format!("{name}{az}: {down} of {of}")
        })
        .collect();
    if more > 0 {
        named.push(format!("{more} more"));
    }
    let summary = format!(
        "{silent} of {total} agents fell silent at about the same time, as they do when the network or the message bus between them \
         and the health monitor is down. They are not reported one by one, and their VMs are not repaired, until most of them \
         speak again. {}",
        named.join("; ")
    );
    Alert {
        summary,
        source: Some("hm".to_owned()),
        key: Some("outage/mass".to_owned()),
        ..Alert::new(
            1,
            format!("Mass outage: {silent} of {total} agents are silent"),
            wall,
        )
    }
}
