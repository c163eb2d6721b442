//! Cloud ids. They come back from the director as text, so each is checked before it becomes part of a path.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest id accepted; ours have 41 characters at most.
const MAX_LENGTH: usize = 128;

macro_rules! cid {
    ($name:ident, $prefix:literal, $what:literal) => {
        #[doc = concat!("The cloud id of a ", $what, ", `", $prefix, "<uuid>`. Safe as a file name.")]
        #[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// A fresh id.
            pub fn generate() -> Self {
                Self(format!(concat!($prefix, "{}"), uuid::Uuid::new_v4()))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = Malformed;

            fn try_from(text: String) -> Result<Self, Malformed> {
                if is_safe(&text) {
                    Ok(Self(text))
                } else {
                    Err(Malformed { what: $what, text })
                }
            }
        }

        impl From<$name> for String {
            fn from(cid: $name) -> Self {
                cid.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

cid!(VmCid, "c-", "VM");
cid!(DiskCid, "disk-", "disk");
cid!(StemcellCid, "sc-", "stemcell");
cid!(SnapshotCid, "snap-", "snapshot");

/// Text that cannot be a cloud id of ours.
#[derive(Debug, thiserror::Error)]
#[error("'{text}' is not the cloud id of a {what}")]
pub struct Malformed {
    what: &'static str,
    text: String,
}

fn is_safe(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_LENGTH
        && !text.starts_with('.')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_file_names_are_ids() {
        for bad in [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            "a b",
            "a\0b",
            ".hidden",
            &"x".repeat(200),
        ] {
            assert!(VmCid::try_from(bad.to_owned()).is_err(), "{bad:?}");
        }
        let cid = DiskCid::generate();
        assert_eq!(DiskCid::try_from(cid.as_str().to_owned()).unwrap(), cid);
    }
}
