//! From YAML to [`Manifest`], key by key, so that an error names the key.

use serde_json::Value;

use crate::error::shown;
use crate::{CloudProperties, Error, Manifest};

/// Largest `stemcell.MF` accepted. Real ones are under a kilobyte.
pub const MAX_BYTES: usize = 1 << 20;

pub(crate) fn manifest(text: &[u8]) -> Result<Manifest, Error> {
    if text.len() > MAX_BYTES {
        return Err(Error::TooLarge {
            size: text.len(),
            limit: MAX_BYTES,
        });
    }
    let mut yaml: serde_yaml_ng::Value = serde_yaml_ng::from_slice(text).map_err(Error::Syntax)?;
    yaml.apply_merge().map_err(Error::Syntax)?;
    let document: Value = serde_yaml_ng::from_value(yaml).map_err(Error::Syntax)?;
    if !document.is_object() {
        return Err(Error::NotAMapping {
            found: shown(&document),
        });
    }
    let name = required(&document, "name")?;
    Ok(Manifest {
        operating_system: string(&document, "operating_system")?.unwrap_or_else(|| name.clone()),
        version: required(&document, "version")?,
        stemcell_formats: strings(&document, "stemcell_formats")?,
        cloud_properties: mapping(&document, "cloud_properties")?.unwrap_or_default(),
        sha1: required(&document, "sha1")?,
        api_version: integer(&document, "api_version")?,
        bosh_protocol: protocol(&document)?,
        name,
    })
}

fn wrong_type(property: &'static str, value: &Value, expected: &'static str) -> Error {
    Error::WrongType {
        property,
        value: shown(value),
        expected,
    }
}

/// A string, or a number standing for one.
fn string(document: &Value, property: &'static str) -> Result<Option<String>, Error> {
    match document.get(property) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(other) => Err(wrong_type(property, other, "String")),
    }
}

fn required(document: &Value, property: &'static str) -> Result<String, Error> {
    match string(document, property)? {
        None => Err(Error::MissingProperty {
            property,
            object: shown(document),
        }),
        Some(text) if text.trim().is_empty() => Err(Error::BadValue {
            property,
            value: shown(&Value::String(text)),
            reason: "expected some text",
        }),
        Some(text) => Ok(text),
    }
}

fn integer(document: &Value, property: &'static str) -> Result<Option<u32>, Error> {
    match document.get(property) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_u64()
            .and_then(|number| u32::try_from(number).ok())
            .map(Some)
            .ok_or_else(|| wrong_type(property, value, "Integer")),
    }
}

/// The CLI reads `bosh_protocol` as a string, the packager writes a number: both are taken.
fn protocol(document: &Value) -> Result<Option<u32>, Error> {
    match document.get("bosh_protocol") {
        Some(value @ Value::String(text)) => text
            .parse()
            .map(Some)
            .map_err(|_| wrong_type("bosh_protocol", value, "Integer")),
        _ => integer(document, "bosh_protocol"),
    }
}

fn strings(document: &Value, property: &'static str) -> Result<Option<Vec<String>>, Error> {
    let items = match document.get(property) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(items)) => items,
        Some(other) => return Err(wrong_type(property, other, "Array")),
    };
    items
        .iter()
        .map(|item| match item {
            Value::String(text) => Ok(text.clone()),
            other => Err(wrong_type(property, other, "String")),
        })
        .collect::<Result<Vec<_>, _>>()
        .map(Some)
}

