//! Makes the keys and certificates of a director that starts from nothing. All keys are P-256.

use std::net::IpAddr;

use rcgen::{CertifiedIssuer, ExtendedKeyUsagePurpose, KeyPair, SanType};
use time::Duration;

use super::ca::{ca_params, client_params, leaf_params};
use super::{Credentials, Error};

const CA_VALIDITY: Duration = Duration::days(10 * 365);
const LEAF_VALIDITY: Duration = Duration::days(5 * 365);

/// A new certificate authority.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// Makes one.
    pub fn generate(common_name: &str) -> Result<Self, Error> {
        let failed = |e| Error::Certificate(common_name.to_string(), e);
        let key = KeyPair::generate().map_err(failed)?;
        let params = ca_params(common_name, CA_VALIDITY);
        let issuer = CertifiedIssuer::self_signed(params, key).map_err(failed)?;
        Ok(Self { issuer })
    }

    /// Its own certificate and key.
    pub fn credentials(&self) -> Credentials {
        Credentials {
            certificate: self.issuer.pem(),
            private_key: self.issuer.key().serialize_pem().into(),
        }
    }

    /// A certificate for a server of these names and addresses.
    pub fn server(
        &self,
        common_name: &str,
        names: &[&str],
        addresses: &[IpAddr],
    ) -> Result<Credentials, Error> {
        let failed = |e| Error::Certificate(common_name.to_string(), e);
        let mut params = leaf_params(common_name, LEAF_VALIDITY);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        for name in names {
            let name = (*name).try_into().map_err(failed)?;
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        let addresses = addresses.iter().copied().map(SanType::IpAddress);
        params.subject_alt_names.extend(addresses);
        self.sign(common_name, &params)
    }

    /// A certificate for a client.
    pub fn client(&self, common_name: &str) -> Result<Credentials, Error> {
        self.sign(common_name, &client_params(common_name, LEAF_VALIDITY))
    }

    fn sign(
        &self,
        common_name: &str,
        params: &rcgen::CertificateParams,
    ) -> Result<Credentials, Error> {
        let failed = |e| Error::Certificate(common_name.to_string(), e);
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok(Credentials {
            certificate: certificate.pem(),
            private_key: key.serialize_pem().into(),
        })
    }
}
