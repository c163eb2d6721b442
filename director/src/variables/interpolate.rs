//! Placeholders: finding `((name))` and putting values in their place.
//!
//! `((name))`, `((/absolute/name))`, `((name.key.subkey))`, `((!name))`. A placeholder that is the whole of a
//! string becomes the value whatever its type; inside a longer string the value has to be a string or an integer.
//!
//! Upstream: config_server/{config_server_helper,deep_hash_replacement,client}.rb.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::values::Values;
use crate::manifest::{Error, Kind};

/// A step into a document, for paths that are left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// This key.
    Key(&'static str),
    /// Any key.
    AnyKey,
    /// Any element of a list.
    AnyIndex,
}

/// Paths below which placeholders stay as they are.
pub type Ignored = &'static [&'static [Step]];

use Step::{AnyIndex, AnyKey, Key};

/// What stays as it is in a deployment manifest, to be filled in later per instance.
pub const IN_MANIFEST: Ignored = &[
    &[Key("properties")],
    &[Key("instance_groups"), AnyIndex, Key("properties")],
    &[
        Key("instance_groups"),
        AnyIndex,
        Key("jobs"),
        AnyIndex,
        Key("properties"),
    ],
    &[
        Key("instance_groups"),
        AnyIndex,
        Key("jobs"),
        AnyIndex,
        Key("consumes"),
        AnyKey,
        Key("properties"),
    ],
    &[Key("instance_groups"), AnyIndex, Key("env")],
    &[Key("addons"), AnyIndex, Key("properties")],
    &[
        Key("addons"),
        AnyIndex,
        Key("jobs"),
        AnyIndex,
        Key("properties"),
    ],
    &[
        Key("addons"),
        AnyIndex,
        Key("jobs"),
        AnyIndex,
        Key("consumes"),
        AnyKey,
        Key("properties"),
    ],
];

/// What stays as it is in a runtime config.
pub const IN_RUNTIME_CONFIG: Ignored = &[
    &[Key("addons"), AnyIndex, Key("properties")],
    &[
        Key("addons"),
        AnyIndex,
        Key("jobs"),
        AnyIndex,
        Key("properties"),
    ],
    &[
        Key("addons"),
        AnyIndex,
        Key("jobs"),
        AnyIndex,
        Key("consumes"),
        AnyKey,
        Key("properties"),
    ],
];

/// What stays as it is in a cloud config.
pub const IN_CLOUD_CONFIG: Ignored = &[
    &[Key("azs"), AnyIndex, Key("cloud_properties"), AnyKey],
    &[Key("networks"), AnyIndex, Key("cloud_properties"), AnyKey],
    &[
        Key("networks"),
        AnyIndex,
        Key("subnets"),
        AnyIndex,
        Key("cloud_properties"),
        AnyKey,
    ],
    &[Key("vm_types"), AnyIndex, Key("cloud_properties"), AnyKey],
    &[
        Key("vm_extensions"),
        AnyIndex,
        Key("cloud_properties"),
        AnyKey,
    ],
    &[Key("disk_types"), AnyIndex, Key("cloud_properties"), AnyKey],
    &[Key("compilation"), Key("cloud_properties"), AnyKey],
];

/// Where placeholders may be looked up.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rules {
    /// Paths left alone.
    pub ignored: Ignored,
    /// Whether only names that begin with `/` are allowed, as in cloud configs.
    pub absolute_only: bool,
}

/// Fills in every placeholder of `value`.
///
/// # Errors
/// Everything that is not there, in one message of several lines, each beginning with `- `.
pub fn interpolate(value: &Value, values: &Values, rules: Rules) -> Result<Value, Error> {
    let mut names = Vec::new();
    collect(value, &mut Vec::new(), rules.ignored, &mut names);
    if names.is_empty() {
        return Ok(value.clone());
    }
    if rules.absolute_only {
        check_absolute(&names)?;
    }
    let mut errors = Vec::new();
    let mut found = Map::new();
    for placeholder in names {
        if found.contains_key(placeholder) {
            continue;
        }
        match lookup(&placeholder_name(placeholder)?, values) {
            Ok(value) => {
                found.insert(placeholder.to_owned(), value);
            }
            Err(message) => {
                let line = format!("- {message}");
                if !errors.contains(&line) {
                    errors.push(line);
                }
            }
        }
    }
    if !errors.is_empty() {
        return Err(Error::new(Kind::ConfigServerFetchError, errors.join("\n")));
    }
    let mut misplaced = Vec::new();
    let filled = replace(
        value,
        &mut Vec::new(),
        rules.ignored,
        &found,
        &mut misplaced,
    );
    if misplaced.is_empty() {
        Ok(filled)
    } else {
        Err(Error::new(
            Kind::ConfigServerIncorrectVariablePlacement,
            misplaced.join("\n"),
        ))
    }
}

