//! `email`: digests by SMTP, one per kind of event and interval. Source: upstream's plugins/email.rb.
//!
//! A digest that cannot be sent is tried again, with what has come by then.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lettre::address::Envelope;
use lettre::message::{Body, Mailbox, header::ContentTransferEncoding};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use serde::Deserialize;
use time::OffsetDateTime;
use time::macros::format_description;

use super::build::{port, truthy};
use super::plan::seconds;
use super::target::{Failure, Manner, Target};
use super::words::pluralize;
use crate::event::{Alert, Heartbeat, Status};
use crate::sync::chain;

/// How long one command may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The longest line that SMTP takes.
const LINE: usize = 998;

#[derive(Deserialize)]
pub(super) struct Options {
    recipients: Vec<String>,
    #[serde(default = "ten", deserialize_with = "seconds")]
    interval: Duration,
    smtp: Smtp,
}

fn ten() -> Duration {
    Duration::from_secs(10)
}

#[derive(Deserialize)]
struct Smtp {
    from: String,
    host: String,
    #[serde(deserialize_with = "port")]
    port: u16,
    domain: Option<String>,
    #[serde(default, deserialize_with = "truthy")]
    tls: bool,
    auth: Option<String>,
    user: Option<String>,
    password: Option<String>,
    /// Ours: TLS from the first byte on, as on port 465.
    #[serde(default, deserialize_with = "truthy")]
    implicit_tls: bool,
    /// Ours: a PEM file with CAs to trust beside the machine's own.
    ca_cert: Option<String>,
}

pub(super) struct Email {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    envelope: Envelope,
    from: String,
    to: String,
}

pub(super) fn new(options: Options) -> Result<(Email, Manner), String> {
    let Options {
        recipients,
        interval,
        smtp,
    } = options;
    let mailbox = |key: &str, text: &str| {
        text.parse::<Mailbox>()
            .map_err(|error| format!("{key}: expected an address, found {text:?}: {error}"))
    };
    if smtp.host.is_empty() {
        return Err("smtp.host: expected a host".to_owned());
    }
    let from = mailbox("smtp.from", &smtp.from)?;
    let to = recipients
        .iter()
        .map(|recipient| mailbox("recipients", recipient).map(|mailbox| mailbox.email))
        .collect::<Result<Vec<_>, _>>()?;
    let envelope = Envelope::new(Some(from.email), to)
        .map_err(|_| "recipients: expected at least one address".to_owned())?;
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&smtp.host)
        .port(smtp.port)
        .timeout(Some(TIMEOUT));
    if let Some(domain) = smtp.domain.filter(|domain| !domain.is_empty()) {
        builder = builder.hello_name(ClientId::Domain(domain));
    }
    if smtp.tls || smtp.implicit_tls {
        let parameters = tls(&smtp.host, smtp.ca_cert.as_deref())?;
        builder = builder.tls(match smtp.implicit_tls {
            true => Tls::Wrapper(parameters),
            false => Tls::Required(parameters),
        });
    }
    if let Some(auth) = smtp.auth.filter(|auth| !auth.is_empty()) {
        let mechanism = match auth.as_str() {
            "plain" => Mechanism::Plain,
            "login" => Mechanism::Login,
            other => return Err(format!("smtp.auth: expected plain or login, found {other}")),
        };
        let (Some(user), Some(password)) = (smtp.user, smtp.password) else {
            return Err("smtp.auth: expected smtp.user and smtp.password beside it".to_owned());
        };
        builder = builder
            .credentials(Credentials::new(user, password))
            .authentication(vec![mechanism]);
    }
    let email = Email {
        transport: builder.build(),
        envelope,
        from: smtp.from,
        to: recipients.join(", "),
    };
    let manner = Manner {
        several: true,
        interval: Some(interval),
        heartbeats: 1_000,
        recovery: true,
        ..Manner::default()
    };
    Ok((email, manner))
}

fn tls(host: &str, ca: Option<&str>) -> Result<TlsParameters, String> {
    let mut builder =
        TlsParameters::builder(host.to_owned()).certificate_store(CertificateStore::Default);
    if let Some(path) = ca.filter(|path| !path.is_empty()) {
        let refuse = |error: &dyn std::fmt::Display| format!("smtp.ca_cert: {path}: {error}");
        let pem = std::fs::read(path).map_err(|error| refuse(&error))?;
        let certificate = Certificate::from_pem(&pem)
            .map_err(|error| refuse(&format!("expected certificates in PEM: {}", chain(&error))))?;
        builder = builder.add_root_certificate(certificate);
    }
    builder
        .build()
        .map_err(|error| format!("smtp.tls: {}", chain(&error)))
}

