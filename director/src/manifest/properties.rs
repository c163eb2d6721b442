//! Properties of a job: those its spec declares, from the manifest or by default.
//!
//! Upstream: deployment_plan/job.rb (`bind_properties`), bosh-common's property_helper.rb.

use serde_json::{Map, Value};

use super::error::{Error, Kind};
use super::input::catalog;
use super::raw::class;

/// The properties that templates of `job` see, when `given` was written for it.
pub fn bind(job: &catalog::Job, given: &Map<String, Value>) -> Result<Map<String, Value>, Error> {
    let mut bound = Map::new();
    for (name, definition) in &job.spec.properties {
        let value = match lookup_checked(given, name)? {
            Some(value) => value.clone(),
            None => definition.get("default").cloned().unwrap_or(Value::Null),
        };
        set(&mut bound, name, sorted(value));
    }
    Ok(bound)
}

/// The value of the dotted name, null counting as none.
pub fn lookup<'a>(properties: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let mut keys = name.split('.');
    let mut value = properties.get(keys.next()?)?;
    for key in keys {
        value = value.get(key)?;
    }
    (!value.is_null()).then_some(value)
}

fn lookup_checked<'a>(
    properties: &'a Map<String, Value>,
    name: &str,
) -> Result<Option<&'a Value>, Error> {
    let mut here = properties;
    let mut keys = name.split('.').peekable();
    while let Some(key) = keys.next() {
        let Some(value) = here.get(key).filter(|value| !value.is_null()) else {
            return Ok(None);
        };
        if keys.peek().is_none() {
            return Ok(Some(value));
        }
        match value {
            Value::Object(map) => here = map,
            other => {
                return Err(Error::new(
                    Kind::Director,
                    format!(
                        "Property '{name}' expects a hash, but received '{}'",
                        class(other)
                    ),
                ));
            }
        }
    }
    Ok(None)
}

/// Puts `value` under the dotted name.
pub fn set(properties: &mut Map<String, Value>, name: &str, value: Value) {
    match name.split_once('.') {
        None => {
            properties.insert(name.to_owned(), value);
        }
        Some((key, rest)) => {
            let slot = properties
                .entry(key)
                .or_insert_with(|| Value::Object(Map::new()));
            if !slot.is_object() {
                *slot = Value::Object(Map::new());
            }
            if let Value::Object(map) = slot {
                set(map, rest, value);
            }
        }
    }
}

/// The value with the keys of its mappings in order. Lists are left as they are.
pub fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(String, Value)> = map
                .into_iter()
                .map(|(key, value)| (key, sorted(value)))
                .collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(properties: Value) -> catalog::Job {
        let mut job = catalog::Job::default();
        job.spec.properties = properties.as_object().cloned().unwrap();
        job
    }

    #[test]
    fn only_declared_properties_are_bound() {
        let job = job(
            json!({"a.b": {"default": 1}, "a.c": {}, "d": {"default": {"z": 1, "a": {"y": 1, "b": 2}}}}),
        );
        let given = json!({"a": {"b": null, "c": [2], "undeclared": 1}, "e": 1});
        let bound = bind(&job, given.as_object().unwrap()).unwrap();
        assert_eq!(
            serde_json::to_string(&bound).unwrap(),
            r#"{"a":{"b":1,"c":[2]},"d":{"a":{"b":2,"y":1},"z":1}}"#
        );
    }

    #[test]
    fn false_is_a_value() {
        let job = job(json!({"a": {"default": true}}));
        let bound = bind(&job, json!({"a": false}).as_object().unwrap()).unwrap();
        assert_eq!(bound["a"], false);
    }

    #[test]
    fn a_scalar_where_a_mapping_belongs_is_refused() {
        let job = job(json!({"a.b": {}}));
        let error = bind(&job, json!({"a": "x"}).as_object().unwrap()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Property 'a.b' expects a hash, but received 'String'"
        );
    }
}
