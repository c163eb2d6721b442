//! Decoding as leniently as Go does: `null` is the zero value, and a number passes where a short string is expected.

use serde::{Deserialize, Deserializer};

/// `null` decodes to `T::default()`; use together with `#[serde(default)]`.
pub(crate) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// A string, a number written as a string, or `null` for the empty string.
pub(crate) fn text<'de, D>(deserializer: D) -> Result<String, D::Error>
where
    D: Deserializer<'de>,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Text {
        String(String),
        Number(serde_json::Number),
    }
    Ok(match Option::<Text>::deserialize(deserializer)? {
        None => String::new(),
        Some(Text::String(text)) => text,
        Some(Text::Number(number)) => number.to_string(),
    })
}