/// Upstream's message: these headers, in this order. What is not plain ASCII of bearable lines is encoded, which upstream
/// does not do.
fn message(from: &str, to: &str, subject: &str, now: OffsetDateTime, body: String) -> Vec<u8> {
    let format = format_description!(
        "[weekday repr:short], [day padding:none] [month repr:short] [year] [hour]:[minute]:[second] +0000"
    );
    let date = now.format(format).unwrap_or_default();
    let mut message = format!("From: {from}\r\nTo: {to}\r\nSubject: {subject}\r\nDate: {date}\r\n");
    let plain = body.is_ascii() && body.lines().all(|line| line.len() <= LINE);
    let body = match plain {
        true => {
            message.push_str("Content-Type: text/plain; charset=\"iso-8859-1\"\r\n");
            body.replace('\n', "\r\n").into_bytes()
        }
        false => {
            let body = Body::new(body);
            let encoding = match body.encoding() {
                ContentTransferEncoding::SevenBit => "7bit",
                ContentTransferEncoding::EightBit => "8bit",
                ContentTransferEncoding::QuotedPrintable => "quoted-printable",
                ContentTransferEncoding::Base64 => "base64",
                ContentTransferEncoding::Binary => "binary",
            };
            message.push_str("MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n");
            message.push_str(&format!("Content-Transfer-Encoding: {encoding}\r\n"));
            body.into_vec()
        }
    };
    message.push_str("\r\n");
    let mut message = message.into_bytes();
    message.extend_from_slice(&body);
    message
}

impl Email {
    async fn send(&self, kind: &str, texts: Vec<String>) -> Result<(), Failure> {
        let subject = format!("{} from BOSH Health Monitor", pluralize(texts.len(), kind));
        let body = texts.iter().map(|text| format!("{text}\n")).collect();
        let message = message(
            &self.from,
            &self.to,
            &subject,
            OffsetDateTime::now_utc(),
            body,
        );
        // The client ends a message's last line itself.
        let message = message.strip_suffix(b"\r\n").unwrap_or(&message);
        match self.transport.send_raw(&self.envelope, message).await {
            Ok(_) => Ok(()),
            // Whoever refuses the sender or the password today may not tomorrow; a message it refuses for itself only if
            // it says so (552, 554 on DATA look like that, but servers say 554 to whole clients, too).
            Err(error) => Err(Failure::retry(chain(&error))),
        }
    }
}

#[async_trait]
impl Target for Email {
    async fn alerts(&mut self, alerts: &[Arc<Alert>]) -> Result<(), Failure> {
        let kind = match alerts.first().map(|alert| alert.status) {
            Some(Status::Resolved) => "recovery",
            _ => "alert",
        };
        self.send(
            kind,
            alerts.iter().map(|alert| alert.to_plain_text()).collect(),
        )
        .await
    }

    async fn heartbeats(&mut self, heartbeats: &[Arc<Heartbeat>]) -> Result<(), Failure> {
        let texts = heartbeats.iter().map(ToString::to_string);
        self.send("heartbeat", texts.collect()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn the_message_is_upstreams() {
        let at = datetime!(2024-01-02 03:04:05 UTC);
        let text = |body: &str| {
            let message = message(
                "hm@example.test",
                "a@example.test, b@example.test",
                "Some subject",
                at,
                body.to_owned(),
            );
            String::from_utf8(message).unwrap()
        };
        assert_eq!(
            text("one\ntwo"),
            "From: hm@example.test\r\nTo: a@example.test, b@example.test\r\nSubject: Some subject\r\nDate: Tue, 2 Jan 2024 03:04:05 +0000\r\nContent-Type: text/plain; charset=\"iso-8859-1\"\r\n\r\none\r\ntwo"
        );
        let encoded = text(&format!("grün {}", "x".repeat(2_000)));
        assert!(
            encoded.contains("charset=utf-8\r\nContent-Transfer-Encoding: "),
            "{encoded}"
        );
        assert!(
            encoded.lines().all(|line| line.len() <= LINE) && encoded.is_ascii(),
            "{encoded}"
        );
    }

    #[tokio::test]
    async fn options_are_those_that_upstream_takes() {
        _ = rustls::crypto::ring::default_provider().install_default();
        let made = |text: &str| {
            let options: Options =
                serde_yaml_ng::from_str(text).map_err(|error| error.to_string())?;
            new(options).map(|(_, manner)| manner.interval)
        };
        let smtp = "from: hm@example.test, host: localhost, port: 587, domain: example.test";
        assert_eq!(
            made(&format!(
                "{{recipients: [a@example.test], smtp: {{{smtp}}}}}"
            )),
            Ok(Some(Duration::from_secs(10)))
        );
        let all = format!(
            "{{recipients: [a@example.test], interval: 0.1, smtp: {{{smtp}, tls: true, auth: plain, user: u, password: p}}}}"
        );
        assert_eq!(made(&all), Ok(Some(Duration::from_millis(100))));
        for (text, expected) in [
            ("{a: b}".to_owned(), "recipients"),
            (
                format!("{{recipients: [], smtp: {{{smtp}}}}}"),
                "recipients: expected at least one address",
            ),
            (
                format!("{{recipients: [nobody], smtp: {{{smtp}}}}}"),
                "recipients: expected an address, found \"nobody\"",
            ),
            (
                format!("{{recipients: [a@example.test], interval: 0, smtp: {{{smtp}}}}}"),
                "expected a positive number of seconds",
            ),
            (
                format!("{{recipients: [a@example.test], smtp: {{{smtp}, auth: cram_md5}}}}"),
                "smtp.auth: expected plain or login",
            ),
            (
                format!("{{recipients: [a@example.test], smtp: {{{smtp}, auth: plain}}}}"),
                "smtp.auth: expected smtp.user",
            ),
            (
                "{recipients: [a@example.test], smtp: {host: x, port: 1}}".to_owned(),
                "from",
            ),
        ] {
            let error = made(&text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
