//! The sections of director.yml, each from what was written to what was validated.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bosh_protocol::Secret;
use serde_json::Value;

use super::raw;
use super::resolved::*;

pub(super) fn key(key: &'static str, expected: impl Into<String>) -> Error {
    Error::Key {
        key,
        expected: expected.into(),
    }
}

pub(super) fn required(
    value: Option<String>,
    name: &'static str,
    expected: &str,
) -> Result<String, Error> {
    value
        .filter(|text| !text.is_empty())
        .ok_or_else(|| key(name, format!("expected {expected}")))
}

pub(super) fn path(value: Option<String>, name: &'static str) -> Result<PathBuf, Error> {
    required(value, name, "the path of a file").map(PathBuf::from)
}

pub(super) fn address(value: Option<String>, name: &'static str) -> Result<SocketAddr, Error> {
    let text = required(value, name, "address:port")?;
    text.parse()
        .map_err(|_| key(name, format!("expected address:port, got '{text}'")))
}

pub(super) fn listen(
    listen: Option<String>,
    port: Option<u16>,
    tls: Option<raw::Tls>,
) -> Result<Listen, Error> {
    let address = match listen {
        Some(_) => address(listen, "listen")?,
        None => SocketAddr::from((Ipv4Addr::LOCALHOST, port.unwrap_or(25556))),
    };
    let tls = tls
        .map(|tls| {
            Ok::<_, Error>(Tls {
                certificate: path(tls.certificate, "tls.certificate")?,
                private_key: path(tls.private_key, "tls.private_key")?,
            })
        })
        .transpose()?;
    Ok(Listen { address, tls })
}

pub(super) fn days(name: &'static str, value: &Value) -> Result<f64, Error> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    number
        .filter(|days| days.is_finite() && *days >= 0.0)
        .ok_or_else(|| key(name, "expected a number of days"))
}

pub(super) fn by_deployment(value: Value) -> Result<BTreeMap<String, f64>, Error> {
    const KEY: &str = "tasks_deployments_retention_period";
    let entries = value
        .as_array()
        .ok_or_else(|| key(KEY, "expected a list"))?;
    entries
        .iter()
        .map(|entry| {
            let name = entry["deployment"]
                .as_str()
                .ok_or_else(|| key(KEY, "expected a deployment's name in each entry"))?;
            Ok((name.to_string(), days(KEY, &entry["retention_period"])?))
        })
        .collect()
}

pub(super) fn nats(raw: raw::Nats, mbus: Option<String>) -> Result<Nats, Error> {
    let server = raw
        .server
        .map(|server| {
            Ok::<_, Error>(NatsServer {
                executable: server.executable.map(PathBuf::from),
                directory: required(server.directory, "nats.server.directory", "a directory")?
                    .into(),
                listen: address(server.listen, "nats.server.listen")?,
                tls: Tls {
                    certificate: path(server.certificate_path, "nats.server.certificate_path")?,
                    private_key: path(server.private_key_path, "nats.server.private_key_path")?,
                },
            })
        })
        .transpose()?;
    Ok(Nats {
        url: required(mbus, "mbus", "nats://host:port")?,
        server_ca: path(raw.server_ca_path, "nats.server_ca_path")?,
        client_ca: Tls {
            certificate: path(
                raw.client_ca_certificate_path,
                "nats.client_ca_certificate_path",
            )?,
            private_key: path(
                raw.client_ca_private_key_path,
                "nats.client_ca_private_key_path",
            )?,
        },
        client: Tls {
            certificate: path(raw.client_certificate_path, "nats.client_certificate_path")?,
            private_key: path(raw.client_private_key_path, "nats.client_private_key_path")?,
        },
        server,
    })
}

