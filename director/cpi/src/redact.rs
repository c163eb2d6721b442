//! What of a request may be written to a log.
//!
//! Upstream: `redact_arguments` and `redact_context` in `clouds/external_cpi.rb`. Keys stay, so that a reader sees
//! what was set; values of `cloud_properties`, of `env` except group(s) and tags, and of the CPI config go.

use serde_json::Value;

use crate::{Object, Request};

const REDACTED: &str = "<redacted>";

/// The request as JSON without what may be secret.
pub(crate) fn request(request: &Request) -> Request {
    let mut request = request.clone();
    for value in request.context.properties.values_mut() {
        *value = REDACTED.into();
    }
    match request.method.as_str() {
        "create_vm" => {
            let arguments = &mut request.arguments;
            if let Some(env) = object(arguments, 5) {
                all_but(&["bosh"], env);
                if let Some(Value::Object(bosh)) = env.get_mut("bosh") {
                    all_but(&["group", "groups", "tags"], bosh);
                }
            }
            if let Some(networks) = object(arguments, 3) {
                for network in networks.values_mut() {
                    if let Some(Value::Object(properties)) = network.get_mut("cloud_properties") {
                        all_but(&[], properties);
                    }
                }
            }
            if let Some(properties) = object(arguments, 2) {
                all_but(&[], properties);
            }
        }
        "create_disk" => {
            if let Some(properties) = object(&mut request.arguments, 1) {
                all_but(&[], properties);
            }
        }
        "update_disk" => {
            if let Some(properties) = object(&mut request.arguments, 2) {
                all_but(&[], properties);
            }
        }
        _ => {}
    }
    request
}

fn object(arguments: &mut [Value], index: usize) -> Option<&mut Object> {
    arguments.get_mut(index).and_then(Value::as_object_mut)
}

fn all_but(keep: &[&str], object: &mut Object) {
    for (key, value) in object.iter_mut() {
        if !keep.contains(&key.as_str()) {
            *value = REDACTED.into();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn create_vm_shows_keys_but_no_secret() {
        let request: Request = serde_json::from_value(json!({
            "method": "create_vm",
            "arguments": [
                "agent", "stemcell",
                {"key": "hush"},
                {"default": {"ip": "10.0.0.2", "cloud_properties": {"token": "hush"}}},
                ["disk"],
                {"secret": "hush", "bosh": {"mbus": "hush", "group": "g", "groups": ["g"], "tags": {"t": "v"}}},
            ],
            "context": {"director_uuid": "u", "request_id": "cpi-1", "api_key": "hush"},
        }))
        .unwrap();
        let shown = serde_json::to_value(super::request(&request)).unwrap();
        assert_eq!(
            shown,
            json!({
                "method": "create_vm",
                "arguments": [
                    "agent", "stemcell",
                    {"key": "<redacted>"},
                    {"default": {"ip": "10.0.0.2", "cloud_properties": {"token": "<redacted>"}}},
                    ["disk"],
                    {"secret": "<redacted>", "bosh": {"mbus": "<redacted>", "group": "g", "groups": ["g"], "tags": {"t": "v"}}},
                ],
                "context": {"director_uuid": "u", "request_id": "cpi-1", "api_key": "<redacted>"},
            })
        );
    }
}
