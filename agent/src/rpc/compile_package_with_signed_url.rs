//! `compile_package_with_signed_url`: compiles a package and stores it at a URL that the director has signed.

use bosh_protocol::Secret;
use bosh_protocol::arguments::{CompileWithSignedUrl, Compiled};

use super::arguments::Arguments;
use super::{Error, compile_package};
use crate::agent::Agent;
use crate::compile::Package;
use crate::jobs::{Destination, Source};

pub(super) async fn run(agent: &Agent, mut arguments: Arguments) -> Result<Compiled, Error> {
    let request: CompileWithSignedUrl = arguments.get(0)?;
    let package = Package {
        source: Source::signed(
            request.package_get_signed_url,
            request.blobstore_headers.clone(),
            request.digest,
        ),
        name: request.name,
        version: request.version,
        upload: Destination::Signed {
            url: Secret::new(request.upload_signed_url),
            headers: request.blobstore_headers,
        },
    };
    compile_package::compile(agent, package, request.deps).await
}
