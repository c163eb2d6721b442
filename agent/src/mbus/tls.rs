//! TLS to NATS: the agent's own certificate, and a server that must be signed by the CA of the settings and be called
//! `*.nats.bosh-internal`. Source: upstream mbus/nats_handler.go, VerifyPeerCertificate.

use std::sync::Arc;

use bosh_protocol::settings::CertKeyPair;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use super::Error;

/// The suffix of the common name of every NATS server.
const NATS_DOMAIN: &str = ".nats.bosh-internal";

/// What to connect with; fails if any of the PEM is missing or is none.
pub fn client_config(pair: &CertKeyPair) -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Verifier::new(&pair.ca, provider.clone())?;
    let bad = |what| {
        move |error: rustls::pki_types::pem::Error| Error::Certificate(what, Box::new(error))
    };
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(pair.certificate.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(bad("parse certificate"))?;
    let key = PrivateKeyDer::from_pem_slice(pair.private_key.expose().as_bytes())
        .map_err(bad("parse private key"))?;
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Certificate("choose protocol", Box::new(error)))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(chain, key)
        .map_err(|error| Error::Certificate("use certificate and private key", Box::new(error)))
}

/// WebPKI's verification, and the name.
#[derive(Debug)]
struct Verifier(Arc<WebPkiServerVerifier>);

impl Verifier {
    fn new(ca: &str, provider: Arc<CryptoProvider>) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
            let certificate =
                certificate.map_err(|error| Error::Certificate("parse CA", Box::new(error)))?;
            roots
                .add(certificate)
                .map_err(|error| Error::Certificate("use CA", Box::new(error)))?;
        }
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        Ok(Self(verifier.map_err(|error| {
            Error::Certificate("use CA", Box::new(error))
        })?))
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self
            .0
            .verify_server_cert(certificate, intermediates, server, ocsp, now)?;
        if common_name(certificate).is_some_and(is_nats) {
            return Ok(verified);
        }
        tracing::warn!("server Certificate CommonName does not match *{NATS_DOMAIN}");
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

fn is_nats(name: &str) -> bool {
    name.strip_suffix(NATS_DOMAIN).is_some_and(|host| {
        host.chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '*' || c == '-')
    })
}

/// The last common name of a certificate's subject. An X.509 parser would be for this alone, so DER is walked here:
/// `Certificate{tbs{[0] version, serial, algorithm, issuer, validity, subject{set{type{oid, value}}}}}`.
fn common_name<'a>(certificate: &'a CertificateDer<'_>) -> Option<&'a str> {
    const SEQUENCE: u8 = 0x30;
    const SET: u8 = 0x31;
    const OID: u8 = 0x06;
    const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

    let (certificate, _) = expect(SEQUENCE, certificate.as_ref())?;
    let (mut tbs, _) = expect(SEQUENCE, certificate)?;
    if tbs.first() == Some(&0xa0) {
        tbs = element(tbs)?.2;
    }
    for _ in ["serial", "algorithm", "issuer", "validity"] {
        tbs = element(tbs)?.2;
    }
    let (mut subject, _) = expect(SEQUENCE, tbs)?;
    let mut name = None;
    while !subject.is_empty() {
        let (set, rest) = expect(SET, subject)?;
        subject = rest;
        let (pair, _) = expect(SEQUENCE, set)?;
        let (oid, value) = expect(OID, pair)?;
        if oid == COMMON_NAME {
            name = std::str::from_utf8(element(value)?.1).ok();
        }
    }
    name
}

fn expect(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (actual, content, rest) = element(der)?;
    (actual == tag).then_some((content, rest))
}

/// The first element's tag and content, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, der) = der.split_first()?;
    let (&first, mut der) = der.split_first()?;
    let mut length = usize::from(first);
    if first & 0x80 != 0 {
        let (bytes, rest) = der
            .split_at_checked(usize::from(first & 0x7f))
            .filter(|(bytes, _)| bytes.len() <= 4)?;
        length = bytes
            .iter()
            .fold(0, |length, byte| length << 8 | usize::from(*byte));
        der = rest;
    }
    let (content, rest) = der.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    fn certificate(names: &[(DnType, &str)]) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, name) in names {
            params.distinguished_name.push(kind.clone(), *name);
        }
        params
            .self_signed(&KeyPair::generate().unwrap())
            .unwrap()
            .der()
            .clone()
    }

    #[test]
    fn common_names_are_found() {
        let names = [
            (DnType::CountryName, "USA"),
            (DnType::OrganizationName, "Cloud Foundry"),
            (DnType::CommonName, "default.nats.bosh-internal"),
        ];
        assert_eq!(
            common_name(&certificate(&names)),
            Some("default.nats.bosh-internal")
        );
        assert_eq!(common_name(&certificate(&names[..2])), None);
        assert_eq!(
            common_name(&CertificateDer::from(vec![0x30, 0x82, 0xff])),
            None
        );
    }

    #[test]
    fn only_nats_is_nats() {
        assert!(is_nats("default.nats.bosh-internal"));
        assert!(is_nats("*.nats.bosh-internal"));
        assert!(!is_nats("default.director.bosh-internal"));
        assert!(!is_nats("evil.com/.nats.bosh-internal"));
        assert!(!is_nats("default.nats.bosh-internal.evil.com"));
    }

    #[test]
    fn a_certificate_is_necessary() {
        let error = client_config(&CertKeyPair::default()).unwrap_err();
        assert_eq!(error.to_string(), "use CA of the message bus certificate");
    }
}
