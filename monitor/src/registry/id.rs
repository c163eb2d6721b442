//! Ids of agents and instances. Nearly all are UUIDs, which take no memory beside their 16 bytes.

use std::fmt;

use serde::{Deserialize, Deserializer};

/// An id as the director or an agent writes it. Two are equal where their texts are.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Id {
    /// A UUID in its canonical form: lower case, with hyphens.
    Uuid([u8; 16]),
    /// Anything else.
    Text(Box<str>),
}

/// Where the hyphens of a UUID are.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

impl Id {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Text(text) if text.is_empty())
    }

    fn uuid(text: &[u8]) -> Option<[u8; 16]> {
        if text.len() != 36 {
            return None;
        }
        let (mut bytes, mut digits) = ([0; 16], 0);
        for (at, digit) in text.iter().enumerate() {
            if HYPHENS.contains(&at) {
                if *digit != b'-' {
                    return None;
                }
                continue;
            }
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return None,
            };
            bytes[digits / 2] |= if digits % 2 == 0 { value << 4 } else { value };
            digits += 1;
        }
        Some(bytes)
    }
}

impl From<&str> for Id {
    fn from(text: &str) -> Self {
        match Self::uuid(text.as_bytes()) {
            Some(bytes) => Self::Uuid(bytes),
            None => Self::Text(text.into()),
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uuid(bytes) => uuid::Uuid::from_bytes(*bytes).fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Id;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an id")
            }

            fn visit_str<E>(self, text: &str) -> Result<Id, E> {
                Ok(text.into())
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_kept_as_it_is() {
        for text in [
            "0b6c9a7e-1111-4000-8000-0000000000ff",
            "0B6C9A7E-1111-4000-8000-0000000000FF",
            "0b6c9a7e-1111-4000-8000-0000000000fg",
            "0b6c9a7e1111-4000-8000-0000000000ff--",
            "007",
            "",
            "агент",
        ] {
            assert_eq!(Id::from(text).to_string(), text);
        }
        assert!(matches!(
            Id::from("0b6c9a7e-1111-4000-8000-0000000000ff"),
            Id::Uuid(_)
        ));
        assert_eq!(size_of::<Option<Id>>(), 24);
    }
}
