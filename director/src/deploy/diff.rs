//! What a deploy would change in the manifest, line by line, as the CLI shows it and asks about it.
//!
//! A line is its text and `added`, `removed` or nothing. Values below `properties` and `bosh` are redacted unless asked
//! for, as are credentials in URLs of releases.
//!
//! Upstream: manifest/{changeset,diff_lines,redactor,manifest}.rb.

mod merged;
mod redact;
#[cfg(test)]
mod tests;
mod yaml;

use serde::Serialize;
use serde_json::{Map, Value, json};

pub use merged::{Side, manifests};
pub use redact::redact;

/// What became of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
}

impl Status {
    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
        }
    }
}

/// A line of a diff. On the wire: `[text, status]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    indent: usize,
    text: String,
    /// What became of it; nothing for a line that only says where we are.
    pub status: Option<Status>,
}

impl Line {
    /// The line as it is shown.
    pub fn text(&self) -> String {
        format!("{}{}", "  ".repeat(self.indent), self.text)
    }
}

impl Serialize for Line {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.text(), self.status).serialize(serializer)
    }
}

/// Lines that lead from one document to another, sections in upstream's order.
pub fn lines(before: &Value, after: &Value, redacted: bool) -> Vec<Line> {
    let empty = Map::new();
    let hide = |value: &Value| {
        if redacted {
            redact(value)
        } else {
            value.clone()
        }
    };
    let (shown_before, shown_after) = (hide(before), hide(after));
    let map = |value| match value {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    let (shown_before, shown_after) = (map(shown_before), map(shown_after));
    let set = Changeset {
        before: before.as_object().unwrap_or(&empty),
        after: after.as_object().unwrap_or(&empty),
        shown_before: &shown_before,
        shown_after: &shown_after,
    };
    ordered(set.diff(0))
}

/// Two mappings to compare, and the same two as they may be shown.
struct Changeset<'a> {
    before: &'a Map<String, Value>,
    after: &'a Map<String, Value>,
    shown_before: &'a Map<String, Value>,
    shown_after: &'a Map<String, Value>,
}

static NOTHING: Value = Value::Null;

fn of<'a>(map: &'a Map<String, Value>, key: &str) -> &'a Value {
    map.get(key).unwrap_or(&NOTHING)
}

fn entry(key: &str, value: &Value) -> Value {
    json!({ key: value })
}

impl Changeset<'_> {
    fn diff(&self, indent: usize) -> Vec<Line> {
        let mut lines = Vec::new();
        let new = self
            .after
            .keys()
            .filter(|key| !self.before.contains_key(*key));
        for key in self.before.keys().chain(new) {
            let (before, after) = (of(self.before, key), of(self.after, key));
            if before == after {
                continue;
            }
            let shown = (of(self.shown_before, key), of(self.shown_after, key));
            match (before, after) {
                (Value::Null, _) => {
                    push(
                        &mut lines,
                        &entry(key, shown.1),
                        indent,
                        Some(Status::Added),
                    );
                }
                (_, Value::Null) => {
                    push(
                        &mut lines,
                        &entry(key, shown.0),
                        indent,
                        Some(Status::Removed),
                    );
                }
                (Value::Array(before), Value::Array(after)) => {
                    let items = |value: &'_ Value| value.as_array().cloned().unwrap_or_default();
                    let inner = compare(before, after, &items(shown.0), &items(shown.1), indent);
                    headed(&mut lines, key, inner, indent);
                }
                (Value::Object(before), Value::Object(after)) => {
                    let empty = Map::new();
                    let set = Changeset {
                        before,
                        after,
                        shown_before: shown.0.as_object().unwrap_or(&empty),
                        shown_after: shown.1.as_object().unwrap_or(&empty),
                    };
                    headed(&mut lines, key, set.diff(indent + 1), indent);
                }
                _ => {
                    push(
                        &mut lines,
                        &entry(key, shown.0),
                        indent,
                        Some(Status::Removed),
                    );
                    push(
                        &mut lines,
                        &entry(key, shown.1),
                        indent,
                        Some(Status::Added),
                    );
                }
            }
        }
        lines
    }
}

fn headed(lines: &mut Vec<Line>, key: &str, inner: Vec<Line>, indent: usize) {
    if !inner.is_empty() {
        lines.push(Line {
            indent,
            text: format!("{key}:"),
            status: None,
        });
        lines.extend(inner);
    }
}

