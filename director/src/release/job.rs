//! A packed job and its job.MF, checked (upstream: jobs/release/release_job.rb).

use std::collections::HashSet;
use std::path::Path;

use bosh_director_api::Code;
use serde_json::Value;

use super::archive;
use super::manifest::Job;
use crate::manifest::raw;
use crate::tasks::Error;

/// What the database keeps of a job.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Spec {
    /// job.MF.
    pub(super) spec: Value,
    /// The packages it runs.
    pub(super) packages: Vec<String>,
}

/// Reads and checks a packed job.
pub(super) fn read(path: &Path, job: &Job) -> Result<Spec, Error> {
    let name = &job.name;
    let invalid = |why: String| {
        Error::new(
            Code::JobInvalidArchive,
            format!("Extracting job '{}' archive failed: {why}", job.desc()),
        )
    };
    let listing = archive::list(path, "job.MF").map_err(|error| invalid(error.to_string()))?;
    let Some(text) = listing.text else {
        return Err(Error::new(
            Code::JobMissingManifest,
            format!("Missing job manifest for '{name}'"),
        ));
    };
    let text = String::from_utf8(text).map_err(|error| invalid(format!("job.MF: {error}")))?;
    let spec = raw::parse(&text).map_err(|error| invalid(format!("job.MF: {error}")))?;
    check(job, &spec, &listing.files)?;
    let packages = match &spec["packages"] {
        Value::Null => Vec::new(),
        Value::Array(list) => list
            .iter()
            .map(|p| p.as_str().map_or_else(|| p.to_string(), str::to_owned))
            .collect(),
        _ => {
            return Err(Error::new(
                Code::JobInvalidPackageSpec,
                format!("Job '{name}' has invalid package spec format"),
            ));
        }
    };
    Ok(Spec { spec, packages })
}

fn check(job: &Job, spec: &Value, files: &[String]) -> Result<(), Error> {
    let name = &job.name;
    if spec["name"].as_str() != Some(name) {
        let got = spec["name"]
            .as_str()
            .map_or_else(|| spec["name"].to_string(), str::to_owned);
        return Err(Error::new(
            Code::JobInvalidName,
            format!("Inconsistent name for job '{name}' (expected: '{name}', got: '{got}')"),
        ));
    }
    let files: HashSet<&str> = files.iter().map(String::as_str).collect();
    match &spec["templates"] {
        Value::Null => {}
        Value::Object(templates) => {
            for path in templates.keys() {
                if !files.contains(format!("templates/{path}").as_str()) {
                    return Err(Error::new(
                        Code::JobMissingTemplateFile,
                        format!("Missing template file '{path}' for job '{name}'"),
                    ));
                }
            }
        }
        other => {
            return Err(Error::new(
                Code::JobInvalidArchive,
                format!(
                    "Job '{name}' has templates {}, expected a hash of paths",
                    raw::inspect(other)
                ),
            ));
        }
    }
    let is_monit =
        |file: &&&str| **file == "monit" || (file.ends_with(".monit") && !file.contains('/'));
    if !files.iter().any(|file| is_monit(&file)) {
        let why = format!("Job '{name}' is missing monit file");
        return Err(Error::new(Code::JobMissingMonit, why));
    }
    for (key, code) in [
        ("logs", Code::JobInvalidLogSpec),
        ("properties", Code::JobInvalidPropertySpec),
    ] {
        if !spec[key].is_null() && !spec[key].is_object() {
            let why = format!("Job '{name}' has invalid {key} spec format");
            return Err(Error::new(code, why));
        }
    }
    check_links(name, &spec["provides"], "provides")?;
    check_links(name, &spec["consumes"], "consumes")
}

fn check_links(job: &str, links: &Value, key: &str) -> Result<(), Error> {
    let bad = |why: String| Err(Error::new(Code::JobInvalidLinkSpec, why));
    let list = match links {
        Value::Null => return Ok(()),
        Value::Array(list) => list,
        _ => {
            return bad(format!(
                "Job '{job}' has invalid spec format: '{key}' must be an array of hashes with name \
                 and type"
            ));
        }
    };
    let mut seen = HashSet::new();
    for link in list {
        if !link.is_object() {
            return bad(format!(
                "Job '{job}': the {key} section of the release spec must be a list of hashes"
            ));
        }
        if link.get("type").is_none() || link.get("name").is_none() {
            return bad(format!(
                "Job '{job}': each item in the {key} section of the release spec must contain \
                 'name' and 'type'"
            ));
        }
        let text = |key: &str| match &link[key] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        if key == "provides" && link.get("optional").is_some() {
            return bad(format!(
                "Link '{}' of type '{}' is a provides link, not allowed to have 'optional' key",
                text("name"),
                text("type")
            ));
        }
        if !seen.insert(text("name")) {
            return Err(Error::new(
                Code::JobDuplicateLinkName,
                format!(
                    "Job '{job}' specifies duplicate {key} link with name '{}'",
                    text("name")
                ),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job() -> Job {
        Job {
            name: "j".into(),
            version: "1".into(),
            fingerprint: None,
            sha1: String::new(),
        }
    }

    #[test]
    fn specs_are_checked_as_upstream_does() {
        let files: Vec<String> = ["monit", "templates/a.erb"].map(str::to_owned).to_vec();
        check(
            &job(),
            &json!({ "name": "j", "templates": { "a.erb": "bin/a" } }),
            &files,
        )
        .unwrap();
        for (spec, code) in [
            (json!({ "name": "k" }), 80016),
            (json!({ "name": "j", "templates": { "b.erb": "b" } }), 80002),
            (json!({ "name": "j", "templates": ["b.erb"] }), 80000),
            (json!({ "name": "j", "logs": [] }), 80005),
            (json!({ "name": "j", "properties": [] }), 80008),
            (json!({ "name": "j", "provides": {} }), 80013),
            (json!({ "name": "j", "provides": ["x"] }), 80013),
            (json!({ "name": "j", "provides": [{ "name": "x" }] }), 80013),
            (
                json!({ "name": "j", "provides": [{ "name": "x", "type": "t", "optional": true }] }),
                80013,
            ),
            (
                json!({ "name": "j", "consumes": [
                    { "name": "x", "type": "t" }, { "name": "x", "type": "u" }
                ] }),
                80014,
            ),
        ] {
            let error = check(&job(), &spec, &files).unwrap_err();
            assert_eq!(error.code(), code, "{spec}: {error}");
            assert!(error.to_string().contains('\''), "{error}");
        }
        let error = check(&job(), &json!({ "name": "j" }), &[]).unwrap_err();
        assert_eq!(error.code(), 80004);
    }
}
