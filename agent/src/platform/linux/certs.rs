//! Certificates that the operator wants trusted beside the operating system's. Upstream: platform/cert.

use super::{Family, Linux};
use crate::platform::{Error, command::Command, files};
use std::{fs, time::Duration};

const PREFIX: &str = "bosh-trusted-cert-";
/// The program hangs now and then; upstream kills and tries again.
const TIMEOUT: Duration = Duration::from_secs(60);
const TRIES: u32 = 3;

impl Linux {
    pub(super) async fn trusted_certificates(&self, pem: &str) -> Result<(), Error> {
        let wanted = split(pem);
        let dir = self.dirs.system(match self.family {
            Family::Ubuntu => "/usr/local/share/ca-certificates",
            Family::CentOs => "/etc/pki/ca-trust/source/anchors",
        });
        files::mkdir(&dir, 0o755)?;
        let wrap = |e| Error::file("listing", &dir, e);
        let mut there = Vec::new();
        for entry in fs::read_dir(&dir).map_err(wrap)? {
            let path = entry.map_err(wrap)?.path();
            if path
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(PREFIX))
            {
                there.push((files::read(&path)?.unwrap_or_default(), path));
            }
        }
        there.sort_by(|a, b| a.1.cmp(&b.1));
        let mut now: Vec<&str> = there.iter().map(|(text, _)| text.as_str()).collect();
        let mut then: Vec<&str> = wanted.clone();
        now.sort_unstable();
        then.sort_unstable();
        if now == then {
            // Rebuilding the bundle takes seconds, and `update_settings` comes with every deploy.
            return Ok(());
        }
        for (_, path) in &there {
            files::remove(path)?;
        }
        for (n, certificate) in wanted.iter().enumerate() {
            files::write(
                &dir.join(format!("{PREFIX}{}.crt", n + 1)),
                certificate.as_bytes(),
                0o644,
            )?;
        }
        self.update_bundle().await
    }

    async fn update_bundle(&self) -> Result<(), Error> {
        if !self.dirs.is_machine() {
            return Ok(());
        }
        let mut tries = 1;
        loop {
            let command = match self.family {
                Family::Ubuntu => Command::new("/usr/sbin/update-ca-certificates").arg("-f"),
                Family::CentOs => Command::new("/usr/bin/update-ca-trust"),
            };
            match command.timeout(TIMEOUT).run().await {
                Ok(_) => return Ok(()),
                Err(error) if error.is_missing() => {
                    tracing::warn!(
                        %error, "trusted certificates have no effect"
                    );
                    return Ok(());
                }
                Err(error) if tries == TRIES => {
                    return Err(Error::command("updating trusted certificates", error));
                }
                Err(error) => {
                    tracing::warn!(tries, of = TRIES, %error, "cannot update trusted certificates");
                    tries += 1;
                }
            }
        }
    }
}

/// The certificates of a text, without what is between them.
fn split(pem: &str) -> Vec<&str> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let mut found = Vec::new();
    let mut rest = pem;
    while let Some(start) = rest.find(BEGIN) {
        let from = &rest[start..];
        let Some(end) = from.find(END) else { break };
        found.push(&from[..end + END.len()]);
        rest = &from[end + END.len()..];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_certificates_count() {
        let (a, b) = (
            "-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----",
            "-----BEGIN CERTIFICATE-----\nB\n-----END CERTIFICATE-----",
        );
        assert_eq!(
            split(&format!(
                "comment\n{a}\n\n{b}\n-----BEGIN CERTIFICATE-----\ncut"
            )),
            [a, b]
        );
        assert_eq!(split(""), [""; 0]);
    }
}
