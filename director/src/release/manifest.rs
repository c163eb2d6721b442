//! release.MF, checked.

use std::collections::{BTreeMap, HashMap};

use bosh_director_api::Code;
use serde_json::{Value, json};

use crate::manifest::raw;
use crate::manifest::version::{Version, modern};
use crate::tasks::Error;

/// A release as its release.MF describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) name: String,
    /// In its present notation.
    pub(super) version: String,
    pub(super) commit_hash: Option<String>,
    pub(super) uncommitted_changes: bool,
    /// Packages come compiled, not as source.
    pub(super) compiled: bool,
    pub(super) packages: Vec<Package>,
    pub(super) jobs: Vec<Job>,
}

/// A package in release.MF.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) fingerprint: Option<String>,
    /// Of the packed source, or of the packed compiled package.
    pub(super) sha1: String,
    pub(super) dependencies: Vec<String>,
    /// `(os, version)` of a compiled package.
    pub(super) stemcell: Option<(String, String)>,
}

/// A job in release.MF.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) fingerprint: Option<String>,
    pub(super) sha1: String,
}

impl Package {
    /// `name/version`.
    pub(super) fn desc(&self) -> String {
        format!("{}/{}", self.name, self.version)
    }
}

impl Job {
    /// `name/version`.
    pub(super) fn desc(&self) -> String {
        format!("{}/{}", self.name, self.version)
    }
}

impl Manifest {
    /// Reads and checks release.MF.
    pub(super) fn parse(text: &[u8]) -> Result<Self, Error> {
        let invalid = |why: String| {
            Error::new(
                Code::ReleaseInvalidArchive,
                format!("release.MF is not usable: {why}"),
            )
        };
        let text = std::str::from_utf8(text).map_err(|error| invalid(error.to_string()))?;
        let value = raw::parse(text).map_err(|error| invalid(error.to_string()))?;
        if !value.is_object() {
            return Err(invalid(format!(
                "expected a hash, got {}",
                raw::inspect(&value)
            )));
        }
        let compiled = value
            .get("compiled_packages")
            .is_some_and(|list| !list.is_null());
        let key = if compiled {
            "compiled_packages"
        } else {
            "packages"
        };

        let name = identifier(&value["name"], "release name")?;
        let version = identifier(&value["version"], "release version")?;
        let mut packages = Vec::new();
        for (index, entry) in list(&value, key)?.iter().enumerate() {
            packages.push(package(entry, index + 1, compiled)?);
        }
        let mut jobs = Vec::new();
        for (index, entry) in list(&value, "jobs")?.iter().enumerate() {
            jobs.push(Job {
                name: identifier(&entry["name"], &format!("job {} name", index + 1))?,
                version: identifier(&entry["version"], &format!("job {} version", index + 1))?,
                fingerprint: optional_text(&entry["fingerprint"]),
                sha1: text_of(&entry["sha1"]),
            });
        }
        if Version::of_release(&version).is_none() {
            return Err(Error::new(
                Code::ReleaseVersionInvalid,
                format!("Release version invalid: {version}"),
            ));
        }
        unique(packages.iter().map(|package| &package.name), "package")?;
        unique(jobs.iter().map(|job| &job.name), "job")?;
        check_dependencies(&packages)?;
        Ok(Self {
            name,
            version: modern(&version),
            commit_hash: optional_text(&value["commit_hash"]),
            uncommitted_changes: value["uncommitted_changes"].as_bool().unwrap_or(false),
            compiled,
            packages,
            jobs,
        })
    }

    /// `name/version`.
    pub(super) fn desc(&self) -> String {
        format!("{}/{}", self.name, self.version)
    }

    /// The folder of the packed packages.
    pub(super) fn folder(&self) -> &'static str {
        if self.compiled {
            "compiled_packages"
        } else {
            "packages"
        }
    }
}

fn package(entry: &Value, number: usize, compiled: bool) -> Result<Package, Error> {
    let name = identifier(&entry["name"], &format!("package {number} name"))?;
    let version = identifier(&entry["version"], &format!("package {number} version"))?;
    let stemcell = if compiled {
        let text = text_of(&entry["stemcell"]);
        let stemcell = text
            .split_once('/')
            .map(|(os, version)| (os.to_owned(), version.to_owned()));
        Some(stemcell.ok_or_else(|| {
            Error::new(
                Code::ReleaseInvalidPackage,
                format!(
                    "Package '{name}' has stemcell {}, expected 'os/version'",
                    raw::inspect(&entry["stemcell"])
                ),
            )
        })?)
    } else {
        None
    };
    let mut dependencies = Vec::new();
    match &entry["dependencies"] {
        Value::Null => {}
        Value::Array(list) => dependencies.extend(list.iter().map(text_of)),
        other => {
            return Err(Error::new(
                Code::ReleaseInvalidPackage,
                format!(
                    "Package '{name}' has dependencies {}, expected a list of names",
                    raw::inspect(other)
                ),
            ));
        }
    }
    Ok(Package {
        name,
        version,
        fingerprint: optional_text(&entry["fingerprint"]),
        sha1: text_of(&entry["sha1"]),
        dependencies,
        stemcell,
    })
}

