//! Several digests of one stream at once.

use bosh_protocol::{
    MultiDigest,
    digest::{Algorithm, Hasher},
};

/// What agents name logs and compiled packages by. Upstream: agent/httpblobprovider/http_blob_provider.go.
pub const SHA1_AND_SHA512: &[Algorithm] = &[Algorithm::Sha1, Algorithm::Sha512];
/// What the director and agents with credentials name blobs by.
pub const SHA1: &[Algorithm] = &[Algorithm::Sha1];

/// Computes one or more digests of a stream.
#[derive(Debug, Clone)]
pub struct Hashers(Vec<Hasher>);

impl Hashers {
    /// Algorithms that this version does not know are left out; with none left it is SHA-1.
    pub fn new(algorithms: &[Algorithm]) -> Self {
        let mut hashers: Vec<Hasher> = algorithms
            .iter()
            .filter_map(|a| Hasher::new(a.clone()).ok())
            .collect();
        if hashers.is_empty() {
            hashers.push(Hasher::sha1());
        }
        Self(hashers)
    }

    /// Takes more of the stream.
    pub fn update(&mut self, bytes: &[u8]) {
        for hasher in &mut self.0 {
            hasher.update(bytes);
        }
    }

    /// The digests of everything taken, in the order asked for.
    pub fn finish(self) -> MultiDigest {
        let text: Vec<String> = self
            .0
            .into_iter()
            .map(|hasher| hasher.finish().to_string())
            .collect();
        MultiDigest::parse(&text.join(";"))
            .expect("at least one digest, each well-formed and of its own algorithm")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_come_in_the_order_asked_for() {
        let mut hashers = Hashers::new(SHA1_AND_SHA512);
        hashers.update(b"a");
        hashers.update(b"bc");
        let text = hashers.finish().to_string();
        assert!(
            text.starts_with("a9993e364706816aba3e25717850c26c9cd0d89d;sha512:ddaf35a193617aba"),
            "{text}"
        );
        assert!(
            Hashers::new(&[])
                .finish()
                .to_string()
                .starts_with("da39a3ee"),
            "never none at all"
        );
    }
}
