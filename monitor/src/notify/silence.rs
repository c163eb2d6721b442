//! Silences: alerts that nobody is to hear of until a given time. Kept on disk, so that a restart ends none.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::journal;
use super::matcher::Matcher;
use crate::event::Alert;

/// The most silences at a time.
pub const MOST: usize = 1_000;

/// The longest silence, in seconds.
pub const LONGEST: i64 = 366 * 86_400;

/// How long a comment may be, in bytes.
const COMMENT: usize = 1_000;

/// One silence.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Silence {
    /// Made by the store.
    pub id: String,
    /// From when, in seconds since the epoch.
    pub from: i64,
    /// Until when, exclusive.
    pub until: i64,
    /// Which alerts.
    pub matcher: Matcher,
    /// Why.
    #[serde(default)]
    pub comment: String,
    /// Who asked for it.
    #[serde(default)]
    pub by: String,
}

/// What a silence is asked for with.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Which alerts; asking for all of them takes `all`.
    #[serde(default)]
    pub matcher: Matcher,
    /// Whether an empty matcher is meant.
    #[serde(default)]
    pub all: bool,
    /// Until when, in seconds since the epoch; this or `seconds`.
    pub until: Option<i64>,
    /// For how long, from now on.
    pub seconds: Option<i64>,
    /// Why.
    #[serde(default)]
    pub comment: String,
    /// Who asks.
    #[serde(default)]
    pub by: String,
}

/// Why there is no such silence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It has no end, or two.
    #[error("expected either until or seconds")]
    End,
    /// It ends before it begins, or far away.
    #[error("until: expected a time within the next 366 days")]
    Until,
    /// It would be for everything, unasked.
    #[error("matcher: expected a condition, or all: true")]
    Matcher,
    /// It says too much.
    #[error("comment, by: expected at most {COMMENT} bytes")]
    Comment,
    /// There are too many.
    #[error("expected at most {MOST} silences at a time")]
    TooMany,
    /// It could not be kept.
    #[error("keeping the silences: {0}")]
    Kept(String),
}

/// The store; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Silences {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    file: Option<PathBuf>,
    silences: Mutex<Vec<Silence>>,
}