pub(super) fn database(raw: raw::Database) -> Result<Database, Error> {
    let options = raw.connection_options.unwrap_or_default();
    match raw.adapter.as_deref() {
        Some("sqlite" | "sqlite3") => Ok(Database::Sqlite {
            path: path(raw.database, "db.database")?,
        }),
        Some("postgres" | "postgresql") => {
            let user = required(raw.user, "db.user", "a user name")?;
            let host = required(raw.host, "db.host", "a host name")?;
            let name = required(raw.database, "db.database", "a database name")?;
            let mut url = format!("postgres://{}", percent(&user));
            if let Some(password) = raw.password.filter(|text| !text.is_empty()) {
                url.push(':');
                url.push_str(&percent(&password));
            }
            let mut query = database_tls(raw.tls.unwrap_or_default());
            let host = if host.starts_with('/') {
                // The directory of a socket.
                query.push(("host", host));
                "localhost".to_owned()
            } else if host.contains(':') {
                format!("[{host}]")
            } else {
                host
            };
            // As Sequel names it.
            if let Some(path) = options.get("search_path").and_then(Value::as_str) {
                query.push(("options[search_path]", path.to_owned()));
            }
            url.push_str(&format!(
                "@{host}:{}/{}",
                raw.port.unwrap_or(5432),
                percent(&name)
            ));
            for (at, (name, value)) in query.iter().enumerate() {
                let separator = if at == 0 { '?' } else { '&' };
                url.push_str(&format!("{separator}{name}={}", percent(value)));
            }
            Ok(Database::Postgres {
                url: Secret::new(url),
                max_connections: options
                    .get("max_connections")
                    .and_then(Value::as_u64)
                    .map_or(32, |n| n.clamp(1, 1000) as u32),
                wait: Duration::from_secs(raw.connection_wait_timeout.unwrap_or(30)),
            })
        }
        Some(other) => Err(key(
            "db.adapter",
            format!("expected postgres or sqlite, got '{other}'"),
        )),
        None => Err(key("db.adapter", "expected postgres or sqlite")),
    }
}

pub(super) fn database_tls(tls: raw::DatabaseTls) -> Vec<(&'static str, String)> {
    if !tls.enabled.unwrap_or(false) {
        return Vec::new();
    }
    let mode = if tls.skip_host_verify.unwrap_or(false) {
        "verify-ca"
    } else {
        "verify-full"
    };
    let parts = tls.bosh_internal.unwrap_or_default();
    let cert = tls.cert.unwrap_or_default();
    let mut query = vec![("sslmode", mode.to_owned())];
    if parts.ca_provided.unwrap_or(false) {
        query.extend(cert.ca.map(|path| ("sslrootcert", path)));
    }
    if parts.mutual_tls_enabled.unwrap_or(false) {
        query.extend(cert.certificate.map(|path| ("sslcert", path)));
        query.extend(cert.private_key.map(|path| ("sslkey", path)));
    }
    query
}

/// Percent-encodes everything but RFC 3986's unreserved characters.
pub(crate) fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(byte as char);
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

pub(super) fn config_server(raw: raw::ConfigServer) -> Result<Option<ConfigServer>, Error> {
    if !raw.enabled.unwrap_or(false) {
        return Ok(None);
    }
    let url = required(raw.url, "config_server.url", "an https address")?;
    if !url.starts_with("https://") {
        return Err(key(
            "config_server.url",
            format!("expected an https address, got '{url}'"),
        ));
    }
    let uaa = raw.uaa.unwrap_or_default();
    Ok(Some(ConfigServer {
        url,
        ca_cert_path: raw.ca_cert_path.map(PathBuf::from),
        uaa_url: required(uaa.url, "config_server.uaa.url", "an https address")?,
        uaa_client_id: required(uaa.client_id, "config_server.uaa.client_id", "a client")?,
        uaa_client_secret: uaa.client_secret.unwrap_or_default().into(),
        uaa_ca_cert_path: uaa.ca_cert_path.map(PathBuf::from),
    }))
}

pub(super) fn scheduled_jobs(raw: Vec<raw::ScheduledJob>) -> Result<Vec<ScheduledJob>, Error> {
    raw.into_iter()
        .map(|job| {
            Ok(ScheduledJob {
                command: required(job.command, "scheduled_jobs.command", "a job's name")?,
                schedule: required(job.schedule, "scheduled_jobs.schedule", "a cron line")?,
                params: job.params.unwrap_or_default(),
            })
        })
        .collect()
}

