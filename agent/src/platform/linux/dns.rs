//! /etc/hosts and /var/vcap/instance/dns/records.json.
//! Upstream: agent/action/sync_dns.go, agent/action/state/sync_dns_state.go, SaveDNSRecords of platform/linux_platform.go.

use super::Linux;
use crate::platform::{Error, files};
use bosh_protocol::arguments::DnsRecords;
use serde::Deserialize;
use std::path::PathBuf;

#[derive(Deserialize)]
struct Version {
    #[serde(default, alias = "Version")]
    version: u64,
}

impl Linux {
    fn records_path(&self) -> PathBuf {
        self.dirs.instance_dns().join("records.json")
    }

    /// A file that cannot be read counts as none: the next records replace it.
    pub(super) fn records_version(&self) -> Option<u64> {
        let text = files::read(&self.records_path()).ok().flatten()?;
        serde_json::from_str::<Version>(&text)
            .ok()
            .map(|state| state.version)
    }

    pub(super) fn records(&self, blob: &[u8], version: u64, hostname: &str) -> Result<(), Error> {
        if self.records_version().is_some_and(|ours| ours >= version) {
            return Ok(());
        }
        let records: DnsRecords = serde_json::from_slice(blob).map_err(|e| {
            Error::Invalid(format!("the DNS records are not what they should be: {e}"))
        })?;
        if records.version != version {
            let message =
                "version from unpacked dns blob does not match version supplied by director";
            return Err(Error::Invalid(message.to_owned()));
        }
        files::write(
            &self.dirs.system("/etc/hosts"),
            hosts(hostname, &records.records).as_bytes(),
            0o644,
        )?;
        let dir = self.dirs.instance_dns();
        files::mkdir(&dir, 0o755)?;
        let path = self.records_path();
        // Its owner first, its name last: whoever watches it can read it at once.
        let temporary = files::beside(&path);
        files::write(&temporary, blob, 0o640)?;
        let given = self.root_vcap().and_then(|vcap| vcap.give(&temporary));
        let renamed = given.and_then(|()| {
            std::fs::rename(&temporary, &path).map_err(|e| Error::file("writing", &path, e))
        });
        renamed.inspect_err(|_| drop(files::remove(&temporary)))
    }
}

/// The hosts file of a machine: itself, and these addresses and names. A name or address that would break the line is
/// left out.
pub(super) fn hosts(hostname: &str, records: &[[String; 2]]) -> String {
    let mut text = format!(
        "127.0.0.1 {hostname} localhost\n\n\
         # The following lines are desirable for IPv6 capable hosts\n\
         ::1 {hostname} localhost ip6-localhost ip6-loopback\n\
         fe00::0 ip6-localnet\n\
         ff00::0 ip6-mcastprefix\n\
         ff02::1 ip6-allnodes\n\
         ff02::2 ip6-allrouters\n\
         ff02::3 ip6-allhosts\n"
    );
    let sound = |field: &String| {
        !field.is_empty() && !field.chars().any(|c| c.is_whitespace() || c.is_control())
    };
    for [address, name] in records.iter().filter(|record| record.iter().all(sound)) {
        text.push_str(&format!("{address} {name}\n"));
    }
    text
}