/// Fills in every placeholder of a mapping. See [`interpolate`].
pub fn interpolate_map(
    map: &Map<String, Value>,
    values: &Values,
) -> Result<Map<String, Value>, Error> {
    match interpolate(&Value::Object(map.clone()), values, Rules::default())? {
        Value::Object(map) => Ok(map),
        _ => Ok(Map::new()),
    }
}

/// Names (as written, without keys after a dot) of all variables used in `value` outside `ignored`.
pub fn names(value: &Value, ignored: Ignored) -> Result<BTreeSet<String>, Error> {
    let mut found = Vec::new();
    collect(value, &mut Vec::new(), ignored, &mut found);
    found
        .into_iter()
        .map(|placeholder| Ok(root(&placeholder_name(placeholder)?).to_owned()))
        .collect()
}

/// Whether `text` is one placeholder and nothing else.
pub fn is_placeholder(text: &str) -> bool {
    text.strip_prefix("((")
        .and_then(|rest| rest.strip_suffix("))"))
        .is_some_and(|name| !name.contains('('))
}

/// The placeholders in a string, brackets included.
fn placeholders(text: &str) -> Vec<&str> {
    let (mut found, mut rest) = (Vec::new(), text);
    while let Some(start) = rest.find("((") {
        let Some(end) = rest[start + 2..].find("))") else {
            break;
        };
        let end = start + 2 + end + 2;
        // As upstream's pattern, which does not look across lines.
        if rest[start..end].contains('\n') {
            rest = &rest[start + 2..];
            continue;
        }
        found.push(&rest[start..end]);
        rest = &rest[end..];
    }
    found
}

fn is_ignored(path: &[PathStep<'_>], ignored: Ignored) -> bool {
    ignored.iter().any(|pattern| {
        pattern.len() <= path.len()
            && pattern
                .iter()
                .zip(path)
                .all(|(pattern, step)| match (pattern, step) {
                    (Key(wanted), PathStep::Key(key)) => wanted == key,
                    (AnyKey, PathStep::Key(_)) | (AnyIndex, PathStep::Index) => true,
                    _ => false,
                })
    })
}

enum PathStep<'a> {
    Key(&'a str),
    Index,
}

fn collect<'a>(
    value: &'a Value,
    path: &mut Vec<PathStep<'a>>,
    ignored: Ignored,
    out: &mut Vec<&'a str>,
) {
    match value {
        Value::String(text) if text.contains("((") && !is_ignored(path, ignored) => {
            out.extend(placeholders(text));
        }
        Value::Array(items) => {
            for item in items {
                path.push(PathStep::Index);
                collect(item, path, ignored, out);
                path.pop();
            }
        }
        Value::Object(map) => {
            for (key, value) in map {
                if is_placeholder(key) && !is_ignored(path, ignored) {
                    out.push(key);
                }
                path.push(PathStep::Key(key));
                collect(value, path, ignored, out);
                path.pop();
            }
        }
        _ => {}
    }
}

fn replace<'a>(
    value: &'a Value,
    path: &mut Vec<PathStep<'a>>,
    ignored: Ignored,
    found: &Map<String, Value>,
    misplaced: &mut Vec<String>,
) -> Value {
    match value {
        Value::String(text) if text.contains("((") && !is_ignored(path, ignored) => {
            fill(text, found, misplaced)
        }
        Value::Array(items) => Value::Array(
            items
                .iter()
                .map(|item| {
                    path.push(PathStep::Index);
                    let item = replace(item, path, ignored, found, misplaced);
                    path.pop();
                    item
                })
                .collect(),
        ),
        Value::Object(map) => {
            let mut filled = Map::new();
            for (key, value) in map {
                let new_key = match found.get(key) {
                    Some(Value::String(text))
                        if is_placeholder(key) && !is_ignored(path, ignored) =>
                    {
                        text.clone()
                    }
                    Some(Value::Number(number))
                        if is_placeholder(key) && !is_ignored(path, ignored) =>
                    {
                        number.to_string()
                    }
                    _ => key.clone(),
                };
                path.push(PathStep::Key(key));
                let value = replace(value, path, ignored, found, misplaced);
                path.pop();
                filled.insert(new_key, value);
            }
            Value::Object(filled)
        }
        other => other.clone(),
    }
}

