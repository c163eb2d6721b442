//! What can be wrong with a `stemcell.MF`.

/// Why a manifest was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is larger than [`crate::MAX_BYTES`].
    #[error("stemcell.MF is {size} bytes, expected at most {limit}")]
    TooLarge {
        /// Bytes found.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The file is not YAML, or its YAML cannot be held as JSON (a key that is not a string, for instance).
    #[error("stemcell.MF is not valid YAML")]
    Syntax(#[source] serde_yaml_ng::Error),
    /// The document is a list, a string or nothing. Upstream: code 40000.
    #[error("Object ({found}) did not match the required type 'Hash'")]
    NotAMapping {
        /// The document as JSON, shortened.
        found: String,
    },
    /// A required key is absent. Upstream: code 40001.
    #[error("Required property '{property}' was not specified in object ({object})")]
    MissingProperty {
        /// The key.
        property: &'static str,
        /// The document as JSON, shortened.
        object: String,
    },
    /// A key holds another type than expected. Upstream: code 40000.
    #[error("Property '{property}' value ({value}) did not match the required type '{expected}'")]
    WrongType {
        /// The key.
        property: &'static str,
        /// The value as JSON, shortened.
        value: String,
        /// The type by Ruby's name, as upstream's message has it: `String`, `Integer`, `Array`, `Hash`.
        expected: &'static str,
    },
    /// A key holds the right type but an unusable value.
    #[error("Property '{property}' value ({value}) is not usable: {reason}")]
    BadValue {
        /// The key.
        property: &'static str,
        /// The value as JSON, shortened.
        value: String,
        /// What was expected.
        reason: &'static str,
    },
}

/// JSON of `value` for a message, cut to a length a person reads.
pub(crate) fn shown(value: &serde_json::Value) -> String {
    const LIMIT: usize = 200;
    let text = value.to_string();
    if text.chars().count() <= LIMIT {
        return text;
    }
    let mut cut: String = text.chars().take(LIMIT).collect();
    cut.push('…');
    cut
}
