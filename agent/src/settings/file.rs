//! Settings from a file. Source: upstream infrastructure/file_settings_source.go.

use std::path::Path;

use bosh_protocol::Settings;

use super::{Error, parse};

/// Reads the file; it must be there.
pub(super) fn settings(path: &Path) -> Result<Settings, Error> {
    let origin = || path.display().to_string();
    let bytes = std::fs::read(path).map_err(|source| Error::Source {
        origin: origin(),
        source,
    })?;
    parse(&bytes, origin)
}

/// A file has no keys of its infrastructure, but it has to be there. Upstream fails the boot otherwise.
pub(super) fn public_ssh_key(path: &Path) -> Result<Option<String>, Error> {
    match std::fs::metadata(path) {
        Ok(_) => Ok(None),
        Err(source) => Err(Error::Source {
            origin: path.display().to_string(),
            source,
        }),
    }
}