fn fill(text: &str, found: &Map<String, Value>, misplaced: &mut Vec<String>) -> Value {
    if let Some(value) = found.get(text) {
        return value.clone();
    }
    let (mut out, mut rest, mut bad) = (String::new(), text, false);
    for placeholder in placeholders(text) {
        let Some(at) = rest.find(placeholder) else {
            continue;
        };
        out.push_str(&rest[..at]);
        rest = &rest[at + placeholder.len()..];
        match found.get(placeholder) {
            Some(Value::String(value)) => out.push_str(value),
            Some(Value::Number(number)) if !number.is_f64() => out.push_str(&number.to_string()),
            _ => {
                bad = true;
                misplaced.push(format!(
                    "- Failed to substitute variable: Can not replace '{placeholder}' in '{text}'. \
                     The value should be a String or an Integer."
                ));
            }
        }
    }
    if bad {
        return Value::String(text.to_owned());
    }
    out.push_str(rest);
    Value::String(out)
}

/// The part of a name before its first dot: what is stored.
pub fn root(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

fn lookup(name: &str, values: &Values) -> Result<Value, String> {
    let root = root(name);
    let full = values.full_name(root);
    let stored = values.get(root).ok_or_else(|| {
        format!(
            "Failed to find variable '{full}' from config server: HTTP Code '404', \
             Error: 'The request could not be completed because the credential does not exist or you do not have sufficient \
             authorization.'"
        )
    })?;
    let (mut value, mut parent) = (&stored.value, full.clone());
    for key in name[root.len()..].split('.').skip(1) {
        let Value::Object(map) = value else {
            return Err(format!(
                "Failed to fetch variable '{full}' from config server: Expected parent '{parent}' to be a hash"
            ));
        };
        value = map.get(key).ok_or_else(|| {
            format!(
                "Failed to fetch variable '{full}' from config server: Expected parent '{parent}' hash to have key '{key}'"
            )
        })?;
        parent = format!("{parent}.{key}");
    }
    Ok(value.clone())
}

fn syntax(message: String) -> Error {
    Error::new(Kind::ConfigServerIncorrectNameSyntax, message)
}

fn check_absolute(placeholders: &[&str]) -> Result<(), Error> {
    let mut relative = Vec::new();
    for placeholder in placeholders {
        let name = placeholder_name(placeholder)?;
        let quoted = format!("'{name}'");
        if !name.starts_with('/') && !relative.contains(&quoted) {
            relative.push(quoted);
        }
    }
    if relative.is_empty() {
        return Ok(());
    }
    Err(syntax(format!(
        "Relative paths are not allowed in this context. The following must be be switched to use absolute paths: {}",
        relative.join(", ")
    )))
}

/// The name in a placeholder: brackets and a leading `!` are not part of it.
fn placeholder_name(placeholder: &str) -> Result<String, Error> {
    let name = placeholder.strip_prefix("((").unwrap_or(placeholder);
    let name = name.strip_suffix("))").unwrap_or(name);
    check_characters(name, |byte| matches!(byte, b'.' | b'!'))?;
    let last = name.rsplit('/').next().unwrap_or(name);
    let before = &name[..name.len() - last.len()];
    let dots = |what: &str| syntax(format!("Variable name '{name}' syntax error: {what}"));
    if before.contains('.') {
        return Err(dots("Must not contain dots before the last slash"));
    }
    if last.starts_with('.') {
        return Err(dots("Must not have segment starting with a dot"));
    }
    if last.ends_with('.') {
        return Err(dots("Must not end name with a dot"));
    }
    if last.contains("..") {
        return Err(dots("Must not contain consecutive dots"));
    }
    let bangs = name.matches('!').count();
    if bangs > 1 || (bangs == 1 && (!name.starts_with('!') || name.len() == 1)) {
        return Err(syntax(format!(
            "Variable name '{name}' contains invalid character '!'. If it is included for spiff, it should only be at the \
             beginning of the name. Note: it will not be considered a part of the name"
        )));
    }
    Ok(name.strip_prefix('!').unwrap_or(name).to_owned())
}

/// Whether `name` may stand in a `variables` section.
pub fn check_name(name: &str) -> Result<(), Error> {
    check_characters(name, |_| false)
}

fn check_characters(name: &str, also: impl Fn(u8) -> bool) -> Result<(), Error> {
    let legal =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'/') || also(byte);
    if name.is_empty() || !name.bytes().all(legal) {
        return Err(syntax(format!(
            "Variable name '{name}' must only contain alphanumeric, underscores, dashes, or forward slash characters"
        )));
    }
    if name.ends_with('/') {
        return Err(syntax(format!(
            "Variable name '{name}' must not end with a forward slash"
        )));
    }
    if name.contains("//") {
        return Err(syntax(format!(
            "Variable name '{name}' must not contain two consecutive forward slashes"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::variables::values::Stored;

    fn values() -> Values {
        let mut all = BTreeMap::new();
        for (name, value) in [
            ("/d/dep/pw", json!("s3")),
            ("/d/dep/port", json!(80)),
            ("/d/dep/cert", json!({"ca": "C", "deep": {"x": [1]}})),
            ("/global", json!(true)),
        ] {
            all.insert(
                name.to_owned(),
                Stored {
                    id: "1".into(),
                    value,
                },
            );
        }
        Values::new("d", "dep", all)
    }

    fn fill_in(value: Value) -> Result<Value, String> {
        interpolate(&value, &values(), Rules::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn placeholders_become_values() {
        let got = fill_in(json!({
            "a": "((pw))", "b": "http://x:((port))/((pw))", "c": "((cert.deep.x))", "d": ["((/global))", "((!pw))"],
            "((pw))": "key", "e": "((", "f": "))((", "g": 1
        }));
        assert_eq!(
            got,
            Ok(json!({
                "a": "s3", "b": "http://x:80/s3", "c": [1], "d": [true, "s3"], "s3": "key", "e": "((", "f": "))((", "g": 1
            }))
        );
    }

    #[test]
    fn values_are_not_filled_in_again() {
        let mut values = values();
        values.insert(
            "evil",
            Stored {
                id: "2".into(),
                value: json!("((pw))"),
            },
        );
        let got = interpolate(&json!("x((evil))((port))"), &values, Rules::default()).unwrap();
        assert_eq!(got, json!("x((pw))80"));
    }

    #[test]
    fn what_is_missing_is_named_once() {
        let error = fill_in(json!([
            "((nope))",
            "((nope.x))",
            "((pw.x))",
            "((cert.y))",
            "((cert.deep.z))"
        ]))
        .unwrap_err();
        let lines: Vec<&str> = error.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(lines[0].starts_with(
            "- Failed to find variable '/d/dep/nope' from config server: HTTP Code '404'"
        ));
        assert_eq!(
            lines[1..],
            [
                "- Failed to fetch variable '/d/dep/pw' from config server: Expected parent '/d/dep/pw' to be a hash",
                "- Failed to fetch variable '/d/dep/cert' from config server: Expected parent '/d/dep/cert' hash to have key 'y'",
                "- Failed to fetch variable '/d/dep/cert' from config server: Expected parent '/d/dep/cert.deep' hash to have key 'z'",
            ]
        );
    }

    #[test]
    fn only_text_and_integers_go_inside_a_string() {
        let error = fill_in(json!("x ((cert))")).unwrap_err();
        assert_eq!(
            error,
            "- Failed to substitute variable: Can not replace '((cert))' in 'x ((cert))'. The value should be a String or an Integer."
        );
    }

    #[test]
    fn names_are_checked() {
        for (name, complaint) in [
            ("a b", "must only contain"),
            ("a/", "must not end with a forward slash"),
            ("a//b", "two consecutive forward slashes"),
            ("a.b/c", "dots before the last slash"),
            ("a..b", "consecutive dots"),
            ("a.", "end name with a dot"),
            ("a!b", "invalid character '!'"),
        ] {
            let error = fill_in(json!(format!("(({name}))"))).unwrap_err();
            assert!(error.contains(complaint), "{name}: {error}");
        }
    }

    #[test]
    fn ignored_paths_stay() {
        let manifest = json!({
            "name": "((pw))",
            "instance_groups": [{"env": {"a": "((nope))"}, "jobs": [{"properties": {"x": "((nope))"}, "name": "((pw))"}]}],
            "properties": "((nope))"
        });
        let rules = Rules {
            ignored: IN_MANIFEST,
            absolute_only: false,
        };
        let got = interpolate(&manifest, &values(), rules).unwrap();
        assert_eq!(got["name"], "s3");
        assert_eq!(
            got["instance_groups"][0]["jobs"][0],
            json!({"properties": {"x": "((nope))"}, "name": "s3"})
        );
    }

    #[test]
    fn configs_take_absolute_names_only() {
        let rules = Rules {
            ignored: IN_CLOUD_CONFIG,
            absolute_only: true,
        };
        let error = interpolate(&json!({"azs": "((pw))"}), &values(), rules).unwrap_err();
        assert!(error.to_string().ends_with("absolute paths: 'pw'"));
    }

    #[test]
    fn nothing_secret_is_printed() {
        assert!(!format!("{:?}", values()).contains("s3"));
    }
}
