//! Passwords as they are kept: argon2id, in the PHC string format.

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};

/// Longest password that is looked at.
pub const LONGEST: usize = 4096;

/// A password could not be hashed.
#[derive(Debug, thiserror::Error)]
#[error("hash a password: {0}")]
pub struct Error(String);

/// What is kept of a password: `$argon2id$...`. Takes some 20 ms and 19 MiB on purpose; not for an async thread.
pub fn hash(password: &str) -> Result<String, Error> {
    Argon2::default()
        .hash_password(password.as_bytes())
        .map(|hash| hash.to_string())
        .map_err(|error| Error(error.to_string()))
}

/// Whether it is the password that was hashed. As slow as [`hash`].
pub fn verify(password: &str, hash: &str) -> bool {
    password.len() <= LONGEST
        && PasswordHash::new(hash).is_ok_and(|hash| {
            Argon2::default()
                .verify_password(password.as_bytes(), &hash)
                .is_ok()
        })
}

/// Whether a text is a hash by [`hash`], or of another program in the same format.
pub fn is_hash(text: &str) -> bool {
    text.starts_with("$argon2id$") && PasswordHash::new(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_known_again_and_no_other() {
        let kept = hash("s3cret").unwrap();
        assert!(kept.starts_with("$argon2id$v=19$"), "{kept}");
        assert!(is_hash(&kept) && !is_hash("s3cret") && !is_hash("$argon2id$"));
        assert_ne!(hash("s3cret").unwrap(), kept, "salted");
        assert!(verify("s3cret", &kept));
        assert!(!verify("s3cret ", &kept));
        assert!(!verify("s3cret", "s3cret"));
    }
}