fn mapping(document: &Value, property: &'static str) -> Result<Option<CloudProperties>, Error> {
    match document.get(property) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(map)) => Ok(Some(map.clone())),
        Some(other) => Err(wrong_type(property, other, "Hash")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
name: bosh-warden-boshlite-debian-bookworm-go_agent
version: '1.4'
bosh_protocol: 1
api_version: 3
sha1: 0123456789abcdef0123456789abcdef01234567
operating_system: debian-bookworm
stemcell_formats: [warden-tar]
cloud_properties:
  infrastructure: warden
  disk: 5120
";

    fn without(key: &str) -> String {
        GOOD.lines()
            .filter(|line| !line.starts_with(&format!("{key}:")))
            .map(|line| format!("{line}\n"))
            .collect()
    }

    #[test]
    fn a_whole_manifest_is_read_and_written_back() {
        let manifest = manifest(GOOD.as_bytes()).unwrap();
        assert_eq!(manifest.api_version, Some(3));
        assert_eq!(manifest.cloud_properties["disk"], 5120);
        let text = manifest.to_yaml().unwrap();
        insta::assert_snapshot!(text, @r"
        ---
        name: bosh-warden-boshlite-debian-bookworm-go_agent
        version: '1.4'
        bosh_protocol: 1
        api_version: 3
        sha1: 0123456789abcdef0123456789abcdef01234567
        operating_system: debian-bookworm
        stemcell_formats:
        - warden-tar
        cloud_properties:
          infrastructure: warden
          disk: 5120
        ");
        assert_eq!(Manifest::parse(text.as_bytes()).unwrap(), manifest);
    }

    #[test]
    fn optional_keys_have_upstream_defaults() {
        let text = "name: a\nversion: 3\nsha1: x\n";
        let manifest = manifest(text.as_bytes()).unwrap();
        assert_eq!(manifest.version, "3");
        assert_eq!(manifest.operating_system, "a");
        assert_eq!(manifest.stemcell_formats, None);
        assert!(manifest.cloud_properties.is_empty());
        assert!(manifest.is_supported_by(Some(&["warden-tar".to_owned()])));
    }

    #[test]
    fn formats_must_meet() {
        let manifest = manifest(GOOD.as_bytes()).unwrap();
        assert!(manifest.is_supported_by(None));
        assert!(manifest.is_supported_by(Some(&["aws-raw".into(), "warden-tar".into()])));
        assert!(!manifest.is_supported_by(Some(&["aws-raw".into()])));
    }

    #[test]
    fn each_required_key_is_named_when_missing() {
        for key in ["name", "version", "sha1"] {
            let error = manifest(without(key).as_bytes()).unwrap_err();
            assert!(
                matches!(error, Error::MissingProperty { property, .. } if property == key),
                "{key}: {error}"
            );
        }
    }

    #[test]
    fn wrong_types_name_key_and_expectation() {
        let cases = [
            ("name", "name: [a]\nversion: 1\nsha1: x", "String"),
            ("version", "name: a\nversion: true\nsha1: x", "String"),
            ("sha1", "name: a\nversion: 1\nsha1: {}", "String"),
            (
                "api_version",
                "name: a\nversion: 1\nsha1: x\napi_version: '3'",
                "Integer",
            ),
            (
                "api_version",
                "name: a\nversion: 1\nsha1: x\napi_version: -1",
                "Integer",
            ),
            (
                "stemcell_formats",
                "name: a\nversion: 1\nsha1: x\nstemcell_formats: f",
                "Array",
            ),
            (
                "stemcell_formats",
                "name: a\nversion: 1\nsha1: x\nstemcell_formats: [1]",
                "String",
            ),
            (
                "cloud_properties",
                "name: a\nversion: 1\nsha1: x\ncloud_properties: [1]",
                "Hash",
            ),
        ];
        for (key, text, kind) in cases {
            match manifest(text.as_bytes()).unwrap_err() {
                Error::WrongType {
                    property, expected, ..
                } => assert_eq!((property, expected), (key, kind), "{text}"),
                other => panic!("{text}: {other}"),
            }
        }
    }

    #[test]
    fn what_is_no_mapping_or_no_yaml_is_refused() {
        assert!(matches!(manifest(b""), Err(Error::NotAMapping { .. })));
        assert!(matches!(manifest(b"- a"), Err(Error::NotAMapping { .. })));
        assert!(matches!(manifest(b"a: [b"), Err(Error::Syntax(_))));
        assert!(matches!(manifest(b"\xff\xfe\x00"), Err(Error::Syntax(_))));
        assert!(matches!(
            manifest(&vec![b' '; MAX_BYTES + 1]),
            Err(Error::TooLarge { .. })
        ));
        assert!(matches!(
            manifest(b"name: ' '\nversion: 1\nsha1: x"),
            Err(Error::BadValue {
                property: "name",
                ..
            })
        ));
    }

    #[test]
    fn a_nest_of_aliases_does_not_explode() {
        let mut text =
            String::from("name: a\nversion: 1\nsha1: x\nx0: &x0 [a, a, a, a, a, a, a, a, a]\n");
        for i in 1..12 {
            let prev = format!("*x{}", i - 1);
            text.push_str(&format!("x{i}: &x{i} [{}]\n", vec![prev; 9].join(", ")));
        }
        assert!(matches!(manifest(text.as_bytes()), Err(Error::Syntax(_))));
    }

    #[test]
    fn aliases_and_merge_keys_are_resolved() {
        let text = "base: &b {disk: 1}\nname: a\nversion: 1\nsha1: x\ncloud_properties: {<<: *b, more: 2}\n";
        let manifest = manifest(text.as_bytes()).unwrap();
        assert_eq!(manifest.cloud_properties["disk"], 1);
        assert_eq!(manifest.cloud_properties["more"], 2);
    }
}
