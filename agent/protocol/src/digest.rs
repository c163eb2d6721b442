//! Digests as the director writes them: `<sha1 hex>`, `sha256:<hex>`, or several joined by `;`.
//!
//! Only the strongest known digest is verified, as upstream does. Source: bosh-utils crypto/multiple_digest.go.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha1::Digest as _;

/// What can be wrong with a digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing between the semicolons.
    #[error("no digest algorithm found. Supported algorithms: sha1, sha256, sha512")]
    Empty,
    /// A character that no digest contains.
    #[error(
        "unable to parse digest string. Digest and algorithm key can only contain alpha-numeric characters"
    )]
    Malformed,
    /// The same algorithm twice.
    #[error("Multiple digests of the same algorithm '{algorithm}' found in digests '{digests}'")]
    Repeated {
        /// The algorithm.
        algorithm: Algorithm,
        /// All that was given.
        digests: String,
    },
    /// Nothing that this version can compute.
    #[error("Unable to create digest of unknown algorithm '{0}'")]
    UnknownAlgorithm(Algorithm),
    /// The bytes are not what was promised.
    #[error("Expected stream to have digest '{expected}' but was '{actual}'")]
    Mismatch {
        /// What was promised.
        expected: Digest,
        /// What the bytes have.
        actual: Digest,
    },
}

/// A digest algorithm.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// The default, written without a prefix.
    Sha1,
    /// `sha256:`
    Sha256,
    /// `sha512:`
    Sha512,
    /// Something newer, carried along but never verified.
    Unknown(String),
}

impl Algorithm {
    /// Its name on the wire.
    pub fn name(&self) -> &str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
            Self::Unknown(name) => name,
        }
    }

    fn from_name(name: &str) -> Self {
        match name {
            "sha1" => Self::Sha1,
            "sha256" => Self::Sha256,
            "sha512" => Self::Sha512,
            _ => Self::Unknown(name.to_owned()),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One digest of one algorithm.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    hex: String,
}

impl Digest {
    /// How it was computed.
    pub fn algorithm(&self) -> &Algorithm {
        &self.algorithm
    }

    /// Its value in hexadecimal.
    pub fn hex(&self) -> &str {
        &self.hex
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.algorithm {
            Algorithm::Sha1 => f.write_str(&self.hex),
            _ => write!(f, "{}:{}", self.algorithm, self.hex),
        }
    }
}

/// One or more digests of the same bytes, at most one of each algorithm.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MultiDigest {
    digests: Vec<Digest>,
}

impl MultiDigest {
    /// Parses what the director wrote.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut digests: Vec<Digest> = Vec::new();
        for piece in text.split(';').filter(|piece| !piece.is_empty()) {
            let (algorithm, hex) = piece.split_once(':').unwrap_or(("sha1", piece));
            let alphanumeric =
                |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric());
            if !alphanumeric(algorithm) || !alphanumeric(hex) {
                return Err(Error::Malformed);
            }
            let algorithm = Algorithm::from_name(algorithm);
            if digests.iter().any(|other| other.algorithm == algorithm) {
                return Err(Error::Repeated {
                    algorithm,
                    digests: text.to_owned(),
                });
            }
            digests.push(Digest {
                algorithm,
                hex: hex.to_owned(),
            });
        }
        if digests.is_empty() {
            return Err(Error::Empty);
        }
        Ok(Self { digests })
    }

    /// The digest that counts: SHA-512 before SHA-256 before SHA-1 before anything unknown.
    pub fn strongest(&self) -> &Digest {
        [Algorithm::Sha512, Algorithm::Sha256, Algorithm::Sha1]
            .iter()
            .find_map(|algorithm| self.of(algorithm))
            .unwrap_or(&self.digests[0])
    }

    /// The digest of one algorithm, if it is there.
    pub fn of(&self, algorithm: &Algorithm) -> Option<&Digest> {
        self.digests
            .iter()
            .find(|digest| digest.algorithm == *algorithm)
    }

    /// All of them, in the order given.
    pub fn digests(&self) -> &[Digest] {
        &self.digests
    }

    /// Starts verifying a stream against the strongest digest.
    pub fn verifier(&self) -> Result<Verifier, Error> {
        let expected = self.strongest().clone();
        Ok(Verifier {
            hasher: Hasher::new(expected.algorithm.clone())?,
            expected,
        })
    }

    /// Verifies bytes that are all here.
    pub fn verify(&self, bytes: &[u8]) -> Result<(), Error> {
        let mut verifier = self.verifier()?;
        verifier.update(bytes);
        verifier.finish()
    }
}

impl From<Digest> for MultiDigest {
    fn from(digest: Digest) -> Self {
        Self {
            digests: vec![digest],
        }
    }
}

impl fmt::Display for MultiDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, digest) in self.digests.iter().enumerate() {
            if n > 0 {
                f.write_str(";")?;
            }
            digest.fmt(f)?;
        }
        Ok(())
    }
}

impl FromStr for MultiDigest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl Serialize for MultiDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MultiDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Computes one digest of a stream.
#[derive(Clone, Debug)]
pub struct Hasher(State);