impl Silences {
    /// A store in this file, with what is in it. A file that cannot be read is an error: silences that people rely on must
    /// not be forgotten in silence.
    pub fn open(file: Option<PathBuf>) -> std::io::Result<Self> {
        let silences = match &file {
            Some(file) => match std::fs::read(file) {
                Ok(text) => serde_json::from_slice(&text).map_err(std::io::Error::other)?,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
                Err(error) => return Err(error),
            },
            None => Vec::new(),
        };
        let shared = Shared {
            file,
            silences: Mutex::new(silences),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    fn silences(&self) -> std::sync::MutexGuard<'_, Vec<Silence>> {
        self.shared
            .silences
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that hold at `now`, the first to end first.
    pub fn list(&self, now: i64) -> Vec<Silence> {
        let mut silences = self.silences().clone();
        silences.retain(|silence| silence.until > now);
        silences.sort_by_key(|silence| silence.until);
        silences
    }

    /// Adds one and keeps it on disk before it returns.
    pub fn add(&self, request: Request, now: i64) -> Result<Silence, Invalid> {
        let until = match (request.until, request.seconds) {
            (Some(until), None) => until,
            (None, Some(seconds)) => now.saturating_add(seconds),
            _ => return Err(Invalid::End),
        };
        if until <= now || until > now.saturating_add(LONGEST) {
            return Err(Invalid::Until);
        }
        if request.matcher.is_empty() && !request.all {
            return Err(Invalid::Matcher);
        }
        if request.comment.len() > COMMENT || request.by.len() > COMMENT {
            return Err(Invalid::Comment);
        }
        let silence = Silence {
            id: uuid::Uuid::new_v4().to_string(),
            from: now,
            until,
            matcher: request.matcher,
            comment: request.comment,
            by: request.by,
        };
        self.change(now, |silences| {
            if silences.len() >= MOST {
                return Err(Invalid::TooMany);
            }
            silences.push(silence.clone());
            Ok(silence)
        })
    }

    /// Ends one now. `false` where there is none of that id.
    pub fn end(&self, id: &str, now: i64) -> Result<bool, Invalid> {
        self.change(now, |silences| {
            let before = silences.len();
            silences.retain(|silence| silence.id != id);
            Ok(silences.len() < before)
        })
    }

    /// Whether an alert is silenced.
    pub fn silenced(&self, alert: &Alert, now: i64) -> bool {
        self.silences().iter().any(|silence| {
            (silence.from..silence.until).contains(&now) && silence.matcher.alert(alert)
        })
    }

    fn change<T>(
        &self,
        now: i64,
        change: impl FnOnce(&mut Vec<Silence>) -> Result<T, Invalid>,
    ) -> Result<T, Invalid> {
        let mut silences = self.silences();
        let mut changed = silences.clone();
        changed.retain(|silence| silence.until > now);
        let outcome = change(&mut changed)?;
        if let Some(file) = &self.shared.file {
            let text =
                serde_json::to_vec(&changed).map_err(|error| Invalid::Kept(error.to_string()))?;
            journal::replace(file, &text).map_err(|error| Invalid::Kept(error.to_string()))?;
        }
        *silences = changed;
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> Request {
        serde_json::from_str(text).unwrap()
    }

    fn alert(deployment: &str) -> Alert {
        Alert {
            deployment: Some(deployment.to_owned()),
            ..Alert::new(2, "t", 0)
        }
    }

    #[test]
    fn a_silence_has_an_end_and_outlives_the_store() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("silences.json");
        let silences = Silences::open(Some(file.clone())).unwrap();
        let silence = silences
            .add(
                request(
                    r#"{"matcher": {"deployment": "cf"}, "seconds": 60, "comment": "upgrade"}"#,
                ),
                100,
            )
            .unwrap();
        assert_eq!(silence.until, 160);
        let again = Silences::open(Some(file.clone())).unwrap();
        for silences in [&silences, &again] {
            assert!(silences.silenced(&alert("cf"), 159));
            assert!(!silences.silenced(&alert("cf"), 160));
            assert!(!silences.silenced(&alert("other"), 159));
            assert_eq!(silences.list(159), std::slice::from_ref(&silence));
            assert!(silences.list(160).is_empty());
        }
        assert_eq!(again.end("nobody", 120), Ok(false));
        assert_eq!(again.end(&silence.id, 120), Ok(true));
        assert!(Silences::open(Some(file)).unwrap().list(120).is_empty());
    }

    #[test]
    fn nonsense_is_refused() {
        let silences = Silences::default();
        let refused = |text: &str| silences.add(request(text), 100).unwrap_err();
        assert_eq!(refused(r#"{"all": true}"#), Invalid::End);
        assert_eq!(
            refused(r#"{"all": true, "until": 200, "seconds": 5}"#),
            Invalid::End
        );
        assert_eq!(refused(r#"{"all": true, "until": 100}"#), Invalid::Until);
        assert_eq!(
            refused(r#"{"all": true, "seconds": 9223372036854775807}"#),
            Invalid::Until
        );
        assert_eq!(refused(r#"{"seconds": 5}"#), Invalid::Matcher);
        assert!(
            silences
                .add(request(r#"{"all": true, "seconds": 5}"#), 100)
                .is_ok()
        );
        for _ in 1..MOST {
            silences
                .add(request(r#"{"all": true, "seconds": 5}"#), 100)
                .unwrap();
        }
        assert_eq!(refused(r#"{"all": true, "seconds": 5}"#), Invalid::TooMany);
        assert!(
            silences
                .add(request(r#"{"all": true, "seconds": 5}"#), 105)
                .is_ok(),
            "those that ended are gone"
        );
        assert!(serde_json::from_str::<Request>(r#"{"matchers": {}}"#).is_err());
    }

    #[test]
    fn what_cannot_be_kept_is_not_so() {
        let dir = tempfile::tempdir().unwrap();
        let silences = Silences::open(Some(dir.path().join("not/there.json"))).unwrap();
        let refused = silences.add(request(r#"{"all": true, "seconds": 5}"#), 100);
        assert!(matches!(refused, Err(Invalid::Kept(_))), "{refused:?}");
        assert!(silences.list(100).is_empty());
        std::fs::write(dir.path().join("torn"), "[{").unwrap();
        assert!(Silences::open(Some(dir.path().join("torn"))).is_err());
    }
}
