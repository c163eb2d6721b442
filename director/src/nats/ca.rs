//! Signs agents' certificates.

use std::path::Path;

use bosh_protocol::{AgentId, Secret};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SerialNumber,
};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use time::{Duration, OffsetDateTime};

use super::Error;
use crate::config::Tls;

/// How long an agent's certificate is good for. Upstream: two years.
const VALIDITY: Duration = Duration::days(2 * 365);

/// A certificate and its key, as PEM.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The certificate.
    pub certificate: String,
    /// Its key, PKCS #8.
    pub private_key: Secret,
}

/// The CA that agents' certificates come from. Its key may be RSA (as upstream's manifests make it), P-256 or P-384, in
/// any of the three PEM forms; agents get P-256 keys, which take microseconds to make.
pub struct ClientCa {
    issuer: Issuer<'static, KeyPair>,
    fingerprint_source: String,
}

impl ClientCa {
    /// Reads the CA's certificate and key, and checks that they belong together.
    pub fn load(files: &Tls) -> Result<Self, Error> {
        let certificate = read(&files.certificate)?;
        let key = read(&files.private_key)?;
        let pair = key_pair(&files.private_key, &key)?;
        let der = rustls_pki_types::CertificateDer::from_pem_slice(certificate.as_bytes())
            .map_err(|e| pem(&files.certificate, e))?;
        // The public key stands in the certificate byte by byte, RSA's and EC's alike.
        let public = pair.public_key_raw();
        if !der.windows(public.len()).any(|window| window == public) {
            return Err(Error::Mismatch);
        }
        let issuer =
            Issuer::from_ca_cert_der(&der, pair).map_err(|e| pem(&files.certificate, e))?;
        Ok(Self {
            issuer,
            fingerprint_source: format!("{certificate}{key}"),
        })
    }

    /// The certificate that a VM is made with; an agent that is reached gets [`ClientCa::permanent`] then.
    pub fn bootstrap(&self, agent: &AgentId) -> Result<Credentials, Error> {
        self.issue(&format!("{agent}.bootstrap.agent.bosh-internal"))
    }

    /// The certificate that an agent keeps.
    pub fn permanent(&self, agent: &AgentId) -> Result<Credentials, Error> {
        self.issue(&format!("{agent}.agent.bosh-internal"))
    }

    /// A client's certificate of that common name.
    pub fn issue(&self, common_name: &str) -> Result<Credentials, Error> {
        let failed = |e| Error::Certificate(common_name.to_string(), e);
        let key = KeyPair::generate().map_err(failed)?;
        let params = client_params(common_name, VALIDITY);
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok(Credentials {
            certificate: certificate.pem(),
            private_key: key.serialize_pem().into(),
        })
    }