#[derive(Clone, Debug)]
enum State {
    Sha1(sha1::Sha1),
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
}

impl Hasher {
    /// Fails for [`Algorithm::Unknown`].
    pub fn new(algorithm: Algorithm) -> Result<Self, Error> {
        Ok(Self(match algorithm {
            Algorithm::Sha1 => State::Sha1(sha1::Sha1::new()),
            Algorithm::Sha256 => State::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => State::Sha512(sha2::Sha512::new()),
            Algorithm::Unknown(_) => return Err(Error::UnknownAlgorithm(algorithm)),
        }))
    }

    /// SHA-1, which uploads are named by.
    pub fn sha1() -> Self {
        Self(State::Sha1(sha1::Sha1::new()))
    }

    /// SHA-256.
    pub fn sha256() -> Self {
        Self(State::Sha256(sha2::Sha256::new()))
    }

    /// SHA-512.
    pub fn sha512() -> Self {
        Self(State::Sha512(sha2::Sha512::new()))
    }

    /// Takes more of the stream.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha1(state) => state.update(bytes),
            State::Sha256(state) => state.update(bytes),
            State::Sha512(state) => state.update(bytes),
        }
    }

    /// The digest of everything taken.
    pub fn finish(self) -> Digest {
        match self.0 {
            State::Sha1(state) => Digest {
                algorithm: Algorithm::Sha1,
                hex: hex(&state.finalize()),
            },
            State::Sha256(state) => Digest {
                algorithm: Algorithm::Sha256,
                hex: hex(&state.finalize()),
            },
            State::Sha512(state) => Digest {
                algorithm: Algorithm::Sha512,
                hex: hex(&state.finalize()),
            },
        }
    }
}

/// Compares a stream with what was promised.
#[derive(Clone, Debug)]
pub struct Verifier {
    expected: Digest,
    hasher: Hasher,
}

impl Verifier {
    /// Takes more of the stream.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// Ends the stream; fails with [`Error::Mismatch`].
    pub fn finish(self) -> Result<(), Error> {
        let actual = self.hasher.finish();
        if actual == self.expected {
            Ok(())
        } else {
            Err(Error::Mismatch {
                expected: self.expected,
                actual,
            })
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)].into());
        text.push(DIGITS[usize::from(byte & 15)].into());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA1_OF_ABC: &str = "a9993e364706816aba3e25717850c26c9cd0d89d";
    const SHA256_OF_ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_bare_digest_is_sha1() {
        let digest = MultiDigest::parse(SHA1_OF_ABC).unwrap();
        assert_eq!(digest.strongest().algorithm(), &Algorithm::Sha1);
        assert_eq!(digest.to_string(), SHA1_OF_ABC);
        digest.verify(b"abc").unwrap();
    }

    #[test]
    fn a_sha1_prefix_is_dropped_when_printed() {
        assert_eq!(
            MultiDigest::parse(&format!("sha1:{SHA1_OF_ABC}"))
                .unwrap()
                .to_string(),
            SHA1_OF_ABC
        );
    }

    #[test]
    fn only_the_strongest_is_verified() {
        let text = format!("0000;sha256:{SHA256_OF_ABC};sha9:ff");
        let digest = MultiDigest::parse(&text).unwrap();
        assert_eq!(digest.to_string(), text);
        digest.verify(b"abc").unwrap();
    }

    #[test]
    fn verifies_a_stream_in_pieces() {
        let digest = MultiDigest::parse(&format!("sha256:{SHA256_OF_ABC}")).unwrap();
        let mut verifier = digest.verifier().unwrap();
        verifier.update(b"a");
        verifier.update(b"bc");
        verifier.finish().unwrap();
    }

    #[test]
    fn a_mismatch_says_both() {
        let error = MultiDigest::parse("sha1:00ff")
            .unwrap()
            .verify(b"abc")
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("Expected stream to have digest '00ff' but was '{SHA1_OF_ABC}'")
        );
    }

    #[test]
    fn refuses_what_upstream_refuses() {
        assert_eq!(MultiDigest::parse("").unwrap_err(), Error::Empty);
        assert_eq!(MultiDigest::parse(";").unwrap_err(), Error::Empty);
        assert_eq!(MultiDigest::parse("sha256:").unwrap_err(), Error::Malformed);
        assert_eq!(
            MultiDigest::parse("sha1:a:b").unwrap_err(),
            Error::Malformed
        );
        assert_eq!(MultiDigest::parse("../etc").unwrap_err(), Error::Malformed);
        assert!(matches!(
            MultiDigest::parse("aa;sha1:bb").unwrap_err(),
            Error::Repeated { .. }
        ));
        assert!(matches!(
            MultiDigest::parse("sha9:aa")
                .unwrap()
                .verifier()
                .unwrap_err(),
            Error::UnknownAlgorithm(_)
        ));
    }

    #[test]
    fn sha512_is_known() {
        let mut hasher = Hasher::new(Algorithm::Sha512).unwrap();
        hasher.update(b"abc");
        let digest = hasher.finish();
        assert!(digest.to_string().starts_with("sha512:ddaf35a193617aba"));
        MultiDigest::from(digest).verify(b"abc").unwrap();
    }
}
