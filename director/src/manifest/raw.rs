//! A document as it was written: reading it, and looking into it with upstream's complaints.
//!
//! Everything behind this module is a [`serde_json::Value`], whose objects keep their order.
//!
//! Upstream: validation_helper.rb.

use std::borrow::Cow;

use serde_json::{Map, Number, Value};

use super::error::{Error, Kind};

/// Most brackets that may be open at once, those in texts included.
const DEPTH: usize = 5_000;

/// Reads a YAML document. Aliases and merge keys are resolved; an empty document is null; keys that are not
/// strings become strings.
pub fn parse(text: &str) -> Result<Value, Error> {
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    let invalid = |error: serde_yaml_ng::Error| {
        Error::new(
            Kind::InvalidYaml,
            format!("Incorrect YAML structure of the uploaded manifest: {error}"),
        )
    };
    if is_deep(text) {
        return Err(Error::new(
            Kind::InvalidYaml,
            "Incorrect YAML structure of the uploaded manifest: nested too deeply",
        ));
    }
    let text = super::yaml11::modern(text);
    let mut yaml: serde_yaml_ng::Value = serde_yaml_ng::from_str(&text).map_err(invalid)?;
    yaml.apply_merge().map_err(invalid)?;
    from_yaml(yaml)
}

/// Whether far more brackets are opened than closed: no document goes so deep, and the parser's time grows with the
/// square of the depth before it says so.
fn is_deep(text: &str) -> bool {
    let mut depth = 0_usize;
    text.bytes().any(|byte| {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > DEPTH
    })
}

/// Writes a document as YAML, without the leading `---`.
pub fn to_yaml(value: &Value) -> Result<String, Error> {
    serde_yaml_ng::to_string(value)
        .map_err(|error| Error::new(Kind::InvalidYaml, error.to_string()))
}

fn from_yaml(value: serde_yaml_ng::Value) -> Result<Value, Error> {
    use serde_yaml_ng::Value as Yaml;
    Ok(match value {
        Yaml::Null => Value::Null,
        Yaml::Bool(value) => Value::Bool(value),
        Yaml::Number(number) => {
            if let Some(number) = number.as_i64() {
                Value::Number(number.into())
            } else if let Some(number) = number.as_u64() {
                Value::Number(number.into())
            } else {
                let float = number.as_f64().unwrap_or(f64::NAN);
                Number::from_f64(float)
                    .map_or_else(|| Value::String(number.to_string()), Value::Number)
            }
        }
        Yaml::String(text) => Value::String(text),
        Yaml::Sequence(items) => {
            Value::Array(items.into_iter().map(from_yaml).collect::<Result<_, _>>()?)
        }
        Yaml::Mapping(mapping) => {
            let mut map = Map::new();
            for (key, value) in mapping {
                map.insert(key_text(key)?, from_yaml(value)?);
            }
            Value::Object(map)
        }
        Yaml::Tagged(tagged) => from_yaml(tagged.value)?,
    })
}

fn key_text(key: serde_yaml_ng::Value) -> Result<String, Error> {
    match from_yaml(key)? {
        Value::String(text) => Ok(text),
        Value::Null => Ok(String::new()),
        Value::Array(_) | Value::Object(_) => Err(Error::new(
            Kind::InvalidYaml,
            "Incorrect YAML structure of the uploaded manifest: a key must be a scalar",
        )),
        scalar => Ok(scalar.to_string()),
    }
}

/// A mapping as written, looked into key by key.
#[derive(Debug, Clone, Copy)]
pub struct Section<'a> {
    map: Option<&'a Map<String, Value>>,
}

static NOTHING: Value = Value::Null;

impl<'a> Section<'a> {
    /// A view of `value`, which has to be a mapping or null.
    pub fn of(value: &'a Value) -> Result<Self, Error> {
        match value {
            Value::Object(map) => Ok(Self { map: Some(map) }),
            Value::Null => Ok(Self { map: None }),
            other => Err(Error::new(
                Kind::ValidationInvalidType,
                format!(
                    "Object ({}) did not match the required type 'Hash'",
                    inspect(other)
                ),
            )),
        }
    }

    /// A view of a mapping.
    pub fn over(map: &'a Map<String, Value>) -> Self {
        Self { map: Some(map) }
    }

    /// All of it; empty for a null.
    pub fn to_map(self) -> Map<String, Value> {
        self.map.cloned().unwrap_or_default()
    }

    /// Whether `key` is written, be it with a null.
    pub fn has(&self, key: &str) -> bool {
        self.map.is_some_and(|map| map.contains_key(key))
    }

