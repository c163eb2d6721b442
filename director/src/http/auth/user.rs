//! Someone who proved who they are.

use bosh_director_api::Code;

use super::permission::{self, Permission};
use crate::http::error::{Error, Result};

/// Someone who proved who they are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::http) struct User {
    /// What tasks and events say: a user's name, or a client's.
    pub(in crate::http) name: String,
    /// A user's name; a UAA client that logged in for itself has none.
    pub(super) username: Option<String>,
    /// The UAA client.
    pub(super) client: Option<String>,
    scopes: Vec<String>,
}

/// Who asks, if anyone; each request carries it once the gate has let it in.
#[derive(Debug, Clone)]
pub(in crate::http) struct Asking(pub(in crate::http) Option<User>);

impl User {
    pub(super) fn local(name: &str, scopes: Vec<String>) -> Self {
        Self {
            name: name.to_owned(),
            username: Some(name.to_owned()),
            client: None,
            scopes,
        }
    }

    /// Of a token; one without a user and a client names nobody.
    pub(super) fn of_token(
        username: Option<String>,
        client: Option<String>,
        scopes: Vec<String>,
    ) -> Option<Self> {
        Some(Self {
            name: username.clone().or_else(|| client.clone())?,
            username,
            client,
            scopes,
        })
    }

    /// Whether the user may, on something that belongs to `teams`.
    pub(in crate::http) fn may(
        &self,
        permission: Permission,
        director: &str,
        teams: &[String],
    ) -> bool {
        // What most requests are decided by, without making a list.
        if self.scopes.iter().any(|scope| scope == "bosh.admin") {
            return true;
        }
        permission::expected(permission, director, teams, &self.scopes)
            .iter()
            .any(|scope| permission::held(scope, &self.scopes))
    }

    /// 401 with upstream's text unless the user may.
    pub(in crate::http) fn require(
        &self,
        permission: Permission,
        director: &str,
        teams: &[String],
    ) -> Result<()> {
        if self.may(permission, director, teams) {
            return Ok(());
        }
        let scopes = permission::expected(permission, director, teams, &self.scopes).join(", ");
        Err(Error::new(
            Code::UnauthorizedToAccessDeployment,
            format!("Require one of the scopes: {scopes}"),
        ))
    }

    /// The teams that the user administers.
    pub(in crate::http) fn teams(&self) -> Vec<String> {
        let teams = self.scopes.iter();
        teams
            .filter_map(|scope| permission::team(scope, ".admin"))
            .map(str::to_owned)
            .collect()
    }
}