pub(super) fn blobstore(raw: raw::Blobstore) -> Result<Blobstore, Error> {
    let server = raw
        .server
        .map(|server| {
            let mut accounts = vec![account(
                server.director.unwrap_or_default(),
                "blobstore.server.director",
            )?];
            if let Some(agent) = server.agent {
                accounts.push(account(agent, "blobstore.server.agent")?);
            }
            Ok::<_, Error>(BlobstoreServer {
                listen: address(server.listen, "blobstore.server.listen")?,
                directory: required(
                    server.directory,
                    "blobstore.server.directory",
                    "a directory",
                )?
                .into(),
                tls: Tls {
                    certificate: path(
                        server.certificate_path,
                        "blobstore.server.certificate_path",
                    )?,
                    private_key: path(
                        server.private_key_path,
                        "blobstore.server.private_key_path",
                    )?,
                },
                accounts,
                secret: required(server.secret, "blobstore.server.secret", "a secret")?.into(),
            })
        })
        .transpose()?;
    Ok(Blobstore {
        provider: required(
            raw.provider,
            "blobstore.provider",
            "davcli, s3cli, gcscli, azurestoragecli or local",
        )?,
        options: Options(raw.options.unwrap_or_default()),
        server,
    })
}

pub(super) fn account(raw: raw::Account, name: &'static str) -> Result<(String, Secret), Error> {
    let expected = "a user and a password";
    Ok((
        required(raw.user, name, expected)?,
        required(raw.password, name, expected)?.into(),
    ))
}

pub(super) fn user_management(raw: raw::UserManagement) -> Result<UserManagement, Error> {
    match raw.provider.as_deref() {
        Some("uaa") => {
            let uaa = raw.uaa.unwrap_or_default();
            let urls: Vec<String> = uaa
                .url
                .into_iter()
                .chain(uaa.urls.unwrap_or_default())
                .collect();
            if urls.is_empty() {
                return Err(key("user_management.uaa.url", "expected an https address"));
            }
            Ok(UserManagement::Uaa(Uaa {
                urls,
                symmetric_key: uaa.symmetric_key.map(Secret::new),
                public_key: uaa.public_key,
            }))
        }
        Some("local") | None => raw
            .local
            .and_then(|local| local.users)
            .unwrap_or_default()
            .into_iter()
            .map(|user| {
                Ok(LocalUser {
                    name: required(user.name, "user_management.local.users.name", "a name")?,
                    password: Secret::new(required(
                        user.password,
                        "user_management.local.users.password",
                        "a password",
                    )?),
                    scopes: user
                        .scopes
                        .unwrap_or_else(|| vec!["bosh.admin".to_string()]),
                })
            })
            .collect::<Result<_, _>>()
            .map(UserManagement::Local),
        Some(other) => Err(key(
            "user_management.provider",
            format!("expected local or uaa, got '{other}'"),
        )),
    }
}

pub(super) fn cpi(raw: raw::Cpi, cloud: raw::Cloud, dir: &Path) -> Result<Cpi, Error> {
    let provider = cloud.provider.unwrap_or_default();
    let max = raw
        .max_supported_api_version
        .unwrap_or(bosh_cpi::MAX_API_VERSION)
        .min(bosh_cpi::MAX_API_VERSION);
    Ok(Cpi {
        name: provider.name.unwrap_or_default(),
        path: path(provider.path, "cloud.provider.path")?,
        preferred_api_version: raw.preferred_api_version.unwrap_or(max).min(max),
        concurrency: raw.concurrency.unwrap_or(32).max(1) as usize,
        timeout: Duration::from_secs(raw.timeout.unwrap_or(3600)),
        journal: Some(dir.join("cpi-calls")),
    })
}

pub(super) fn monitor(raw: raw::Monitor) -> Result<Monitor, Error> {
    Ok(Monitor {
        executable: raw.executable.map(PathBuf::from),
        config: path(raw.config, "monitor.config")?,
        log: path(raw.log, "monitor.log")?,
    })
}
