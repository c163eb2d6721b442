//! What has to be compiled for a deployment, in which order, and what is compiled already. Pure.
//!
//! Upstream: compiled_package_requirement_generator.rb, deployment_plan/compiled_package_finder.rb,
//! deployment_plan/package_validator.rb.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Error, dependency_key};
use crate::db::packages::CompiledPackage as Row;
use crate::manifest::catalog::{Package, ReleaseVersion};
use crate::manifest::resolved::{Desired, InstanceGroup, Stemcell};
use crate::manifest::version::Version;

/// A package that a stemcell needs compiled.
#[derive(Debug, Clone)]
pub struct Requirement {
    /// The package.
    pub package: Arc<Package>,
    /// The stemcell it is compiled on.
    pub stemcell: Arc<Stemcell>,
    /// What it is compiled against.
    pub dependency_key: String,
    /// Indexes of those it is compiled against; all smaller than its own.
    pub dependencies: Vec<usize>,
    /// What was compiled, now or long ago.
    pub compiled: Option<Row>,
}

impl Requirement {
    /// `name/version`, as stages of a task name packages.
    pub fn display(&self) -> String {
        format!("{}/{}", self.package.name, self.package.version)
    }
}

/// Everything that has to be there compiled; dependencies come before what needs them.
#[derive(Debug, Clone, Default)]
pub struct Requirements {
    /// The packages.
    pub list: Vec<Requirement>,
}

impl Requirements {
    /// What `desired` needs, given everything that was ever compiled from its packages (`rows`).
    pub fn of(desired: &Desired, rows: &[Row]) -> Result<Self, Error> {
        let mut builder = Builder {
            rows: by_package(rows),
            list: Vec::new(),
            seen: BTreeMap::new(),
            faults: BTreeMap::new(),
        };
        for group in &desired.instance_groups {
            builder.group(desired, group);
        }
        builder.finish()
    }

    /// Indexes of those that are not compiled though all they need is.
    pub fn ready(&self) -> Vec<usize> {
        (0..self.list.len())
            .filter(|&index| self.is_ready(index))
            .collect()
    }

    /// Whether this one is not compiled though all it needs is.
    pub fn is_ready(&self, index: usize) -> bool {
        let requirement = &self.list[index];
        requirement.compiled.is_none()
            && requirement
                .dependencies
                .iter()
                .all(|&dependency| self.list[dependency].compiled.is_some())
    }

    /// How many are not compiled.
    pub fn missing(&self) -> usize {
        self.list
            .iter()
            .filter(|requirement| requirement.compiled.is_none())
            .count()
    }
}

/// Row ids of all packages of the releases of a deployment.
pub fn package_ids(desired: &Desired) -> BTreeSet<i64> {
    desired
        .releases
        .iter()
        .flat_map(|release| &release.catalog.packages)
        .map(|package| package.id)
        .collect()
}

type Key = (i64, String, String);

struct Builder<'a> {
    rows: BTreeMap<i64, Vec<&'a Row>>,
    list: Vec<Requirement>,
    seen: BTreeMap<Key, usize>,
    /// Release -> packages without source that are not compiled, with their stemcell.
    faults: BTreeMap<String, BTreeSet<(String, String)>>,
}

impl Builder<'_> {
    fn group(&mut self, desired: &Desired, group: &InstanceGroup) {
        for job in &group.jobs {
            let exported_from = desired
                .release(&job.release_name)
                .map(|release| release.exported_from.as_slice())
                .unwrap_or_default();
            for name in &job.catalog.spec.packages {
                if let Some(package) = job.release.package(name) {
                    self.package(&job.release, package, &group.stemcell, exported_from);
                }
            }
        }
    }

    fn package(
        &mut self,
        release: &ReleaseVersion,
        package: &Arc<Package>,
        stemcell: &Arc<Stemcell>,
        exported_from: &[(String, String)],
    ) -> usize {
        let key = (package.id, stemcell.os.clone(), stemcell.version.clone());
        if let Some(&index) = self.seen.get(&key) {
            return index;
        }
        let mut dependencies: Vec<usize> = package
            .dependencies
            .iter()
            .filter_map(|name| release.package(name))
            .map(|dependency| self.package(release, dependency, stemcell, exported_from))
            .collect();
        dependencies.sort_unstable();
        dependencies.dedup();
        let dependency_key = dependency_key(release, package);
        let rows = self
            .rows
            .get(&package.id)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let compiled = find(rows, package, stemcell, exported_from, &dependency_key).cloned();
        if compiled.is_none() && package.blobstore_id.is_none() {
            let desc = format!("{}/{}", release.name, release.version);
            let fault = (
                format!("{}/{}", package.name, package.version),
                format!("{}/{}", stemcell.name, stemcell.version),
            );
            self.faults.entry(desc).or_default().insert(fault);
        }
        let index = self.list.len();
        self.list.push(Requirement {
            package: package.clone(),
            stemcell: stemcell.clone(),
            dependency_key,
            dependencies,
            compiled,
        });
        self.seen.insert(key, index);
        index
    }

    fn finish(self) -> Result<Requirements, Error> {
        if self.faults.is_empty() {
            return Ok(Requirements { list: self.list });
        }
        Err(Error::MissingSource(describe(&self.faults)))
    }
}

