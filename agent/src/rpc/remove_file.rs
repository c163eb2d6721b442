//! `remove_file`: removes what `bundle_logs` has made, or any other path; one that is not there is no error.

use std::io::ErrorKind;

use super::arguments::Arguments;
use super::{Error, error::Context as _};

pub(super) async fn run(mut arguments: Arguments) -> Result<String, Error> {
    let path: String = arguments.get(0)?;
    if path.is_empty() {
        return Ok(path);
    }
    let removed = match tokio::fs::symlink_metadata(&path).await {
        Ok(metadata) if metadata.is_dir() => tokio::fs::remove_dir_all(&path).await,
        Ok(_) => tokio::fs::remove_file(&path).await,
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).context(format!("Removing {path}"))
        }
        _ => Ok(path),
    }
}
