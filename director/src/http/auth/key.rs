//! The public key that tokens are signed with: RSA or an elliptic curve, in PEM.
//!
//! Checked with `ring`, which the director has anyway. Rejected: the crates for JSON web tokens, whose pure-Rust
//! backends bring a second RSA that leaks by its timing.

use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey,
    VerificationAlgorithm,
};
use rustls_pki_types::pem::{PemObject as _, SectionKind};
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer};

/// A public key. The kind decides which algorithms a token may name.
#[derive(Debug)]
pub(super) struct PublicKey {
    kind: Kind,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rsa,
    P256,
    P384,
}

const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];

impl PublicKey {
    /// Reads `PUBLIC KEY`, `RSA PUBLIC KEY` or `CERTIFICATE`; the error says what was expected.
    pub(super) fn from_pem(pem: &str) -> Result<Self, String> {
        let sections: Vec<(SectionKind, Vec<u8>)> =
            rustls_pki_types::pem::PemObject::pem_slice_iter(pem.as_bytes())
                .filter_map(Result::ok)
                .collect();
        if let Some((_, der)) = sections
            .iter()
            .find(|(kind, _)| *kind == SectionKind::PublicKey)
        {
            return Self::from_spki(der);
        }
        if sections
            .iter()
            .any(|(kind, _)| *kind == SectionKind::Certificate)
        {
            let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
                .map_err(|error| format!("certificate not understood: {error}"))?;
            let spki: SubjectPublicKeyInfoDer<'_> =
                rustls::server::ParsedCertificate::try_from(&certificate)
                    .map_err(|error| format!("certificate not understood: {error}"))?
                    .subject_public_key_info();
            return Self::from_spki(&spki);
        }
        if let Some(body) = between(
            pem,
            "-----BEGIN RSA PUBLIC KEY-----",
            "-----END RSA PUBLIC KEY-----",
        ) {
            return Ok(Self {
                kind: Kind::Rsa,
                bytes: body,
            });
        }
        Err("expected a public key or a certificate in PEM".to_owned())
    }

    fn from_spki(der: &[u8]) -> Result<Self, String> {
        let bad = || "the public key is not understood".to_owned();
        let (spki, _) = element(der, 0x30).ok_or_else(bad)?;
        let (algorithm, rest) = element(spki, 0x30).ok_or_else(bad)?;
        let (bits, _) = element(rest, 0x03).ok_or_else(bad)?;
        let (object, parameters) = element(algorithm, 0x06).ok_or_else(bad)?;
        let kind = if object == RSA {
            Kind::Rsa
        } else if object == EC {
            match element(parameters, 0x06).ok_or_else(bad)?.0 {
                curve if curve == P256 => Kind::P256,
                curve if curve == P384 => Kind::P384,
                _ => return Err("expected a key of P-256 or P-384".to_owned()),
            }
        } else {
            return Err("expected an RSA or elliptic curve key".to_owned());
        };
        // The first byte says how many bits of the last one are unused: none.
        let bytes = bits.split_first().ok_or_else(bad)?.1.to_vec();
        Ok(Self { kind, bytes })
    }

    /// Whether the signature is right by an algorithm that this key may be used with.
    pub(super) fn verifies(&self, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
        let by: &'static dyn VerificationAlgorithm = match (self.kind, algorithm) {
            (Kind::Rsa, "RS256") => &RSA_PKCS1_2048_8192_SHA256,
            (Kind::Rsa, "RS384") => &RSA_PKCS1_2048_8192_SHA384,
            (Kind::Rsa, "RS512") => &RSA_PKCS1_2048_8192_SHA512,
            (Kind::P256, "ES256") => &ECDSA_P256_SHA256_FIXED,
            (Kind::P384, "ES384") => &ECDSA_P384_SHA384_FIXED,
            _ => return false,
        };
        UnparsedPublicKey::new(by, &self.bytes)
            .verify(message, signature)
            .is_ok()
    }
}

/// The content of a DER element with this tag, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = der.split_first()?;
    let (length, rest) = rest.split_first()?;
    let (length, rest) = match *length {
        short @ 0..=0x7f => (usize::from(short), rest),
        long @ 0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            let length = bytes
                .iter()
                .fold(0usize, |length, byte| (length << 8) | usize::from(*byte));
            (length, rest)
        }
        _ => return None,
    };
    (*found == tag).then(|| rest.split_at_checked(length))?
}

fn between(text: &str, begin: &str, end: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    let (_, rest) = text.split_once(begin)?;
    let (body, _) = rest.split_once(end)?;
    let body: String = body.split_whitespace().collect();
    base64::engine::general_purpose::STANDARD.decode(body).ok()
}
