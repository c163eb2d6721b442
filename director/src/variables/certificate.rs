//! Certificates: RSA, signed by themselves or by another variable's certificate.

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyUsagePurpose, SanType,
};
use serde_json::{Map, Value};
use time::{Duration, OffsetDateTime};

use super::generate::Error;
use super::keys::Rsa;

/// A certificate authority: what a `ca` option leads to.
#[derive(Debug)]
pub struct Authority {
    /// Its certificate.
    pub certificate: String,
    /// Its key.
    pub key: Rsa,
}

/// Days a certificate is good for unless `duration` says otherwise.
const DAYS: i64 = 365;

/// Signs a certificate for `key` with `options`: `common_name`, `alternative_names`, `organization`,
/// `organization_unit`, `locality`, `state`, `country`, `is_ca`, `duration` (days), `key_usage`,
/// `extended_key_usage`. Without an authority it signs itself. The result is PEM.
pub fn sign(
    options: &Map<String, Value>,
    key: &Rsa,
    authority: Option<&Authority>,
    now: OffsetDateTime,
) -> Result<String, Error> {
    let params = params(options, authority.is_some(), now)?;
    let failed = |error: rcgen::Error| Error::Options(error.to_string());
    let certificate = match authority {
        None => params.self_signed(key.pair()).map_err(failed)?,
        Some(authority) => {
            let issuer = Issuer::from_ca_cert_pem(&authority.certificate, authority.key.pair())
                .map_err(failed)?;
            params.signed_by(key.pair(), &issuer).map_err(failed)?
        }
    };
    Ok(certificate.pem())
}

fn text<'a>(options: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    options
        .get(key)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
}

fn list<'a>(options: &'a Map<String, Value>, key: &str) -> Result<Vec<&'a str>, Error> {
    let invalid = || {
        Error::Options(format!(
            "The {key} of a certificate should be a list of strings."
        ))
    };
    match options.get(key) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| item.as_str().ok_or_else(invalid))
            .collect(),
        Some(_) => Err(invalid()),
    }
}

fn params(
    options: &Map<String, Value>,
    has_authority: bool,
    now: OffsetDateTime,
) -> Result<CertificateParams, Error> {
    let is_ca = options.get("is_ca") == Some(&Value::Bool(true));
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    for (kind, key, default) in [
        (DnType::CountryName, "country", Some("USA")),
        (DnType::StateOrProvinceName, "state", None),
        (DnType::LocalityName, "locality", None),
        (
            DnType::OrganizationName,
            "organization",
            Some("Cloud Foundry"),
        ),
        (DnType::OrganizationalUnitName, "organization_unit", None),
        (DnType::CommonName, "common_name", None),
    ] {
        if let Some(value) = text(options, key).or(default) {
            params.distinguished_name.push(kind, value);
        }
    }
    for name in list(options, "alternative_names")? {
        let name = match name.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(name.try_into().map_err(|_| {
                Error::Options(format!("The alternative name '{name}' is not valid."))
            })?),
        };
        params.subject_alt_names.push(name);
    }
    let days = options
        .get("duration")
        .and_then(Value::as_i64)
        .unwrap_or(DAYS);
    if !(1..=3650 * 10).contains(&days) {
        return Err(Error::Options(
            "The duration should be between 1 and 36500 days.".into(),
        ));
    }
    params.not_before = now;
    params.not_after = now + Duration::days(days);
    params.is_ca = if is_ca {
        IsCa::Ca(BasicConstraints::Unconstrained)
    } else {
        IsCa::ExplicitNoCa
    };
    params.key_usages = key_usages(options, is_ca)?;
    params.extended_key_usages = extended_key_usages(options, is_ca)?;
    params.use_authority_key_identifier_extension = has_authority;
    Ok(params)
}

fn key_usages(options: &Map<String, Value>, is_ca: bool) -> Result<Vec<KeyUsagePurpose>, Error> {
    let named = list(options, "key_usage")?;
    if named.is_empty() {
        return Ok(if is_ca {
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign]
        } else {
            vec![
                KeyUsagePurpose::DigitalSignature,
                KeyUsagePurpose::KeyEncipherment,
            ]
        });
    }
    named
        .into_iter()
        .map(|name| {
            Ok(match name {
                "digital_signature" => KeyUsagePurpose::DigitalSignature,
                "non_repudiation" => KeyUsagePurpose::ContentCommitment,
                "key_encipherment" => KeyUsagePurpose::KeyEncipherment,
                "data_encipherment" => KeyUsagePurpose::DataEncipherment,
                "key_agreement" => KeyUsagePurpose::KeyAgreement,
                "key_cert_sign" => KeyUsagePurpose::KeyCertSign,
                "crl_sign" => KeyUsagePurpose::CrlSign,
                "encipher_only" => KeyUsagePurpose::EncipherOnly,
                "decipher_only" => KeyUsagePurpose::DecipherOnly,
                other => {
                    return Err(Error::Options(format!(
                        "The provided key usage '{other}' is not supported. Valid values include 'digital_signature', \
                         'non_repudiation', 'key_encipherment', 'data_encipherment', 'key_agreement', 'key_cert_sign', \
                         'crl_sign', 'encipher_only' and 'decipher_only'."
                    )));
                }
            })
        })
        .collect()
}

fn extended_key_usages(
    options: &Map<String, Value>,
    is_ca: bool,
) -> Result<Vec<ExtendedKeyUsagePurpose>, Error> {
    let named = list(options, "extended_key_usage")?;
    if named.is_empty() {
        return Ok(if is_ca {
            Vec::new()
        } else {
            vec![ExtendedKeyUsagePurpose::ServerAuth]
        });
    }
    named
        .into_iter()
        .map(|name| {
            Ok(match name {
                "client_auth" => ExtendedKeyUsagePurpose::ClientAuth,
                "server_auth" => ExtendedKeyUsagePurpose::ServerAuth,
                "code_signing" => ExtendedKeyUsagePurpose::CodeSigning,
                "email_protection" => ExtendedKeyUsagePurpose::EmailProtection,
                "timestamping" => ExtendedKeyUsagePurpose::TimeStamping,
                other => {
                    return Err(Error::Options(format!(
                        "The provided extended key usage '{other}' is not supported. Valid values include 'client_auth', \
                         'server_auth', 'code_signing', 'email_protection' and 'timestamping'."
                    )));
                }
            })
        })
        .collect()
}
