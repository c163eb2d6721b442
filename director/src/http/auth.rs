//! Who asks, and what they may.

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use bosh_director_api::Code;
use sha2::{Digest as _, Sha256};

use super::error::{Error, Result};
use crate::config::{Config, UserManagement};

/// Someone who proved who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    /// Their name.
    pub(super) name: String,
    scopes: Vec<String>,
}

/// What a request needs (upstream: permission_authorizer.rb). Administrators
/// may do everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Permission {
    /// Everything else.
    Admin,
    /// Reading.
    Read,
    /// Reading that teams may do too, and see their own things.
    ReadShared,
    /// Making deployments and configs of one's team.
    TeamAdmin,
    /// Uploading releases.
    UploadReleases,
    /// Uploading stemcells.
    UploadStemcells,
}

impl User {
    /// Whoever the `Authorization` header names, if the password is right.
    pub(super) fn from_headers(headers: &HeaderMap, config: &Config) -> Option<Self> {
        let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, encoded) = value.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = base64::engine::general_purpose::STANDARD
            .decode(encoded.trim())
            .ok()?;
        let decoded = String::from_utf8(decoded).ok()?;
        let (name, password) = decoded.split_once(':')?;
        if name.is_empty() || password.is_empty() {
            return None;
        }
        let UserManagement::Local(users) = &config.user_management else {
            return None;
        };
        let mut found = None;
        for user in users {
            // All of them, so that time does not tell which names exist.
            let right = equal(&user.name, name) & equal(user.password.expose(), password);
            if right && found.is_none() {
                found = Some(Self {
                    name: user.name.clone(),
                    scopes: user.scopes.clone(),
                });
            }
        }
        found
    }

    /// Whether the user may, on something that belongs to `teams`.
    pub(super) fn may(&self, permission: Permission, director: &str, teams: &[String]) -> bool {
        self.expected(permission, director, teams)
            .iter()
            .any(|scope| self.scopes.contains(scope))
    }

    /// 401 with upstream's text unless the user may.
    pub(super) fn require(
        &self,
        permission: Permission,
        director: &str,
        teams: &[String],
    ) -> Result<()> {
        if self.may(permission, director, teams) {
            return Ok(());
        }
        let scopes = self.expected(permission, director, teams).join(", ");
        Err(Error::new(
            Code::UnauthorizedToAccessDeployment,
            format!("Require one of the scopes: {scopes}"),
        ))
    }

    fn expected(&self, permission: Permission, director: &str, teams: &[String]) -> Vec<String> {
        let mut scopes = vec!["bosh.admin".to_owned(), format!("bosh.{director}.admin")];
        scopes.extend(teams.iter().map(|team| format!("bosh.teams.{team}.admin")));
        let mine = |suffixes: &[&str]| -> Vec<String> {
            let of_team = |scope: &&String| {
                scope.strip_prefix("bosh.teams.").is_some_and(|rest| {
                    suffixes.iter().any(|suffix| {
                        rest.strip_suffix(suffix)
                            .is_some_and(|team| !team.contains('.'))
                    })
                })
            };
            self.scopes.iter().filter(of_team).cloned().collect()
        };
        match permission {
            Permission::Admin => {}
            Permission::Read | Permission::ReadShared => {
                scopes.extend(teams.iter().map(|team| format!("bosh.teams.{team}.read")));
                scopes.push("bosh.read".to_owned());
                scopes.push(format!("bosh.{director}.read"));
                if permission == Permission::ReadShared {
                    scopes.extend(mine(&[".admin", ".read"]));
                }
            }
            Permission::TeamAdmin => scopes.extend(mine(&[".admin"])),
            Permission::UploadReleases => scopes.push("bosh.releases.upload".to_owned()),
            Permission::UploadStemcells => scopes.push("bosh.stemcells.upload".to_owned()),
        }
        scopes
    }

    /// The teams that the user administers.
    pub(super) fn teams(&self) -> Vec<String> {
        self.scopes
            .iter()
            .filter_map(|scope| scope.strip_prefix("bosh.teams.")?.strip_suffix(".admin"))
            .map(str::to_owned)
            .collect()
    }
}

/// Compares without telling by the time it takes where two texts differ: their
/// digests are what is compared, and an attacker cannot choose those.
fn equal(a: &str, b: &str) -> bool {
    let (a, b) = (Sha256::digest(a.as_bytes()), Sha256::digest(b.as_bytes()));
    a.iter()
        .zip(b.iter())
        .fold(0, |difference, (a, b)| difference | (a ^ b))
        == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(scopes: &[&str]) -> User {
        User {
            name: "u".to_owned(),
            scopes: scopes.iter().map(|s| (*s).to_owned()).collect(),
        }
    }

    #[test]
    fn permissions_by_scope() {
        let teams = ["a".to_owned()];
        for (scopes, permission, teams, expected) in [
            (&["bosh.admin"][..], Permission::Admin, &[][..], true),
            (&["bosh.uuid.admin"], Permission::Admin, &[], true),
            (&["bosh.other.admin"], Permission::Admin, &[], false),
            (&["bosh.read"], Permission::Admin, &[], false),
            (&["bosh.read"], Permission::Read, &[], true),
            (&["bosh.teams.a.read"], Permission::Read, &[], false),
            (&["bosh.teams.a.read"], Permission::Read, &teams, true),
            (&["bosh.teams.a.read"], Permission::Admin, &teams, false),
            (&["bosh.teams.a.admin"], Permission::Admin, &teams, true),
            (&["bosh.teams.a.read"], Permission::ReadShared, &[], true),
            (&["bosh.teams.a.b.read"], Permission::ReadShared, &[], false),
            (
                &["bosh.releases.upload"],
                Permission::UploadReleases,
                &[],
                true,
            ),
            (
                &["bosh.releases.upload"],
                Permission::UploadStemcells,
                &[],
                false,
            ),
        ] {
            let may = user(scopes).may(permission, "uuid", teams);
            assert_eq!(may, expected, "{scopes:?} {permission:?} {teams:?}");
        }
    }
}