/// Every dependency is in the release, and none leads back.
fn check_dependencies(packages: &[Package]) -> Result<(), Error> {
    let by_name: HashMap<&str, &Package> = packages
        .iter()
        .map(|package| (package.name.as_str(), package))
        .collect();
    for package in packages {
        for name in &package.dependencies {
            if !by_name.contains_key(name.as_str()) {
                return Err(Error::new(
                    Code::ReleaseInvalidPackage,
                    format!(
                        "Package '{}' depends on '{name}', which is not in the release",
                        package.name
                    ),
                ));
            }
        }
    }
    // Depth first, without recursion: a chain may be as long as the release.
    let mut done: BTreeMap<&str, bool> = BTreeMap::new();
    for package in packages {
        let mut path: Vec<(&str, usize)> = Vec::new();
        if !done.contains_key(package.name.as_str()) {
            path.push((&package.name, 0));
            done.insert(&package.name, false);
        }
        while let Some((name, next)) = path.last_mut() {
            let Some(dependency) = by_name[*name].dependencies.get(*next) else {
                done.insert(*name, true);
                path.pop();
                continue;
            };
            *next += 1;
            match done.get(dependency.as_str()) {
                Some(true) => {}
                Some(false) => {
                    let start = path.iter().position(|(name, _)| *name == dependency);
                    let mut cycle: Vec<&str> = path[start.unwrap_or(0)..]
                        .iter()
                        .map(|(name, _)| *name)
                        .collect();
                    cycle.push(dependency);
                    return Err(Error::new(
                        Code::ReleaseInvalidPackage,
                        format!("Cycle: {}", cycle.join("=>")),
                    ));
                }
                None => {
                    done.insert(dependency, false);
                    path.push((dependency, 0));
                }
            }
        }
    }
    Ok(())
}

fn unique<'a>(names: impl Iterator<Item = &'a String>, kind: &str) -> Result<(), Error> {
    let mut seen = std::collections::HashSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(Error::new(
                Code::ReleaseInvalidArchive,
                format!("release.MF lists {kind} '{name}' twice"),
            ));
        }
    }
    Ok(())
}

fn list<'a>(value: &'a Value, key: &str) -> Result<&'a [Value], Error> {
    match &value[key] {
        Value::Null => Ok(&[]),
        Value::Array(list) => {
            if let Some(bad) = list.iter().find(|entry| !entry.is_object()) {
                return Err(Error::new(
                    Code::ReleaseInvalidArchive,
                    format!(
                        "release.MF has {} under '{key}', expected a hash",
                        raw::inspect(bad)
                    ),
                ));
            }
            Ok(list)
        }
        other => Err(Error::new(
            Code::ReleaseInvalidArchive,
            format!(
                "release.MF has {} as '{key}', expected a list",
                raw::inspect(other)
            ),
        )),
    }
}

/// Letters, digits and `-_+.` (upstream: VALID_ID); numbers become text.
fn identifier(value: &Value, label: &str) -> Result<String, Error> {
    let text = text_of(value);
    let fine = !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_+.".contains(c));
    if fine {
        return Ok(text);
    }
    Err(Error::new(
        Code::ValidationInvalidValue,
        format!(
            "Invalid {label} in release manifest: {}",
            raw::inspect(&Value::String(text))
        ),
    ))
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn optional_text(value: &Value) -> Option<String> {
    Some(text_of(value)).filter(|text| !text.is_empty())
}

/// A package as far as dependency keys need it.
pub(super) struct Node<'a> {
    pub(super) name: &'a str,
    pub(super) version: &'a str,
    pub(super) dependencies: Vec<String>,
}

