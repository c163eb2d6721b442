//! Blob ids: which are allowed, and where a blob lies.
//!
//! Upstream makes them as UUIDs; the director's `folder` option and releases may hold others, so anything that stays
//! within the store is taken.

use crate::Error;
use sha1::{Digest, Sha1};

/// Refuses ids that are empty, absolute, lead upwards, or hold control characters.
pub fn check(id: &str) -> Result<(), Error> {
    let bad = id.is_empty()
        || id.len() > 512
        || id.chars().any(|c| c.is_control() || c == '\\')
        || id
            .split('/')
            .any(|part| part.is_empty() || part == "." || part == "..");
    if bad {
        Err(Error::InvalidId(id.to_owned()))
    } else {
        Ok(())
    }
}

/// Where a DAV blobstore keeps a blob, below its root: `<first byte of the id's SHA-1 in hex>/<id>`.
/// Upstream: bosh-davcli client/client.go.
pub fn dav_path(id: &str) -> String {
    format!("{:02x}/{id}", Sha1::digest(id.as_bytes())[0])
}

/// Makes a fresh id: a random UUID.
pub fn generate() -> String {
    uuid::Uuid::new_v4().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_stays_within_the_store() {
        for good in [
            "1d1f8a84-9f3b-4a2e-8d43-1b6f0f1f6d11",
            "folder/abc",
            "a.tgz",
            "..a",
        ] {
            check(good).expect(good);
        }
        for bad in [
            "",
            "/etc/passwd",
            "../x",
            "a/../b",
            "a//b",
            "a/.",
            "a\0b",
            "a\nb",
            "a\\b",
        ] {
            assert!(matches!(check(bad), Err(Error::InvalidId(_))), "{bad:?}");
        }
    }

    #[test]
    fn dav_paths_start_with_the_first_sha1_byte() {
        // printf abc | sha1sum -> a9993e36...
        assert_eq!(dav_path("abc"), "a9/abc");
    }
}
