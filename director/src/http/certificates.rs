//! When certificates expire: those of a deployment's variables, and the director's own (upstream:
//! api/deployment_certificate_provider.rb, api/controllers/director_controller.rb).

use std::path::Path as File;

use axum::extract::Path;
use axum::http::StatusCode;
use bosh_director_api::{CertificateExpiry, DirectorCertificateExpiry};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::auth::Permission;
use super::error::Result;
use super::{Request, reply};
use crate::app::Director;
use crate::config::Config;
use crate::db::{self, Timestamp};

/// Seconds of a day.
const DAY: i64 = 24 * 60 * 60;

pub(super) async fn of_deployment(request: Request, Path(name): Path<String>) -> Result {
    let deployment = request.deployment(&name, Permission::Read).await?;
    let director = &request.director;
    let mut shown = Vec::new();
    let set = db::variables::last_successful_set(&director.db, deployment.id).await?;
    let variables = match set {
        Some(set) => db::variables::in_set(&director.db, set.id).await?,
        None => Vec::new(),
    };
    for variable in variables {
        let Some(value) = value(director, &variable).await? else {
            continue;
        };
        let certificate = value.get("certificate").and_then(Value::as_str);
        let Some(expiry) = certificate.and_then(|pem| expiry(pem.as_bytes())) else {
            continue;
        };
        shown.push(CertificateExpiry {
            name: variable.variable_name,
            id: variable.variable_id,
            expiry_date: Timestamp(expiry).to_iso8601(),
            days_left: days_left(expiry, OffsetDateTime::now_utc()),
        });
    }
    Ok(reply::json(&shown))
}

/// What the variable has, in the director's own store or in the config server.
async fn value(director: &Director, variable: &db::variables::Variable) -> Result<Option<Value>> {
    let (name, id) = (&variable.variable_name, &variable.variable_id);
    if let Some(server) = &director.config_server {
        let found = server.by_id(name, id).await?;
        return Ok(found.map(|stored| stored.value));
    }
    let Some(row) = db::variables::value(&director.db, id).await? else {
        return Ok(None);
    };
    match director.secrets.open(&row.name, &row.value) {
        Ok(entry) => Ok(Some(entry.value)),
        Err(error) => Err(super::error::Error::Internal(error.into())),
    }
}

pub(super) async fn of_director(request: Request) -> Result {
    request.require(Permission::Read)?;
    let report = match &request.director.config.certificate_expiry_json_path {
        Some(path) => match read(path).await {
            Ok(report) => report,
            Err(why) => {
                let error = format!("Certificate expiry information not available: {why}");
                let reply = json!({ "error": error });
                return Ok(reply::json_with(StatusCode::INTERNAL_SERVER_ERROR, &reply));
            }
        },
        None => own(&request.director.config).await,
    };
    let now = OffsetDateTime::now_utc();
    let mut shown = Vec::new();
    for (certificate_path, expiry) in report {
        let Value::String(expiry) = expiry else {
            continue;
        };
        // `0` stands for a certificate that is not set.
        let Ok(at) = OffsetDateTime::parse(&expiry, &Rfc3339) else {
            continue;
        };
        shown.push(DirectorCertificateExpiry {
            certificate_path,
            days_left: days_left(at, now),
            expiry,
        });
    }
    Ok(reply::json(&shown))
}

/// The report that came with the director's configuration.
async fn read(path: &File) -> std::result::Result<Map<String, Value>, String> {
    let text = tokio::fs::read(path).await.map_err(|e| e.to_string())?;
    serde_json::from_slice(&text).map_err(|e| e.to_string())
}

/// The same of the files that the director uses, for one that was configured without a report.
async fn own(config: &Config) -> Map<String, Value> {
    let files = [
        (
            "director.ssl.cert",
            config.listen.tls.as_ref().map(|tls| &tls.certificate),
        ),
        ("nats.tls.ca", Some(&config.nats.server_ca)),
        (
            "nats.tls.client_ca.certificate",
            Some(&config.nats.client_ca.certificate),
        ),
        (
            "nats.tls.director.certificate",
            Some(&config.nats.client.certificate),
        ),
    ];
    let mut report = Map::new();
    for (name, path) in files {
        let Some(path) = path else { continue };
        match tokio::fs::read(path).await {
            Ok(pem) => {
                if let Some(expiry) = expiry(&pem) {
                    let expiry = Timestamp(expiry).to_iso8601();
                    report.insert(name.to_owned(), expiry.into());
                }
            }
            Err(error) => tracing::warn!(path = %path.display(), %error, "certificate not read"),
        }
    }
    report
}

/// When the first certificate of a PEM file stops being valid.
fn expiry(pem: &[u8]) -> Option<OffsetDateTime> {
    let der = CertificateDer::from_pem_slice(pem).ok()?;
    let (_, certificate) = X509Certificate::from_der(&der).ok()?;
    Some(certificate.validity().not_after.to_datetime())
}

/// Whole days, negative once it expired.
fn days_left(expiry: OffsetDateTime, now: OffsetDateTime) -> i64 {
    (expiry - now).whole_seconds().div_euclid(DAY)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn expiry_of_a_certificate() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.not_after = datetime!(2031-05-06 07:08:09 UTC);
        let pem = params.self_signed(&key).unwrap().pem();
        assert_eq!(
            expiry(pem.as_bytes()),
            Some(datetime!(2031-05-06 07:08:09 UTC))
        );
        assert_eq!(expiry(b"no certificate"), None);
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(expiry(broken.as_bytes()), None);
    }

    #[test]
    fn days_are_rounded_down() {
        let now = datetime!(2030-01-10 12:00 UTC);
        assert_eq!(days_left(datetime!(2030-01-11 12:00 UTC), now), 1);
        assert_eq!(days_left(datetime!(2030-01-11 11:59 UTC), now), 0);
        assert_eq!(days_left(datetime!(2030-01-10 11:59 UTC), now), -1);
    }
}
