//! Hiding what may be secret.
//!
//! Upstream: manifest/redactor.rb.

use serde_json::Value;

const REDACTED: &str = "<redacted>";

/// The document with every value below `properties` and `bosh` hidden, and credentials in URLs of releases.
pub fn redact(value: &Value) -> Value {
    let mut value = value.clone();
    hide_known(&mut value);
    if let Some(releases) = value.get_mut("releases").and_then(Value::as_array_mut) {
        for release in releases {
            if let Some(Value::String(url)) = release.get_mut("url") {
                *url = without_credentials(url);
            }
        }
    }
    value
}

fn hide_known(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if matches!(key.as_str(), "properties" | "bosh") && value.is_object() {
                    hide(value);
                } else {
                    hide_known(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hide_known),
        _ => {}
    }
}

fn hide(value: &mut Value) {
    match value {
        Value::Object(map) => map.values_mut().for_each(hide),
        Value::Array(items) => items.iter_mut().for_each(hide),
        scalar => *scalar = Value::String(REDACTED.into()),
    }
}

fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_end);
    let Some((credentials, host)) = authority.rsplit_once('@') else {
        return url.to_owned();
    };
    let hidden = if credentials.contains(':') {
        format!("{REDACTED}:{REDACTED}")
    } else {
        REDACTED.to_owned()
    };
    format!("{scheme}://{hidden}@{host}{path}")
}