    /// The value of `key` if it is written.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.and_then(|map| map.get(key))
    }

    /// The value of `key`, null if it is not written.
    pub fn value(&self, key: &str) -> &'a Value {
        self.get(key).unwrap_or(&NOTHING)
    }

    /// The value of `key`, which has to be written.
    pub fn required(&self, key: &str) -> Result<&'a Value, Error> {
        self.get(key).ok_or_else(|| {
            let whole = self
                .map
                .map_or(Cow::Borrowed("nil"), |map| Cow::Owned(inspect_map(map)));
            Error::new(
                Kind::ValidationMissingField,
                format!("Required property '{key}' was not specified in object ({whole})"),
            )
        })
    }

    /// A string; a number will do.
    pub fn string(&self, key: &str) -> Result<String, Error> {
        text(key, self.required(key)?)
    }

    /// A string, if written.
    pub fn optional_string(&self, key: &str) -> Result<Option<String>, Error> {
        self.get(key).map(|value| text(key, value)).transpose()
    }

    /// An integer.
    pub fn integer(&self, key: &str) -> Result<i64, Error> {
        integer(key, self.required(key)?)
    }

    /// An integer, if written.
    pub fn optional_integer(&self, key: &str) -> Result<Option<i64>, Error> {
        self.get(key).map(|value| integer(key, value)).transpose()
    }

    /// A boolean, if written.
    pub fn optional_boolean(&self, key: &str) -> Result<Option<bool>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(invalid_type(key, other, "boolean")),
        }
    }

    /// A list.
    pub fn array(&self, key: &str) -> Result<&'a [Value], Error> {
        array(key, self.required(key)?)
    }

    /// A list, if written.
    pub fn optional_array(&self, key: &str) -> Result<Option<&'a [Value]>, Error> {
        self.get(key).map(|value| array(key, value)).transpose()
    }

    /// A list; an empty one if not written.
    pub fn array_or_empty(&self, key: &str) -> Result<&'a [Value], Error> {
        Ok(self.optional_array(key)?.unwrap_or_default())
    }

    /// A mapping.
    pub fn hash(&self, key: &str) -> Result<&'a Map<String, Value>, Error> {
        hash(key, self.required(key)?)
    }

    /// A mapping, if written.
    pub fn optional_hash(&self, key: &str) -> Result<Option<&'a Map<String, Value>>, Error> {
        self.get(key).map(|value| hash(key, value)).transpose()
    }

    /// A copy of a mapping; an empty one if not written.
    pub fn hash_or_empty(&self, key: &str) -> Result<Map<String, Value>, Error> {
        Ok(self.optional_hash(key)?.cloned().unwrap_or_default())
    }
}

fn invalid_type(key: &str, value: &Value, class: &str) -> Error {
    Error::new(
        Kind::ValidationInvalidType,
        format!(
            "Property '{key}' value ({}) did not match the required type '{class}'",
            inspect(value)
        ),
    )
}

fn text(key: &str, value: &Value) -> Result<String, Error> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        other => Err(invalid_type(key, other, "String")),
    }
}

fn integer(key: &str, value: &Value) -> Result<i64, Error> {
    value
        .as_i64()
        .ok_or_else(|| invalid_type(key, value, "Integer"))
}

fn array<'a>(key: &str, value: &'a Value) -> Result<&'a [Value], Error> {
    match value {
        Value::Array(items) => Ok(items),
        other => Err(invalid_type(key, other, "Array")),
    }
}

fn hash<'a>(key: &str, value: &'a Value) -> Result<&'a Map<String, Value>, Error> {
    match value {
        Value::Object(map) => Ok(map),
        other => Err(invalid_type(key, other, "Hash")),
    }
}

/// A value as it stands in upstream's messages: the notation of Ruby's `inspect`.
pub fn inspect(value: &Value) -> String {
    match value {
        Value::Null => "nil".into(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => inspect_str(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(inspect).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(map) => inspect_map(map),
    }
}

fn inspect_map(map: &Map<String, Value>) -> String {
    let entries: Vec<String> = map
        .iter()
        .map(|(key, value)| format!("{} => {}", inspect_str(key), inspect(value)))
        .collect();
    format!("{{{}}}", entries.join(", "))
}

fn inspect_str(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '#' => out.push('#'),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// The name of a value's class, as it stands in upstream's messages.
pub fn class(value: &Value) -> &'static str {
    match value {
        Value::Null => "NilClass",
        Value::Bool(true) => "TrueClass",
        Value::Bool(false) => "FalseClass",
        Value::Number(number) if number.is_f64() => "Float",
        Value::Number(_) => "Integer",
        Value::String(_) => "String",
        Value::Array(_) => "Array",
        Value::Object(_) => "Hash",
    }
}

/// Merges `over` into `base`; mappings are merged key by key, all else is replaced.
pub fn merge(base: &mut Map<String, Value>, over: &Map<String, Value>) {
    for (key, value) in over {
        match (base.get_mut(key), value) {
            (Some(Value::Object(below)), Value::Object(above)) => merge(below, above),
            (Some(slot), value) => *slot = value.clone(),
            (None, value) => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

/// The form of a name that DNS allows: lower case, hyphens for underscores, nothing else.
///
/// Upstream: canonicalizer.rb.
pub fn canonical(name: &str) -> Result<String, Error> {
    let canonical: String = name
        .to_lowercase()
        .chars()
        .map(|character| if character == '_' { '-' } else { character })
        .filter(|character| matches!(character, 'a'..='z' | '0'..='9' | '-'))
        .collect();
    for (bad, end) in [
        (canonical.starts_with('-'), "start"),
        (canonical.ends_with('-'), "end"),
    ] {
        if bad {
            return Err(Error::new(
                Kind::DnsInvalidCanonicalName,
                format!("Invalid DNS canonical name '{canonical}', cannot {end} with a hyphen"),
            ));
        }
    }
    Ok(canonical)
}
