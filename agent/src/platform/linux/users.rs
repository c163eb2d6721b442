//! Users: passwords, keys, and those that come and go with `bosh ssh`. Upstream: platform/linux_platform.go.

use super::Linux;
use crate::platform::{
    EPHEMERAL_USER_PREFIX, Error, Owner, command::Command, files, group, user, users,
};
use std::path::Path;

impl Linux {
    pub(super) fn authorized_keys(&self, keys: &[String], name: &str) -> Result<(), Error> {
        let account = user(&self.dirs, name)?;
        let owner = Owner::user(&account);
        let ssh = self
            .dirs
            .system(&account.home.to_string_lossy())
            .join(".ssh");
        files::mkdir(&ssh, 0o700)?;
        owner.give(&ssh)?;
        let path = ssh.join("authorized_keys");
        files::write(&path, keys.join("\n").as_bytes(), 0o600)?;
        owner.give(&path)
    }

    pub(super) async fn password(&self, name: &str, encrypted: &str) -> Result<(), Error> {
        let encrypted = if encrypted.is_empty() { "*" } else { encrypted };
        let command = self
            .program("usermod")
            .args(["-p", encrypted, name])
            .secret();
        command
            .run()
            .await
            .map_err(|e| Error::command(format!("setting the password of '{name}'"), e))?;
        Ok(())
    }

    pub(super) async fn new_user(&self, name: &str, base: &Path) -> Result<(), Error> {
        check_name(name)?;
        files::mkdir(base, 0o755)?;
        let inside = Path::new("/").join(base.strip_prefix(self.dirs.system("/")).unwrap_or(base));
        let command = self
            .program("useradd")
            .arg("-m")
            .arg("-b")
            .arg(inside)
            .args(["-s", "/bin/bash", name]);
        command
            .run()
            .await
            .map_err(|e| Error::command(format!("creating the user '{name}'"), e))?;
        let home = user(&self.dirs, name)?.home;
        files::chmod(&self.dirs.system(&home.to_string_lossy()), 0o700)
    }

    pub(super) async fn groups(&self, name: &str, groups: &[&str]) -> Result<(), Error> {
        check_name(name)?;
        let (there, missing): (Vec<&str>, Vec<&str>) = groups
            .iter()
            .partition(|name| group(&self.dirs, name).is_ok());
        if !missing.is_empty() {
            tracing::warn!(
                user = name,
                missing = missing.join(","),
                "the stemcell lacks groups"
            );
        }
        let command = self.program("usermod").args(["-G", &there.join(","), name]);
        command
            .run()
            .await
            .map_err(|e| Error::command(format!("adding the user '{name}' to groups"), e))?;
        Ok(())
    }

    pub(super) async fn delete_users(&self, regex: &str) -> Result<(), Error> {
        let matcher = regex_lite::Regex::new(regex)
            .map_err(|e| Error::Invalid(format!("'{regex}' is no regular expression: {e}")))?;
        for account in users(&self.dirs)? {
            if account.name.starts_with(EPHEMERAL_USER_PREFIX) && matcher.is_match(&account.name) {
                let command = self.program("userdel").args(["-rf", &account.name]);
                let result = command.run().await;
                result.map_err(|e| {
                    Error::command(format!("deleting the user '{}'", account.name), e)
                })?;
            }
        }
        Ok(())
    }

    pub(super) fn public_host_key(&self) -> Result<String, Error> {
        let path = self.dirs.system("/etc/ssh/ssh_host_rsa_key.pub");
        files::read(&path)?.ok_or_else(|| {
            Error::file(
                "reading the host key",
                &path,
                std::io::ErrorKind::NotFound.into(),
            )
        })
    }

    /// A program that edits /etc/passwd and the like: those of this machine's root.
    fn program(&self, name: &str) -> Command {
        let command = Command::new(name);
        if self.dirs.is_machine() {
            command
        } else {
            command.arg("--root").arg(self.dirs.system("/"))
        }
    }
}

/// Names go to programs as arguments and to /etc/passwd as fields.
fn check_name(name: &str) -> Result<(), Error> {
    let sound = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let first = name
        .chars()
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if first && name.chars().all(sound) && name.len() <= 32 {
        Ok(())
    } else {
        Err(Error::Invalid(format!("{name:?} is no user name")))
    }
}
