//! `compile_package`: compiles a package and stores it in the blobstore.

use std::collections::BTreeMap;

use bosh_protocol::arguments::{CompileDependency, Compiled, CompiledResult};
use bosh_protocol::{BlobId, MultiDigest};

use super::arguments::Arguments;
use super::{Error, error::Context as _};
use crate::agent::Agent;
use crate::compile::{Dependency, Package};
use crate::jobs::{Destination, Source};

pub(super) async fn run(agent: &Agent, mut arguments: Arguments) -> Result<Compiled, Error> {
    let id: BlobId = arguments.get(0)?;
    let digest: MultiDigest = arguments.get(1)?;
    let package = Package {
        source: Source::blob(id, digest),
        name: arguments.get(2)?,
        version: arguments.get(3)?,
        upload: Destination::Store,
    };
    let dependencies: BTreeMap<String, CompileDependency> = arguments.get(4)?;
    compile(agent, package, dependencies).await
}

pub(super) async fn compile(
    agent: &Agent,
    package: Package,
    dependencies: BTreeMap<String, CompileDependency>,
) -> Result<Compiled, Error> {
    let dependencies: Vec<Dependency> = dependencies.into_values().map(dependency).collect();
    let compiled = agent
        .tools()
        .compiler
        .compile(&package, &dependencies)
        .await;
    let compiled = compiled.context(format!("Compiling package {}", package.name))?;
    Ok(Compiled {
        result: CompiledResult {
            blobstore_id: compiled.blobstore_id,
            sha1: compiled.digest,
        },
    })
}

fn dependency(dependency: CompileDependency) -> Dependency {
    Dependency {
        source: Source {
            digest: dependency.sha1,
            id: dependency.blobstore_id,
            signed_url: dependency.package_get_signed_url,
            headers: dependency.blobstore_headers,
        },
        name: dependency.name,
        version: dependency.version,
    }
}
