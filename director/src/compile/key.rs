//! What a package was compiled against, as one string.
//!
//! Upstream: key_generator.rb. The text is compared byte by byte with what compiled releases and older directors left in
//! the database, so it is JSON as Ruby writes it: `[["name","version",[["name","version"]]],...]`, sorted by name.

use serde_json::{Value, json};

use crate::manifest::catalog::{Package, ReleaseVersion};

/// The dependency key of `package` as it is in `release`.
///
/// A dependency that the release lacks is left out: uploads do not let such releases in.
pub fn dependency_key(release: &ReleaseVersion, package: &Package) -> String {
    Value::Array(entries(release, package, 0)).to_string()
}

/// Deeper than any release; a cycle, which uploads refuse, ends here.
const MAX_DEPTH: usize = 64;

fn entries(release: &ReleaseVersion, package: &Package, depth: usize) -> Vec<Value> {
    let mut names: Vec<&str> = package.dependencies.iter().map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .filter_map(|name| release.package(name))
        .map(|dependency| {
            let mut entry = vec![json!(dependency.name), json!(dependency.version)];
            if !dependency.dependencies.is_empty() && depth < MAX_DEPTH {
                entry.push(Value::Array(entries(release, dependency, depth + 1)));
            }
            Value::Array(entry)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn package(name: &str, dependencies: &[&str]) -> Arc<Package> {
        Arc::new(Package {
            name: name.into(),
            version: format!("{name}-1"),
            dependencies: dependencies.iter().map(ToString::to_string).collect(),
            ..Package::default()
        })
    }

    #[test]
    fn a_key_names_everything_below_sorted() {
        let release = ReleaseVersion {
            packages: vec![
                package("app", &["ruby", "libyaml"]),
                package("ruby", &["libyaml", "gcc"]),
                package("libyaml", &[]),
                package("gcc", &[]),
            ],
            ..ReleaseVersion::default()
        };
        let key = |name: &str| dependency_key(&release, release.package(name).unwrap());
        assert_eq!(key("gcc"), "[]");
        assert_eq!(
            key("app"),
            r#"[["libyaml","libyaml-1"],["ruby","ruby-1",[["gcc","gcc-1"],["libyaml","libyaml-1"]]]]"#
        );
    }
}
