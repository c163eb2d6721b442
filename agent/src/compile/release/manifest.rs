//! release.MF, as far as compiling needs it. Upstream: bosh-cli release/manifest.

use std::fmt::Write as _;

use serde_json::Value;

use super::Error;
use super::yaml;

/// A release.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The commit it was made of.
    pub commit_hash: String,
    /// Whether that was not all of it.
    pub uncommitted_changes: bool,
    /// Its jobs.
    pub jobs: Vec<Job>,
    /// Packages to compile.
    pub packages: Vec<Package>,
    /// Packages that have been compiled.
    pub compiled_packages: Vec<CompiledPackage>,
    /// Its license.
    pub license: Option<License>,
    /// Whether its tarballs are not compressed.
    pub no_compression: bool,
}

/// A job of a release.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Job {
    /// What every part of a release has.
    pub part: Part,
    /// What it runs with.
    pub packages: Vec<String>,
}

/// A package's source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Package {
    /// What every part of a release has.
    pub part: Part,
    /// What it is compiled with.
    pub dependencies: Vec<String>,
}

/// A compiled package.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompiledPackage {
    /// What every part of a release has; the digest is that of the compiled one.
    pub part: Part,
    /// `ubuntu-jammy/1.260`
    pub stemcell: String,
    /// What it was compiled with.
    pub dependencies: Vec<String>,
}

/// The license of a release.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct License {
    /// It has no name.
    pub part: Part,
}

/// What every part of a release has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its fingerprint.
    pub fingerprint: String,
    /// The digest of its tarball.
    pub sha1: String,
}

impl Manifest {
    /// Understands the text of a release.MF.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let value = yaml::parse(text)?;
        let root = Object::of(&value, "release.MF")?;
        let manifest = Self {
            name: root.text("name")?,
            version: root.text("version")?,
            commit_hash: root.text("commit_hash")?,
            uncommitted_changes: root.flag("uncommitted_changes")?,
            jobs: root.objects("jobs", |object| {
                Ok(Job {
                    part: object.part()?,
                    packages: object.texts("packages")?,
                })
            })?,
            packages: root.objects("packages", |object| {
                Ok(Package {
                    part: object.part()?,
                    dependencies: object.texts("dependencies")?,
                })
            })?,
            compiled_packages: root.objects("compiled_packages", |object| {
                Ok(CompiledPackage {
                    part: object.part()?,
                    stemcell: object.text("stemcell")?,
                    dependencies: object.texts("dependencies")?,
                })
            })?,
            license: match root.get("license") {
                Value::Null => None,
                value => Some(License {
                    part: Object::of(value, "license")?.part()?,
                }),
            },
            no_compression: root.flag("no_compression")?,
        };
        for (key, text) in [("name", &manifest.name), ("version", &manifest.version)] {
            if text.is_empty() || text.contains('/') || text.starts_with('.') {
                return Err(Error::Manifest(format!(
                    "'{key}' must be a plain name, got '{text}'"
                )));
            }
        }
        Ok(manifest)
    }

    /// The text of a release.MF.
    pub fn to_yaml(&self) -> String {
        let mut out = format!(
            "name: {}\nversion: {}\ncommit_hash: {}\nuncommitted_changes: {}\n",
            scalar(&self.name),
            scalar(&self.version),
            scalar(&self.commit_hash),
            self.uncommitted_changes
        );
        let list = |out: &mut String, key: &str, items: &[String]| {
            if items.is_empty() {
                let _ = writeln!(out, "  {key}: []");
                return;
            }
            let _ = writeln!(out, "  {key}:");
            for item in items {
                let _ = writeln!(out, "  - {}", scalar(item));
            }
        };
        for (index, job) in self.jobs.iter().enumerate() {
            out.push_str(if index == 0 { "jobs:\n" } else { "" });
            out.push_str(&job.part.to_yaml());
            list(&mut out, "packages", &job.packages);
        }
        for (index, package) in self.packages.iter().enumerate() {
            out.push_str(if index == 0 { "packages:\n" } else { "" });
            out.push_str(&package.part.to_yaml());
            list(&mut out, "dependencies", &package.dependencies);
        }
        for (index, package) in self.compiled_packages.iter().enumerate() {
            out.push_str(if index == 0 {
                "compiled_packages:\n"
            } else {
                ""
            });
            out.push_str(&package.part.to_yaml());
            let _ = writeln!(out, "  stemcell: {}", scalar(&package.stemcell));
            list(&mut out, "dependencies", &package.dependencies);
        }
        if let Some(License { part }) = &self.license {
            let _ = writeln!(
                out,
                "license:\n  version: {}\n  fingerprint: {}\n  sha1: {}",
                scalar(&part.version),
                scalar(&part.fingerprint),
                scalar(&part.sha1)
            );
        }
        let _ = writeln!(out, "no_compression: {}", self.no_compression);
        out
    }
}

