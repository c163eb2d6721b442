//! Settings from a CD. Source: upstream infrastructure/cdrom_settings_source.go.

use bosh_protocol::Settings;

use super::{Error, parse};
use crate::platform::Platform;

/// Reads the file and ejects the CD.
pub(super) async fn settings(platform: &dyn Platform, name: &str) -> Result<Settings, Error> {
    let content = platform.file_from_cdrom(name).await.map_err(Error::Cdrom)?;
    parse(&content, || format!("CDROM: {name}"))
}
