//! IPv6, which stemcells turn off in their boot loader and their kernel's settings. Upstream: platform/net/kernel_ipv6.go.

use super::Linux;
use crate::platform::{Error, files};
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

const SYSCTL: &str = "/etc/sysctl.d/60-bosh-sysctl.conf";
const GRUB: [&str; 2] = ["/boot/grub/grub.cfg", "/boot/efi/EFI/grub/grub.cfg"];
const DISABLED: &str = "ipv6.disable=1";

impl Linux {
    /// Turns it on. If the boot loader has turned it off, the machine boots anew, and this does not return.
    pub(super) async fn ipv6(&self, enable: bool) -> Result<(), Error> {
        if !enable {
            return Ok(());
        }
        let sysctl = self.dirs.system(SYSCTL);
        if let Some(text) = files::read(&sysctl)? {
            let mut enabled = text.clone();
            for which in ["all", "default"] {
                let key = format!("net.ipv6.conf.{which}.disable_ipv6");
                enabled = enabled.replace(&format!("{key}=1"), &format!("{key}=0"));
            }
            replace(&sysctl, &text, &enabled)?;
        }
        // Containers have no boot loader; the first that is there is the machine's.
        for grub in GRUB {
            let path = self.dirs.system(grub);
            let Some(text) = files::read(&path)? else {
                continue;
            };
            if replace(&path, &text, &text.replace(DISABLED, ""))? {
                return self.reboot().await;
            }
            break;
        }
        for key in ["accept_ra", "disable_ipv6"] {
            for which in ["all", "default"] {
                let path = format!("/proc/sys/net/ipv6/conf/{which}/{key}");
                let path = self.dirs.system(&path);
                if !self.dirs.is_machine() && !path.exists() {
                    continue;
                }
                let value = if key == "accept_ra" { "1" } else { "0" };
                fs::write(&path, value).map_err(|e| Error::file("writing", &path, e))?;
            }
        }
        Ok(())
    }

    async fn reboot(&self) -> Result<(), Error> {
        tracing::info!("rebooting to enable IPv6 in the kernel");
        if let Some(shutdown) = self.tool("shutdown") {
            let asked = shutdown.args(["-r", "now"]).run().await;
            asked.map_err(|e| Error::command("Rebooting for IPv6", e))?;
        }
        // The machine goes down; nothing may happen until then.
        std::future::pending().await
    }
}

/// Writes a file anew, with the mode that it has. Says whether there was anything to change.
fn replace(path: &Path, before: &str, after: &str) -> Result<bool, Error> {
    if before == after {
        return Ok(false);
    }
    let mode = fs::metadata(path).map_err(|e| Error::file("reading", path, e))?;
    let mode = mode.permissions().mode() & 0o7777;
    files::write(path, after.as_bytes(), mode)?;
    Ok(true)
}
