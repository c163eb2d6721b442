//! Files that survive a crash, and the supervisor's own: which services are monitored.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::handle::Error;
use super::service::Saved;

#[derive(Debug, Default, Serialize, Deserialize)]
struct File {
    services: BTreeMap<String, Saved>,
}

/// Writes a file under a temporary name, syncs it and renames it.
pub(super) fn write_atomically(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    replace(path, content, mode, true)
}

/// Without `sync` it may be the old file again when the machine ends at once, but never half of one.
fn replace(path: &Path, content: &[u8], mode: u32, sync: bool) -> io::Result<()> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let name = path
        .file_name()
        .ok_or(io::ErrorKind::InvalidInput)?
        .to_string_lossy();
    let temporary = parent.join(format!(".{name}.new"));
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&temporary)?;
    file.write_all(content)?;
    file.sync_data()?;
    std::fs::rename(&temporary, path)?;
    if sync {
        // The rename itself is only safe with its directory.
        std::fs::File::open(parent)?.sync_all()?;
    }
    Ok(())
}

/// What the last agent saved. A file that makes no sense is set aside, so that the agent comes up: the services are then
/// treated as new ones.
pub(super) fn read(path: &Path) -> Result<BTreeMap<String, Saved>, Error> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(Error::file("read", path)(error)),
    };
    match serde_json::from_slice::<File>(&text) {
        Ok(file) => Ok(file.services),
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "the supervisor's state makes no sense and is set aside");
            std::fs::rename(path, path.with_extension("broken"))
                .map_err(Error::file("rename", path))?;
            Ok(BTreeMap::new())
        }
    }
}

/// Saves the state; with `sync` it survives the end of the machine from now on.
pub(super) fn write(
    path: &Path,
    services: &BTreeMap<String, Saved>,
    sync: bool,
) -> Result<(), Error> {
    let file = File {
        services: services.clone(),
    };
    let text = serde_json::to_vec(&file)
        .map_err(|error| Error::file("encode", path)(io::Error::other(error)))?;
    replace(path, &text, 0o600, sync).map_err(Error::file("write", path))
}
