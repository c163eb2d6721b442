//! What was wrong with a message, and how often.

/// What a message claimed to be, by its subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `hm.agent.heartbeat.*`
    Heartbeat,
    /// `hm.agent.alert.*`
    Alert,
    /// `hm.agent.shutdown.*`
    Shutdown,
    /// `hm.director.alert`
    DirectorAlert,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Heartbeat,
        Self::Alert,
        Self::Shutdown,
        Self::DirectorAlert,
    ];

    /// Its name in the log and the metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Heartbeat => "heartbeat",
            Self::Alert => "alert",
            Self::Shutdown => "shutdown",
            Self::DirectorAlert => "director_alert",
        }
    }
}

/// Why a message is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not JSON.
    #[error("cannot parse incoming event: {0}")]
    Json(String),
    /// It is JSON of another shape than an object.
    #[error("invalid event: an object was expected: {0}")]
    Shape(String),
    /// A value is missing or of the wrong type.
    #[error("invalid event: {0}")]
    Invalid(String),
    /// The last part of its subject cannot be an agent's id.
    #[error("invalid event: the subject names no agent")]
    Subject,
    /// It is larger than any such message is.
    #[error("invalid event: {0} bytes are too many")]
    Size(usize),
    /// Too many agents that no deployment has are known already.
    #[error("too many agents are not part of any deployment")]
    Strangers,
    /// The same has come before.
    #[error("it has come before")]
    Duplicate,
}

impl Refusal {
    /// What a parser's error means.
    pub fn json(error: &serde_json::Error) -> Self {
        if error.is_data() {
            Self::Shape(error.to_string())
        } else {
            Self::Json(error.to_string())
        }
    }

    /// The names of all refusals in the metrics.
    pub const NAMES: [&str; 7] = [
        "not_json",
        "not_an_object",
        "invalid",
        "bad_subject",
        "oversized",
        "too_many_unmanaged",
        "duplicate",
    ];

    fn index(&self) -> usize {
        match self {
            Self::Json(_) => 0,
            Self::Shape(_) => 1,
            Self::Invalid(_) => 2,
            Self::Subject => 3,
            Self::Size(_) => 4,
            Self::Strangers => 5,
            Self::Duplicate => 6,
        }
    }
}

/// Messages by kind, taken and refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    taken: [u64; Kind::ALL.len()],
    refused: [[u64; Refusal::NAMES.len()]; Kind::ALL.len()],
}

impl Tally {
    /// Counts a message that was taken.
    pub fn take(&mut self, kind: Kind) {
        self.taken[kind as usize] += 1;
    }

    /// Counts a message that was refused; returns how many were for the same reason, this one included.
    pub fn refuse(&mut self, kind: Kind, refusal: &Refusal) -> u64 {
        let count = &mut self.refused[kind as usize][refusal.index()];
        *count += 1;
        *count
    }

    /// How many messages of a kind were taken.
    pub fn taken(&self, kind: Kind) -> u64 {
        self.taken[kind as usize]
    }

    /// (kind, [reason](Refusal::NAMES), count) of everything that was refused.
    pub fn refused(&self) -> impl Iterator<Item = (Kind, &'static str, u64)> + '_ {
        Kind::ALL.into_iter().flat_map(move |kind| {
            let counts = self.refused[kind as usize].into_iter();
            let named = Refusal::NAMES.into_iter().zip(counts);
            named.map(move |(name, count)| (kind, name, count))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_counted_by_kind_and_reason() {
        let mut tally = Tally::default();
        tally.take(Kind::Alert);
        tally.refuse(Kind::Heartbeat, &Refusal::Strangers);
        assert_eq!(tally.refuse(Kind::Heartbeat, &Refusal::Strangers), 2);
        let counted: Vec<_> = tally.refused().filter(|(.., count)| *count > 0).collect();
        assert_eq!(counted, [(Kind::Heartbeat, "too_many_unmanaged", 2)]);
        assert_eq!(
            (tally.taken(Kind::Alert), tally.taken(Kind::Heartbeat)),
            (1, 0)
        );
    }
}
