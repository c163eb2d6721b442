//! `bosh-agent compile [--output-directory DIR] RELEASE.tgz...`: compiles all packages of a release, inside a stemcell but
//! without a director. Source: upstream releasetarball, main/compile.go, stemcellmetadata.
//!
//! | module | what |
//! |---|---|
//! | [`manifest`] | release.MF |
//! | [`yaml`] | as much YAML as that is made of |
//! | `archive` | reading the tarball, and writing it anew |

mod archive;
mod command;
mod error;
pub mod manifest;
#[cfg(test)]
mod tests;
pub mod yaml;

pub use command::{Stemcell, main};
pub use error::Error;

use std::path::{Path, PathBuf};

use archive::CompiledFile;
use bosh_blobstore::Store;
use bosh_protocol::{BlobId, MultiDigest};
use manifest::{CompiledPackage, Package};
use serde_json::json;

use super::{Compiler, Dependency};
use crate::jobs::{self, Blobs, Destination, Source};
use crate::platform::{Dirs, Owner, files};

/// Compiles releases in one stemcell.
#[derive(Debug)]
pub struct Compilation {
    dirs: Dirs,
    owner: Owner,
    output: PathBuf,
    stemcell: String,
}

impl Compilation {
    /// Results go to `output`; `stemcell` is what they are made for, `ubuntu-jammy/1.260`.
    pub fn new(dirs: Dirs, owner: Owner, output: PathBuf, stemcell: String) -> Self {
        Self {
            dirs,
            owner,
            output,
            stemcell,
        }
    }

    /// Compiles the packages of one release and returns where the release with the compiled ones is. Nothing else stays
    /// behind, whether it works or not.
    pub async fn compile(&self, tarball: &Path) -> Result<PathBuf, Error> {
        tracing::info!(tarball = %tarball.display(), "read the release");
        let mut manifest = archive::manifest(tarball)?;
        let order = in_order(&manifest.packages)?;
        tracing::info!(
            release = manifest.name,
            version = manifest.version,
            packages = order.len(),
            "compile the release"
        );
        let scratch = Scratch::new(&self.dirs)?;
        archive::extract_packages(tarball, &manifest, &scratch.0)?;
        let (packages, files) = self.compile_packages(&order, &scratch.0).await?;
        manifest.packages.clear();
        manifest.compiled_packages.extend(packages);

        files::mkdir(&self.output, 0o700)?;
        let name = format!(
            "{}-{}-{}.tgz",
            manifest.name,
            manifest.version,
            self.stemcell.replacen('/', "-", 1)
        );
        let to = self.output.join(&name);
        let partial = self.output.join(format!(".{name}.part"));
        let written = archive::rewrite(tarball, &partial, &manifest, &files).and_then(|()| {
            std::fs::rename(&partial, &to).map_err(|e| Error::file("write", &to, e))
        });
        if let Err(error) = written {
            files::remove(&partial)?;
            return Err(error);
        }
        Ok(to)
    }

    async fn compile_packages(
        &self,
        order: &[&Package],
        scratch: &Path,
    ) -> Result<(Vec<CompiledPackage>, Vec<CompiledFile>), Error> {
        let options = json!({"blobstore_path": scratch});
        let blobs = Blobs::new(Store::open("local", &options)?, &self.dirs);
        let installed = jobs::packages(&self.dirs, self.dirs.packages(), self.owner);
        let compiler = Compiler::installing(self.dirs.clone(), blobs, installed, 1);
        let mut compiled: Vec<(CompiledPackage, BlobId, MultiDigest)> = Vec::new();
        for package in order {
            let name = &package.part.name;
            let fail = |source| Error::Package {
                name: name.clone(),
                version: package.part.version.clone(),
                source: Box::new(source),
            };
            tracing::info!(package = name, "compile");
            let digest =
                MultiDigest::parse(&package.part.sha1).map_err(|source| Error::Digest {
                    package: name.clone(),
                    source: Box::new(source),
                })?;
            let dependencies: Vec<Dependency> = compiled
                .iter()
                .filter(|(other, ..)| package.dependencies.contains(&other.part.name))
                .map(|(other, id, digest)| Dependency {
                    source: Source::blob(id.clone(), digest.clone()),
                    name: other.part.name.clone(),
                    version: other.part.version.clone(),
                })
                .collect();
            let source = super::Package {
                source: Source::blob(BlobId::new(format!("{name}.tgz")), digest),
                name: name.clone(),
                version: package.part.version.clone(),
                upload: Destination::Store,
            };
            let made = compiler
                .compile(&source, &dependencies)
                .await
                .map_err(fail)?;
            let mut part = package.part.clone();
            part.sha1 = made.digest.to_string();
            let entry = CompiledPackage {
                part,
                stemcell: self.stemcell.clone(),
                dependencies: package.dependencies.clone(),
            };
            let id = made.blobstore_id.unwrap_or_default();
            compiled.push((entry, id, made.digest));
        }
        let files = compiled
            .iter()
            .map(|(package, id, _)| (package.part.name.clone(), scratch.join(id.as_str())))
            .collect();
        let packages = compiled.into_iter().map(|(package, ..)| package).collect();
        Ok((packages, files))
    }
}

/// Packages by name, each behind those it needs.
fn in_order(packages: &[Package]) -> Result<Vec<&Package>, Error> {
    fn visit<'a>(
        name: &str,
        packages: &'a [Package],
        path: &mut Vec<String>,
        order: &mut Vec<&'a Package>,
    ) -> Result<(), Error> {
        if order.iter().any(|done| done.part.name == name) {
            return Ok(());
        }
        if path.iter().any(|above| above == name) {
            return Err(Error::Cycle(name.to_owned()));
        }
        let package = packages.iter().find(|package| package.part.name == name);
        let package = package.ok_or_else(|| Error::UnknownDependency {
            package: path.last().cloned().unwrap_or_default(),
            dependency: name.to_owned(),
        })?;
        path.push(name.to_owned());
        for dependency in &package.dependencies {
            visit(dependency, packages, path, order)?;
        }
        path.pop();
        order.push(package);
        Ok(())
    }
    let mut names: Vec<&str> = packages
        .iter()
        .map(|package| package.part.name.as_str())
        .collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Error::Manifest(format!(
            "package '{}' is there twice",
            pair[0]
        )));
    }
    let mut order = Vec::new();
    for name in names {
        jobs::link::check_name("package name", name)?;
        visit(name, packages, &mut Vec::new(), &mut order)?;
    }
    Ok(order)
}

/// Where sources and compiled packages are kept meanwhile.
struct Scratch(PathBuf);

impl Scratch {
    fn new(dirs: &Dirs) -> Result<Self, Error> {
        let path = dirs.blobs().join("release");
        files::remove(&path)?;
        files::mkdir(&path, 0o700)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = files::remove(&self.0) {
            tracing::warn!(error = &error as &dyn std::error::Error, "left behind");
        }
    }
}
