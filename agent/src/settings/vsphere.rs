//! Settings that vSphere holds for its guest. Source: upstream infrastructure/vsphere_guest_info_settings_source.go.

use std::io::Read as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bosh_protocol::Settings;
use flate2::read::GzDecoder;

use super::{Error, parse};
use crate::platform::command::{self, Command};

const ORIGIN: &str = "guestinfo.userdata";
const TIMEOUT: Duration = Duration::from_secs(60);
/// The longest settings; vSphere itself allows less.
const MAX: u64 = 16 << 20;

/// Reads the settings and removes them from where every process of the machine could read them.
pub(super) async fn settings(rpctool: &str, vmtoolsd: &str) -> Result<Settings, Error> {
    let text = rpc(rpctool, vmtoolsd, "info-get guestinfo.userdata")
        .await
        .map_err(Error::GuestInfo)?;
    let plain: Vec<u8> = text
        .bytes()
        .filter(|byte| !matches!(byte, b'\r' | b'\n'))
        .collect();
    let mut decoded = STANDARD.decode(plain).map_err(|source| Error::Base64 {
        origin: ORIGIN.to_owned(),
        source,
    })?;
    if decoded.starts_with(&[0x1f, 0x8b]) {
        let mut unpacked = Vec::new();
        GzDecoder::new(&decoded[..])
            .take(MAX)
            .read_to_end(&mut unpacked)
            .map_err(|source| Error::Source {
                origin: ORIGIN.to_owned(),
                source,
            })?;
        decoded = unpacked;
    }
    let settings = parse(&decoded, || ORIGIN.to_owned())?;
    for clear in [
        "info-set guestinfo.userdata ---",
        "info-set guestinfo.userdata.encoding ''",
    ] {
        if let Err(error) = rpc(rpctool, vmtoolsd, clear).await {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, request = clear, "the settings stay at vSphere");
        }
    }
    Ok(settings)
}

async fn rpc(rpctool: &str, vmtoolsd: &str, request: &str) -> Result<String, command::Error> {
    let first = Command::new(rpctool).arg(request).timeout(TIMEOUT);
    let output = match first.run().await {
        Ok(output) => output,
        Err(_) => {
            let second = Command::new(vmtoolsd).args(["--cmd", request]);
            second.timeout(TIMEOUT).run().await?
        }
    };
    Ok(output.stdout)
}
