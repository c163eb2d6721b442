//! Users with passwords: those of director.yml, or those made through the API when that file names none
//! (upstream: api/user/config_user_manager.rb; the original's api/user_manager.rb).

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use ring::{hmac, rand};
use tokio::sync::Semaphore;

use super::user::User;
use crate::config::LocalUser;
use crate::db::{self, Db};
use crate::passwords;

/// How many passwords are compared with a hash at once: each takes a core and 19 MiB.
const AT_ONCE: usize = 2;
/// How many credentials that were right are remembered.
const KNOWN: usize = 1024;
/// Who everyone is as long as no user was made (as the original director has it).
const FIRST: &str = "admin";

/// Users with passwords.
pub(super) struct Users {
    configured: Vec<LocalUser>,
    db: Db,
    /// Digests of names and passwords that were right, by a key of this process: a hash need not be computed again for
    /// each request, and whoever was right before is not slowed down by those who guess.
    known: Mutex<HashSet<[u8; 32]>>,
    key: hmac::Key,
    places: Semaphore,
}

impl Users {
    pub(super) fn new(configured: Vec<LocalUser>, db: Db) -> Result<Self, String> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &rand::SystemRandom::new())
            .map_err(|_| "the system has no random numbers".to_owned())?;
        Ok(Self {
            configured,
            db,
            known: Mutex::new(HashSet::new()),
            key,
            places: Semaphore::new(AT_ONCE),
        })
    }

    /// The user, if these credentials were right before and still are. Quick.
    pub(super) async fn known(
        &self,
        name: &str,
        password: &str,
    ) -> Result<Option<User>, db::Error> {
        let Some((user, kept)) = self.find(name).await? else {
            return Ok(None);
        };
        let digest = self.digest(name, password, &kept);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(known.contains(&digest).then_some(user))
    }

    /// The user, if the password is right. May take some time.
    pub(super) async fn check(
        &self,
        name: &str,
        password: &str,
    ) -> Result<Option<User>, db::Error> {
        if name.is_empty() || password.is_empty() {
            return Ok(None);
        }
        let found = self.find(name).await?;
        // Names that do not exist take as long, so that time does not tell which ones do.
        let kept = found.as_ref().map_or("", |(_, kept)| kept.as_str());
        if !self.is_right(password, kept).await {
            return Ok(None);
        }
        let Some((user, kept)) = found else {
            return Ok(None);
        };
        let digest = self.digest(name, password, &kept);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN {
            known.clear();
        }
        known.insert(digest);
        Ok(Some(user))
    }

    /// The user of that name with what is kept of the password.
    async fn find(&self, name: &str) -> Result<Option<(User, String)>, db::Error> {
        if !self.configured.is_empty() {
            let user = self.configured.iter().find(|user| user.name == name);
            return Ok(user.map(|user| {
                let kept = user.password.expose().to_owned();
                (User::local(&user.name, user.scopes.clone()), kept)
            }));
        }
        let scopes = || vec!["bosh.admin".to_owned()];
        if let Some(user) = db::users::find(&self.db, name).await? {
            return Ok(Some((User::local(&user.username, scopes()), user.password)));
        }
        if name == FIRST && !db::users::any(&self.db).await? {
            return Ok(Some((User::local(FIRST, scopes()), FIRST.to_owned())));
        }
        Ok(None)
    }

    async fn is_right(&self, password: &str, kept: &str) -> bool {
        let hashed = match self.configured.first() {
            // All or none of them, by what the file looks like.
            Some(first) if kept.is_empty() => passwords::is_hash(first.password.expose()),
            None if kept.is_empty() => true,
            _ => passwords::is_hash(kept),
        };
        if !hashed {
            return self.equal(kept, password) & !kept.is_empty();
        }
        let Ok(_place) = self.places.acquire().await else {
            return false;
        };
        let (password, kept) = (password.to_owned(), kept.to_owned());
        let compared = tokio::task::spawn_blocking(move || {
            if kept.is_empty() {
                let _as_long_as_a_real_one = passwords::hash(&password);
                return false;
            }
            passwords::verify(&password, &kept)
        });
        compared.await.unwrap_or(false)
    }

    /// Compares without telling by the time it takes where two texts differ.
    fn equal(&self, a: &str, b: &str) -> bool {
        let tag = hmac::sign(&self.key, a.as_bytes());
        hmac::verify(&self.key, b.as_bytes(), tag.as_ref()).is_ok()
    }

    fn digest(&self, name: &str, password: &str, kept: &str) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [name, password, kept] {
            context.update(&part.len().to_le_bytes());
            context.update(part.as_bytes());
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }
}