/// The dependency key of one of these packages: JSON of everything below it
/// (upstream: key_generator.rb).
pub(super) fn key(nodes: &[Node<'_>], name: &str) -> Option<String> {
    /// Deeper than any release; cycles were refused before.
    const DEPTH: usize = 100;
    fn below(nodes: &[Node<'_>], name: &str, depth: usize) -> Option<Vec<Value>> {
        let node = nodes.iter().find(|node| node.name == name)?;
        let mut names: Vec<&String> = node.dependencies.iter().collect();
        names.sort();
        names
            .into_iter()
            .map(|name| {
                let node = nodes.iter().find(|node| node.name == name)?;
                let mut entry = vec![json!(node.name), json!(node.version)];
                if !node.dependencies.is_empty() && depth < DEPTH {
                    entry.push(Value::Array(below(nodes, name, depth + 1)?));
                }
                Some(Value::Array(entry))
            })
            .collect()
    }
    Some(Value::Array(below(nodes, name, 0)?).to_string())
}

/// The dependency key of a package among `packages` of a release.MF that was
/// only parsed, not checked.
pub fn dependency_key(packages: &Value, name: &str) -> Result<String, Error> {
    let packages = packages.as_array().map_or(&[][..], Vec::as_slice);
    let texts: Vec<(String, String, Vec<String>)> = packages
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().into_iter().flatten();
            let dependencies = dependencies.map(text_of).collect();
            (
                text_of(&package["name"]),
                text_of(&package["version"]),
                dependencies,
            )
        })
        .collect();
    let nodes: Vec<Node<'_>> = texts
        .iter()
        .map(|(name, version, dependencies)| Node {
            name,
            version,
            dependencies: dependencies.clone(),
        })
        .collect();
    key(&nodes, name).ok_or_else(|| {
        Error::new(
            Code::ReleaseExistingPackageHashMismatch,
            format!("Package '{name}' not found in the release manifest."),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(yaml: &str) -> (u32, String) {
        let error = Manifest::parse(yaml.as_bytes()).unwrap_err();
        (error.code(), error.to_string())
    }

    #[test]
    fn numbers_are_text() {
        let manifest = Manifest::parse(
            b"{name: r, version: 7, commit_hash: 1234, packages: [{name: p, version: 1.5, \
              fingerprint: 3, sha1: 12, dependencies: []}], jobs: [{name: j, version: 2, sha1: a}]}",
        )
        .unwrap();
        assert_eq!(manifest.desc(), "r/7");
        assert_eq!(manifest.commit_hash.as_deref(), Some("1234"));
        assert_eq!(manifest.packages[0].desc(), "p/1.5");
        assert_eq!(manifest.packages[0].sha1, "12");
        assert!(!manifest.compiled);
        assert_eq!(manifest.jobs[0].fingerprint, None);
    }

    #[test]
    fn versions_of_old_get_their_present_notation() {
        let manifest = Manifest::parse(b"{name: r, version: 1.2-dev}").unwrap();
        assert_eq!(manifest.version, "1+dev.2");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let p =
            |deps: &str, name: &str| format!("{{name: {name}, version: 1, dependencies: {deps}}}");
        for (yaml, code, message) in [
            (
                "[1]".to_owned(),
                30002,
                "release.MF is not usable: expected a hash, got [1]",
            ),
            (
                "{version: 1}".to_owned(),
                40005,
                "Invalid release name in release manifest: \"\"",
            ),
            (
                "{name: r, version: a b}".to_owned(),
                40005,
                "Invalid release version in release manifest: \"a b\"",
            ),
            (
                "{name: r, version: 1..2}".to_owned(),
                30010,
                "Release version invalid: 1..2",
            ),
            (
                "{name: r, version: 1, jobs: [{name: ../x, version: 1}]}".to_owned(),
                40005,
                "Invalid job 1 name in release manifest: \"../x\"",
            ),
            (
                "{name: r, version: 1, packages: {}}".to_owned(),
                30002,
                "release.MF has {} as 'packages', expected a list",
            ),
            (
                format!("{{name: r, version: 1, packages: [{}]}}", p("[b]", "a")),
                30012,
                "Package 'a' depends on 'b', which is not in the release",
            ),
            (
                format!(
                    "{{name: r, version: 1, packages: [{},{},{}]}}",
                    p("[b]", "a"),
                    p("[c]", "b"),
                    p("[b]", "c")
                ),
                30012,
                "Cycle: b=>c=>b",
            ),
            (
                format!(
                    "{{name: r, version: 1, packages: [{},{}]}}",
                    p("[]", "a"),
                    p("[]", "a")
                ),
                30002,
                "release.MF lists package 'a' twice",
            ),
            (
                "{name: r, version: 1, compiled_packages: [{name: a, version: 1, stemcell: x}]}"
                    .to_owned(),
                30012,
                "Package 'a' has stemcell \"x\", expected 'os/version'",
            ),
        ] {
            assert_eq!(refused(&yaml), (code, message.to_owned()), "{yaml}");
        }
    }

    #[test]
    fn keys_name_everything_below() {
        let packages = json!([
            { "name": "app", "version": "1", "dependencies": ["ruby", "gcc"] },
            { "name": "ruby", "version": 2, "dependencies": ["gcc"] },
            { "name": "gcc", "version": "3", "dependencies": [] },
        ]);
        assert_eq!(dependency_key(&packages, "gcc").unwrap(), "[]");
        assert_eq!(
            dependency_key(&packages, "app").unwrap(),
            r#"[["gcc","3"],["ruby","2",[["gcc","3"]]]]"#
        );
        assert_eq!(dependency_key(&packages, "x").unwrap_err().code(), 30001);
    }
}
