//! TLS settings from PEM files.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::Error;

/// For a client with a certificate of its own, to a server whose certificate one CA file signed.
pub fn client_tls(ca: &Path, certificate: &Path, key: &Path) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    for root in certificates(ca)? {
        roots.add(root).map_err(|e| pem(ca, e))?;
    }
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| pem(certificate, e))?
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
        .map_err(|e| pem(certificate, e))
}

/// For a server; clients need no certificate.
pub fn server_tls(tls: &crate::config::Tls) -> Result<ServerConfig, Error> {
    ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| pem(&tls.certificate, e))?
        .with_no_client_auth()
        .with_single_cert(
            certificates(&tls.certificate)?,
            private_key(&tls.private_key)?,
        )
        .map_err(|e| pem(&tls.certificate, e))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn pem(file: &Path, reason: impl std::fmt::Display) -> Error {
    Error::Pem {
        file: file.to_path_buf(),
        reason: reason.to_string(),
    }
}

fn read(file: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(file).map_err(|e| Error::Read(file.to_path_buf(), e))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&read(file)?)
        .collect::<Result<_, _>>()
        .map_err(|e| pem(file, e))?;
    if chain.is_empty() {
        return Err(pem(file, "no certificate in it"));
    }
    Ok(chain)
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_slice(&read(file)?).map_err(|e| pem(file, e))
}
