//! Who may use the interface.

use std::net::IpAddr;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::supervisor::handle::{Error, Options};
use crate::supervisor::monitrc::{Httpd, HttpdAllow};
use crate::supervisor::state::write_atomically;

/// Users and hosts that may use the interface.
#[derive(Clone, Default)]
pub struct Access {
    users: Vec<(String, String, bool)>,
    files: Vec<(PathBuf, Vec<String>)>,
    hosts: Vec<String>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access")
            .field("files", &self.files)
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    None,
    Read,
    Full,
}

impl Access {
    /// The user in `monit/monit.user`, which is made with a random password if there is none.
    ///
    /// # Errors
    /// `Error::File`.
    pub fn from_options(options: &Options) -> Result<Self, Error> {
        let path = options.credentials_file();
        let usable = std::fs::read_to_string(&path).is_ok_and(|text| text.contains(':'));
        if !usable {
            let password = uuid::Uuid::new_v4().simple().to_string();
            write_atomically(&path, format!("vcap:{password}").as_bytes(), 0o600)
                .map_err(Error::file("write", &path))?;
        }
        Ok(Self {
            files: vec![(path, Vec::new())],
            ..Self::default()
        })
    }

    /// What `set httpd` allows. Hashed passwords and PAM are not supported and let nobody in.
    pub fn from_settings(httpd: &Httpd) -> Self {
        let mut access = Self::default();
        for allow in &httpd.allow {
            match allow {
                HttpdAllow::User {
                    name,
                    password,
                    read_only,
                } => {
                    access
                        .users
                        .push((name.clone(), password.clone(), *read_only));
                }
                HttpdAllow::ClearText(path, users) => {
                    access.files.push((path.clone(), users.clone()))
                }
                HttpdAllow::Host(host) => access.hosts.push(host.clone()),
                HttpdAllow::Hashed(..) | HttpdAllow::Pam(_) => {
                    tracing::warn!(
                        ?allow,
                        "this kind of credentials is not supported and lets nobody in"
                    );
                }
            }
        }
        access
    }

    /// The name and password a client can use.
    pub(in crate::supervisor) fn credentials(&self) -> Option<(String, String)> {
        let full = self.users.iter().find(|(.., read_only)| !read_only);
        full.map(|(name, password, _)| (name.clone(), password.clone()))
            .or_else(|| self.stored().next())
    }

    fn stored(&self) -> impl Iterator<Item = (String, String)> {
        self.files.iter().flat_map(|(path, users)| {
            // Read each time: the file may be rewritten, and it is small.
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let pairs: Vec<(String, String)> = text
                .lines()
                .filter_map(|line| line.trim().split_once(':'))
                .filter(|(name, _)| users.is_empty() || users.iter().any(|user| user == name))
                .map(|(name, password)| (name.to_owned(), password.to_owned()))
                .collect();
            pairs
        })
    }

    pub(super) fn right(&self, peer: IpAddr, authorization: Option<&str>) -> Right {
        if !self.hosts.is_empty() && !self.hosts.iter().any(|host| host_matches(host, peer)) {
            return Right::None;
        }
        if self.users.is_empty() && self.files.is_empty() {
            return if self.hosts.is_empty() {
                Right::None
            } else {
                Right::Full
            };
        }
        let Some((name, password)) = authorization.and_then(decode) else {
            return Right::None;
        };
        let same = |own_name: &str, own_password: &str| {
            equal(own_name, &name) & equal(own_password, &password)
        };
        if self
            .stored()
            .any(|(own_name, own_password)| same(&own_name, &own_password))
        {
            return Right::Full;
        }
        match self
            .users
            .iter()
            .find(|(own_name, own_password, _)| same(own_name, own_password))
        {
            Some((.., true)) => Right::Read,
            Some((.., false)) => Right::Full,
            None => Right::None,
        }
    }
}

fn host_matches(host: &str, peer: IpAddr) -> bool {
    if host.eq_ignore_ascii_case("localhost") {
        return peer.is_loopback();
    }
    let (network, bits) = match host.split_once('/') {
        None => return host.parse() == Ok(peer),
        Some((network, bits)) => (network, bits),
    };
    match (network.parse(), peer, bits.parse::<u32>()) {
        (Ok(IpAddr::V4(network)), IpAddr::V4(peer), Ok(bits)) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            u32::from(network) & mask == u32::from(peer) & mask
        }
        _ => false,
    }
}

/// Takes the same time wherever the difference is.
fn equal(left: &str, right: &str) -> bool {
    let differences = left
        .bytes()
        .zip(right.bytes())
        .fold(0, |sum, (a, b)| sum | (a ^ b));
    left.len() == right.len() && differences == 0
}

fn decode(authorization: &str) -> Option<(String, String)> {
    let (scheme, value) = authorization.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(value.trim()).ok()?).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::{Access, Right, host_matches};
    use crate::supervisor::monitrc::{Httpd, HttpdAllow};

    const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn user(name: &str, read_only: bool) -> HttpdAllow {
        HttpdAllow::User {
            name: name.to_owned(),
            password: "secret".to_owned(),
            read_only,
        }
    }

    fn access(allow: Vec<HttpdAllow>) -> Access {
        Access::from_settings(&Httpd {
            port: 2822,
            address: None,
            allow,
        })
    }

    #[test]
    fn users_must_know_their_password() {
        let access = access(vec![user("full", false), user("guest", true)]);
        // full:secret, guest:secret, full:wrong
        assert_eq!(
            access.right(LOCAL, Some("Basic ZnVsbDpzZWNyZXQ=")),
            Right::Full
        );
        assert_eq!(
            access.right(LOCAL, Some("Basic Z3Vlc3Q6c2VjcmV0")),
            Right::Read
        );
        assert_eq!(
            access.right(LOCAL, Some("Basic ZnVsbDp3cm9uZw==")),
            Right::None
        );
        assert_eq!(
            access.right(LOCAL, Some("Bearer ZnVsbDpzZWNyZXQ=")),
            Right::None
        );
        assert_eq!(access.right(LOCAL, None), Right::None);
    }

    #[test]
    fn nobody_may_do_anything_unless_allowed() {
        assert_eq!(access(Vec::new()).right(LOCAL, None), Right::None);
        assert_eq!(
            access(vec![HttpdAllow::Host("localhost".to_owned())]).right(LOCAL, None),
            Right::Full
        );
        let other = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!(
            access(vec![HttpdAllow::Host("localhost".to_owned())]).right(other, None),
            Right::None
        );
    }

    #[test]
    fn networks_match_by_their_prefix() {
        let peer = IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3));
        assert!(host_matches("10.1.0.0/16", peer));
        assert!(host_matches("0.0.0.0/0", peer));
        assert!(!host_matches("10.2.0.0/16", peer));
        assert!(host_matches("10.1.2.3", peer));
        assert!(!host_matches("10.1.2.0/33", peer));
    }

    #[test]
    fn passwords_are_not_printed() {
        let access = access(vec![user("full", false)]);
        assert!(!format!("{access:?}").contains("secret"));
    }
}