    /// Tells whether agents have certificates of this CA and trust this server: SHA-1 over the CA's certificate and
    /// key and the server's CA, as upstream stores it with each VM (`nats_config_sha1`).
    pub fn fingerprint(&self, server_ca: &str) -> String {
        use sha1::{Digest, Sha1};
        let digest = Sha1::digest(format!("{}{server_ca}", self.fingerprint_source));
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// `C=USA, O=Cloud Foundry, CN=..`: nats-server maps users by exactly this.
pub(super) fn subject(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    // "USA" is what upstream writes, though a country has two letters.
    match "USA".try_into() {
        Ok(country) => name.push(DnType::CountryName, DnValue::PrintableString(country)),
        Err(_) => name.push(DnType::CountryName, "USA"),
    }
    name.push(DnType::OrganizationName, "Cloud Foundry");
    name.push(DnType::CommonName, common_name);
    name
}

pub(super) fn client_params(common_name: &str, validity: Duration) -> CertificateParams {
    let mut params = leaf_params(common_name, validity);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

pub(super) fn leaf_params(common_name: &str, validity: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(common_name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    lifetime(&mut params, validity);
    params
}

pub(super) fn ca_params(common_name: &str, validity: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    lifetime(&mut params, validity);
    params
}

fn lifetime(params: &mut CertificateParams, validity: Duration) {
    // A VM's clock may be behind when it connects for the first time.
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::hours(1);
    params.not_after = now + validity;
    params.serial_number = Some(SerialNumber::from_slice(uuid::Uuid::new_v4().as_bytes()));
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|e| Error::Read(path.to_path_buf(), e))
}

fn pem(path: &Path, reason: impl std::fmt::Display) -> Error {
    Error::Pem {
        file: path.to_path_buf(),
        reason: reason.to_string(),
    }
}

fn key_pair(path: &Path, text: &str) -> Result<KeyPair, Error> {
    let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|e| pem(path, e))?;
    let candidates = match &key {
        PrivateKeyDer::Pkcs8(key) => vec![key.secret_pkcs8_der().to_vec()],
        PrivateKeyDer::Pkcs1(key) => vec![pkcs8::wrap(pkcs8::RSA, key.secret_pkcs1_der())],
        PrivateKeyDer::Sec1(key) => vec![
            pkcs8::wrap(pkcs8::P256, key.secret_sec1_der()),
            pkcs8::wrap(pkcs8::P384, key.secret_sec1_der()),
        ],
        _ => Vec::new(),
    };
    candidates
        .iter()
        .find_map(|der| KeyPair::try_from(der.as_slice()).ok())
        .ok_or_else(|| pem(path, "expected an RSA, P-256 or P-384 private key"))
}

/// Wraps the older forms of private keys into PKCS #8, the only one that the signing library reads.
mod pkcs8 {
    /// `SEQUENCE { OID rsaEncryption, NULL }`
    pub(super) const RSA: &[u8] = &[
        0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
    ];
    /// `SEQUENCE { OID ecPublicKey, OID prime256v1 }`
    pub(super) const P256: &[u8] = &[
        0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
        0x48, 0xce, 0x3d, 0x03, 0x01, 0x07,
    ];
    /// `SEQUENCE { OID ecPublicKey, OID secp384r1 }`
    pub(super) const P384: &[u8] = &[
        0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81,
        0x04, 0x00, 0x22,
    ];

    /// `SEQUENCE { INTEGER 0, algorithm, OCTET STRING key }`
    pub(super) fn wrap(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
        let mut body = vec![0x02, 0x01, 0x00];
        body.extend_from_slice(algorithm);
        element(0x04, key, &mut body);
        let mut out = Vec::with_capacity(body.len() + 6);
        element(0x30, &body, &mut out);
        out
    }

    fn element(tag: u8, content: &[u8], out: &mut Vec<u8>) {
        out.push(tag);
        let length = content.len().to_be_bytes();
        let significant = &length[length.iter().take_while(|byte| **byte == 0).count()..];
        if content.len() < 0x80 {
            out.push(content.len() as u8);
        } else {
            out.push(0x80 | significant.len() as u8);
            out.extend_from_slice(significant);
        }
        out.extend_from_slice(content);
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn openssl(dir: &Path, arguments: &str) -> String {
        let output = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(dir)
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "openssl {arguments}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Keys in all forms that manifests and vars stores hold; `openssl` judges what comes out.
    #[test]
    fn signs_with_cas_of_any_kind() {
        for (make, convert) in [
            ("genrsa -traditional -out ca.key 2048", None),
            ("genrsa -out ca.key 2048", None),
            ("ecparam -name prime256v1 -genkey -noout -out ca.key", None),
            ("ecparam -name secp384r1 -genkey -noout -out ca.key", None),
            (
                "ecparam -name prime256v1 -genkey -noout -out sec1.key",
                Some("pkcs8 -topk8 -nocrypt -in sec1.key -out ca.key"),
            ),
        ] {
            let dir = tempfile::tempdir().unwrap();
            openssl(dir.path(), make);
            if let Some(convert) = convert {
                openssl(dir.path(), convert);
            }
            openssl(
                dir.path(),
                "req -x509 -new -key ca.key -subj /CN=ca -days 1 -out ca.pem",
            );
            let ca = ClientCa::load(&Tls {
                certificate: dir.path().join("ca.pem"),
                private_key: dir.path().join("ca.key"),
            })
            .unwrap_or_else(|e| panic!("{make}: {e}"));
            let made = ca.bootstrap(&AgentId::new("a-1")).unwrap();
            std::fs::write(dir.path().join("agent.pem"), &made.certificate).unwrap();
            std::fs::write(dir.path().join("agent.key"), made.private_key.expose()).unwrap();
            openssl(
                dir.path(),
                "verify -purpose sslclient -CAfile ca.pem agent.pem",
            );
            let subject = openssl(
                dir.path(),
                "x509 -in agent.pem -noout -subject -nameopt RFC2253",
            );
            assert_eq!(
                subject.trim(),
                "subject=CN=a-1.bootstrap.agent.bosh-internal,O=Cloud Foundry,C=USA"
            );
            let from_certificate = openssl(dir.path(), "x509 -in agent.pem -noout -pubkey");
            let from_key = openssl(dir.path(), "pkey -in agent.key -pubout");
            assert_eq!(from_certificate, from_key);
        }
    }

    #[test]
    fn refuses_a_key_of_another_certificate() {
        let dir = tempfile::tempdir().unwrap();
        openssl(dir.path(), "genrsa -out ca.key 2048");
        openssl(dir.path(), "genrsa -out other.key 2048");
        openssl(
            dir.path(),
            "req -x509 -new -key ca.key -subj /CN=ca -days 1 -out ca.pem",
        );
        let loaded = ClientCa::load(&Tls {
            certificate: dir.path().join("ca.pem"),
            private_key: dir.path().join("other.key"),
        });
        assert!(matches!(loaded, Err(Error::Mismatch)));
    }
}