fn push(lines: &mut Vec<Line>, value: &Value, indent: usize, status: Option<Status>) {
    lines.extend(yaml::lines(value).into_iter().map(|text| Line {
        indent,
        text,
        status,
    }));
}

/// An element with the form in which it may be shown.
type Pair<'a> = (&'a Value, &'a Value);

fn compare(
    before: &[Value],
    after: &[Value],
    shown_before: &[Value],
    shown_after: &[Value],
    indent: usize,
) -> Vec<Line> {
    let old: Vec<Pair<'_>> = before.iter().zip(shown_before).collect();
    let new: Vec<Pair<'_>> = after.iter().zip(shown_after).collect();
    let added: Vec<Pair<'_>> = new
        .iter()
        .filter(|pair| !old.contains(pair))
        .copied()
        .collect();
    let mut removed: Vec<Pair<'_>> = old
        .iter()
        .filter(|pair| !new.contains(pair))
        .copied()
        .collect();
    let mut lines = Vec::new();
    for (value, shown) in &added {
        let known_by = if value.is_object() {
            ["name", "range"].into_iter().find(|key| {
                let all = added.iter().chain(&removed);
                all.filter(|(value, _)| !value.is_null())
                    .all(|(value, _)| has(value, key))
            })
        } else {
            None
        };
        let former = known_by.and_then(|key| {
            let at = removed
                .iter()
                .position(|(old, _)| old.get(key) == value.get(key))?;
            Some((key, removed[at]))
        });
        let (Some((key, former)), Value::Object(after)) = (former, value) else {
            push(&mut lines, &json!([shown]), indent, Some(Status::Added));
            continue;
        };
        removed.retain(|pair| *pair != former);
        let empty = Map::new();
        let set = Changeset {
            before: former.0.as_object().unwrap_or(&empty),
            after,
            shown_before: former.1.as_object().unwrap_or(&empty),
            shown_after: shown.as_object().unwrap_or(&empty),
        };
        let inner = set.diff(indent + 1);
        if !inner.is_empty() {
            let name = shown.get(key).unwrap_or(&NOTHING);
            push(&mut lines, &json!([entry(key, name)]), indent, None);
            lines.extend(inner);
        }
    }
    if !removed.is_empty() {
        let shown: Vec<&Value> = removed.iter().map(|(_, shown)| *shown).collect();
        push(&mut lines, &json!(shown), indent, Some(Status::Removed));
    }
    lines
}

/// Ruby's `element[key]`, which on a string looks for a part of it.
fn has(value: &Value, key: &str) -> bool {
    match value {
        Value::Object(map) => map
            .get(key)
            .is_some_and(|value| !matches!(value, Value::Null | Value::Bool(false))),
        Value::String(text) => text.contains(key),
        _ => false,
    }
}

const ORDER: [&str; 15] = [
    "azs:",
    "vm_types:",
    "vm_extensions:",
    "resource_pools:",
    "compilation:",
    "networks:",
    "disk_types:",
    "name:",
    "stemcells:",
    "releases:",
    "update:",
    "jobs:",
    "release:",
    "addons:",
    "variables:",
];

/// Sections in the order that operators are used to, an empty line between them.
fn ordered(lines: Vec<Line>) -> Vec<Line> {
    let blank = || Line {
        indent: 0,
        text: String::new(),
        status: None,
    };
    let mut sections: Vec<(String, Vec<Line>)> = Vec::new();
    let mut here = None;
    for line in lines {
        if line.indent == 0 && !line.text.starts_with([' ', '-']) {
            let at = sections
                .iter()
                .position(|(key, _)| *key == line.text)
                .unwrap_or_else(|| {
                    sections.push((line.text.clone(), Vec::new()));
                    sections.len() - 1
                });
            sections[at].1 = vec![blank()];
            here = Some(at);
        }
        if let Some(at) = here {
            sections[at].1.push(line);
        }
    }
    let rank = |key: &str| {
        ORDER
            .iter()
            .position(|known| *known == key)
            .unwrap_or(ORDER.len())
    };
    sections.sort_by_key(|(key, _)| rank(key));
    sections
        .into_iter()
        .flat_map(|(_, lines)| lines)
        .skip(1)
        .collect()
}