impl Part {
    fn to_yaml(&self) -> String {
        format!(
            "- name: {}\n  version: {}\n  fingerprint: {}\n  sha1: {}\n",
            scalar(&self.name),
            scalar(&self.version),
            scalar(&self.fingerprint),
            scalar(&self.sha1)
        )
    }
}

/// Plain if no reader could take it for anything but text, else quoted as JSON quotes, which is YAML.
fn scalar(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'))
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "y" | "n" | "yes" | "no" | "on" | "off" | "true" | "false" | "null"
        );
    match plain {
        true => text.to_owned(),
        false => Value::from(text).to_string(),
    }
}

/// A mapping and what it is called in errors.
struct Object<'a> {
    value: &'a Value,
    place: &'a str,
}

impl<'a> Object<'a> {
    fn of(value: &'a Value, place: &'a str) -> Result<Self, Error> {
        match value {
            Value::Object(_) => Ok(Self { value, place }),
            _ => Err(Error::Manifest(format!("'{place}' must be a mapping"))),
        }
    }

    fn get(&self, key: &str) -> &'a Value {
        &self.value[key]
    }

    fn wrong(&self, key: &str, expected: &str) -> Error {
        Error::Manifest(format!("'{key}' of '{}' must be {expected}", self.place))
    }

    fn text(&self, key: &str) -> Result<String, Error> {
        match self.get(key) {
            Value::Null => Ok(String::new()),
            Value::String(text) => Ok(text.clone()),
            _ => Err(self.wrong(key, "a text")),
        }
    }

    fn flag(&self, key: &str) -> Result<bool, Error> {
        match self.text(key)?.as_str() {
            "true" => Ok(true),
            "" | "false" => Ok(false),
            _ => Err(self.wrong(key, "true or false")),
        }
    }

    fn list(&self, key: &str) -> Result<&'a [Value], Error> {
        match self.get(key) {
            Value::Null => Ok(&[]),
            Value::Array(items) => Ok(items),
            _ => Err(self.wrong(key, "a list")),
        }
    }

    fn texts(&self, key: &str) -> Result<Vec<String>, Error> {
        let text = |item: &Value| match item {
            Value::String(text) => Ok(text.clone()),
            _ => Err(self.wrong(key, "a list of texts")),
        };
        self.list(key)?.iter().map(text).collect()
    }

    fn objects<T>(
        &self,
        key: &'a str,
        read: impl Fn(Object<'a>) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        self.list(key)?
            .iter()
            .map(|item| read(Object::of(item, key)?))
            .collect()
    }

    fn part(&self) -> Result<Part, Error> {
        Ok(Part {
            name: self.text("name")?,
            version: self.text("version")?,
            fingerprint: self.text("fingerprint")?,
            sha1: self.text("sha1")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str) -> Part {
        Part {
            name: name.into(),
            version: "1.10".into(),
            fingerprint: "0e10".into(),
            sha1: "sha256:00".into(),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let manifest = Manifest {
            name: "r".into(),
            version: "1.0+dev.1".into(),
            commit_hash: "123e4".into(),
            uncommitted_changes: true,
            jobs: vec![Job {
                part: part("web"),
                packages: vec!["no".into(), "x y".into()],
            }],
            packages: vec![Package {
                part: part("b"),
                dependencies: vec![],
            }],
            compiled_packages: vec![CompiledPackage {
                part: part("a"),
                stemcell: "ubuntu-jammy/1.260".into(),
                dependencies: vec!["b".into()],
            }],
            license: Some(License {
                part: Part {
                    name: String::new(),
                    ..part("")
                },
            }),
            no_compression: true,
        };
        let text = manifest.to_yaml();
        assert_eq!(Manifest::parse(&text).unwrap(), manifest, "{text}");
        assert!(text.contains("stemcell: ubuntu-jammy/1.260\n"), "{text}");
        assert!(text.contains("version: \"1.10\"\n"), "{text}");
        assert!(text.contains("- \"no\"\n"), "{text}");
        let small = Manifest {
            name: "r".into(),
            version: "1".into(),
            ..Manifest::default()
        };
        assert_eq!(Manifest::parse(&small.to_yaml()).unwrap(), small);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, expected) in [
            ("a\nb", "line 2: this is indented"),
            ("- a", "'release.MF' must be a mapping"),
            ("name: r", "'version' must be a plain name, got ''"),
            ("name: ../r\nversion: 1", "'name' must be a plain name"),
            (
                "name: r\nversion: 1\njobs: a",
                "'jobs' of 'release.MF' must be a list",
            ),
            (
                "name: r\nversion: 1\npackages: [a]",
                "'packages' must be a mapping",
            ),
            (
                "name: r\nversion: 1\npackages: [{name: a, dependencies: b}]",
                "'dependencies' of 'packages' must be a list",
            ),
            (
                "name: r\nversion: 1\nno_compression: 7",
                "'no_compression' of 'release.MF' must be true or false",
            ),
        ] {
            let error = Manifest::parse(text).unwrap_err();
            let error =
                std::error::Error::source(&error).map_or(error.to_string(), ToString::to_string);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
