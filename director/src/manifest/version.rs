//! Versions of releases and stemcells: comparing them, and what `latest` stands for.
//!
//! Upstream: bosh/version/*.rb and the semi_semantic gem.

use std::cmp::Ordering;

/// A version: `release[-pre][+post]`, each of them components between dots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    release: Segment,
    pre: Option<Segment>,
    post: Option<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Segment(Vec<Component>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Component {
    Number(u128),
    Text(String),
}

impl Version {
    /// Reads a version; `None` when it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let (rest, post) = match text.split_once('+') {
            Some((rest, post)) => (rest, Some(Segment::parse(post)?)),
            None => (text, None),
        };
        let (release, pre) = match rest.split_once('-') {
            Some((release, pre)) => (release, Some(Segment::parse(pre)?)),
            None => (rest, None),
        };
        if release.contains('-') {
            return None;
        }
        Some(Self {
            release: Segment::parse(release)?,
            pre,
            post,
        })
    }

    /// Reads the version of a release: `1.2.3-dev` of old is `1.2+dev.3`.
    pub fn of_release(text: &str) -> Option<Self> {
        Self::parse(&modern(text))
    }

    /// Reads the version of a stemcell: underscores are dots.
    pub fn of_stemcell(text: &str) -> Option<Self> {
        Self::parse(&text.replace('_', "."))
    }

    /// Whether the first component of the release is the same.
    pub fn same_major(&self, other: &Self) -> bool {
        self.release.0.first() == other.release.0.first()
    }
}

/// A release's version in its present notation: `1.2.3-dev` is `1.2+dev.3`.
pub fn modern(text: &str) -> String {
    let old = text
        .strip_suffix("-dev")
        .and_then(|rest| rest.rsplit_once('.'))
        .filter(|(_, number)| {
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        });
    match old {
        Some((release, number)) => format!("{release}+dev.{number}"),
        None => text.to_owned(),
    }
}

/// A release's version in its notation of old, if it has one: `1.2+dev.3` is `1.2.3-dev`.
pub fn old(text: &str) -> Option<String> {
    let (release, number) = text.rsplit_once("+dev.")?;
    (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| format!("{release}.{number}-dev"))
}

impl Segment {
    fn parse(text: &str) -> Option<Self> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        text.split('.')
            .map(|part| {
                if part.is_empty() || !part.bytes().all(legal) {
                    None
                } else if part.bytes().all(|byte| byte.is_ascii_digit()) {
                    Some(
                        part.parse()
                            .map_or_else(|_| Component::Text(part.into()), Component::Number),
                    )
                } else {
                    Some(Component::Text(part.into()))
                }
            })
            .collect::<Option<Vec<_>>>()
            .map(Self)
    }
}

impl Ord for Component {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => a.cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Number(_), Self::Text(_)) => Ordering::Less,
            (Self::Text(_), Self::Number(_)) => Ordering::Greater,
        }
    }
}

impl PartialOrd for Component {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let pre = || match (&self.pre, &other.pre) {
            (Some(a), Some(b)) => a.0.cmp(&b.0),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        };
        let post = || match (&self.post, &other.post) {
            (Some(a), Some(b)) => a.0.cmp(&b.0),
            (Some(_), None) => Ordering::Greater,
            (None, Some(_)) => Ordering::Less,
            (None, None) => Ordering::Equal,
        };
        self.release
            .0
            .cmp(&other.release.0)
            .then_with(pre)
            .then_with(post)
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What a version that is to be looked up stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// This one.
    Exactly(&'a str),
    /// The greatest of all.
    Latest,
    /// The greatest of those that begin with this, as of `1.2.latest`.
    LatestOf(&'a str),
}

impl<'a> Wanted<'a> {
    /// Reads a version as written in a manifest.
    pub fn parse(text: &'a str) -> Self {
        match text.strip_suffix("latest") {
            Some("") => Self::Latest,
            Some(prefix) => match prefix.strip_suffix('.') {
                Some(prefix) if !prefix.is_empty() => Self::LatestOf(prefix),
                _ => Self::Exactly(text),
            },
            None => Self::Exactly(text),
        }
    }

    /// Whether `version` begins as wanted.
    pub fn admits(&self, version: &str) -> bool {
        match self {
            Self::Exactly(wanted) => *wanted == version,
            Self::Latest => true,
            Self::LatestOf(prefix) => version
                .strip_prefix(prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-', '+'])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_that_of_semi_semantic_versions() {
        let ascending = [
            "1",
            "1.0",
            "1.0.1",
            "1.1-rc.1",
            "1.1-rc.2",
            "1.1",
            "1.1+dev.1",
            "1.1+dev.10",
            "1.2",
            "10",
            "1a",
        ];
        for pair in ascending.windows(2) {
            let [a, b] = [Version::parse(pair[0]), Version::parse(pair[1])];
            assert!(a < b, "{} < {}", pair[0], pair[1]);
        }
        assert_eq!(
            Version::of_release("1.2.3-dev"),
            Version::parse("1.2+dev.3")
        );
        assert_eq!(Version::of_stemcell("1_5"), Version::parse("1.5"));
        assert_eq!(old("1.2+dev.3").as_deref(), Some("1.2.3-dev"));
        assert_eq!(Version::parse("a..b"), None);
        assert_eq!(Version::parse(""), None);
    }

    #[test]
    fn latest_takes_a_prefix_of_whole_components() {
        assert_eq!(Wanted::parse("latest"), Wanted::Latest);
        assert_eq!(Wanted::parse("1.2.latest"), Wanted::LatestOf("1.2"));
        assert_eq!(Wanted::parse("1.latest.2"), Wanted::Exactly("1.latest.2"));
        assert!(Wanted::LatestOf("1.2").admits("1.2.9"));
        assert!(Wanted::LatestOf("1.2").admits("1.2+dev.1"));
        assert!(!Wanted::LatestOf("1.2").admits("1.23"));
    }
}