fn by_package(rows: &[Row]) -> BTreeMap<i64, Vec<&Row>> {
    let mut map: BTreeMap<i64, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        map.entry(i64::from(row.package_id.0))
            .or_default()
            .push(row);
    }
    map
}

/// The compiled package to use. One without source may have been compiled for another patch level of the stemcell.
fn find<'a>(
    rows: &[&'a Row],
    package: &Package,
    stemcell: &Stemcell,
    exported_from: &[(String, String)],
    dependency_key: &str,
) -> Option<&'a Row> {
    let exact = |os: &str, version: &str| {
        rows.iter().copied().find(|row| {
            row.stemcell_os.as_deref() == Some(os)
                && row.stemcell_version.as_deref() == Some(version)
                && row.dependency_key == dependency_key
        })
    };
    if !exported_from.is_empty() {
        return exported_from
            .iter()
            .find_map(|(os, version)| exact(os, version));
    }
    exact(&stemcell.os, &stemcell.version).or_else(|| {
        if package.blobstore_id.is_some() {
            return None;
        }
        rows.iter()
            .copied()
            .filter(|row| {
                row.stemcell_os.as_deref() == Some(stemcell.os.as_str())
                    && row.dependency_key == dependency_key
                    && row
                        .stemcell_version
                        .as_deref()
                        .is_some_and(|version| compatible(version, &stemcell.version))
            })
            .max_by_key(|row| {
                row.stemcell_version
                    .as_deref()
                    .and_then(Version::of_stemcell)
            })
    })
}

/// Whether something compiled for one version of a stemcell runs on the other.
fn compatible(one: &str, other: &str) -> bool {
    match (Version::of_stemcell(one), Version::of_stemcell(other)) {
        (Some(one), Some(other)) => one.same_major(&other),
        _ => one == other,
    }
}

fn describe(faults: &BTreeMap<String, BTreeSet<(String, String)>>) -> String {
    let stemcells: BTreeSet<&str> = faults
        .values()
        .flatten()
        .map(|(_, stemcell)| stemcell.as_str())
        .collect();
    let mut text = String::from("\n");
    for (release, packages) in faults {
        match stemcells.iter().next() {
            Some(stemcell) if stemcells.len() == 1 => {
                text += &format!(
                    "Can't use release '{release}'. It references packages without source code and are not compiled \
                     against stemcell '{stemcell}':\n"
                );
                for (package, _) in packages {
                    text += &format!(" - '{package}'\n");
                }
            }
            _ => {
                text += &format!(
                    "Can't use release '{release}'. It references packages without source code and are not compiled \
                     against intended stemcells:\n"
                );
                for (package, stemcell) in packages {
                    text += &format!(" - '{package}' against stemcell '{stemcell}'\n");
                }
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::{CompiledPackageId, PackageId};

    fn row(id: i32, os: &str, version: &str, key: &str) -> Row {
        Row {
            id: CompiledPackageId(id),
            blobstore_id: format!("blob-{id}"),
            sha1: "sha1".into(),
            dependency_key: key.into(),
            build: 1,
            package_id: PackageId(7),
            dependency_key_sha1: String::new(),
            stemcell_os: Some(os.into()),
            stemcell_version: Some(version.into()),
        }
    }

    fn stemcell(version: &str) -> Stemcell {
        Stemcell {
            alias: "default".into(),
            name: "s".into(),
            os: "ubuntu".into(),
            version: version.into(),
            candidates: Vec::new(),
        }
    }

    #[test]
    fn only_packages_without_source_take_another_patch_level() {
        let rows = [
            row(1, "ubuntu", "1.2", "[]"),
            row(2, "ubuntu", "1.10", "[]"),
            row(3, "ubuntu", "2.1", "[]"),
        ];
        let rows: Vec<&Row> = rows.iter().collect();
        let mut package = Package {
            id: 7,
            ..Package::default()
        };
        let found = |package: &Package, version: &str, key: &str| {
            find(&rows, package, &stemcell(version), &[], key).map(|row| row.id.0)
        };
        assert_eq!(found(&package, "1.2", "[]"), Some(1));
        assert_eq!(found(&package, "1.7", "[]"), Some(2));
        assert_eq!(found(&package, "3.0", "[]"), None);
        assert_eq!(found(&package, "1.2", "[[\"a\",\"1\"]]"), None);
        package.blobstore_id = Some("source".into());
        assert_eq!(found(&package, "1.7", "[]"), None);
        assert_eq!(found(&package, "1.2", "[]"), Some(1));
    }

    #[test]
    fn an_exported_release_is_taken_from_the_stemcells_it_names() {
        let rows = [row(1, "ubuntu", "1.2", "[]")];
        let rows: Vec<&Row> = rows.iter().collect();
        let package = Package {
            id: 7,
            ..Package::default()
        };
        let from = [("ubuntu".to_owned(), "1.2".to_owned())];
        let found = find(&rows, &package, &stemcell("9.9"), &from, "[]");
        assert_eq!(found.map(|row| row.id.0), Some(1));
    }
}
