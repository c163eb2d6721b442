//! `syslog`: a message of RFC 5424 per event, over TCP, TLS (RFC 5425) or UDP (RFC 5426). Ours; upstream has none.

use std::sync::Arc;

use async_trait::async_trait;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use tokio::net::UdpSocket;

use super::build::port;
use super::stream::{self, Stream};
use super::target::{Failure, Manner, Target};
use super::words::{hostname, rfc3339};
use crate::event::{Alert, Heartbeat, Status};
use crate::sync::chain;

/// What every receiver by UDP should take.
const DATAGRAM: usize = 2_048;

/// What receivers by TCP commonly take.
const MESSAGE: usize = 8_192;

/// The private enterprise number that the names of our structured data carry: the one that BOSH's own syslog release uses.
const ENTERPRISE: u32 = 47_450;

/// RFC 5424's names of facilities, by their numbers.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp", "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4",
    "local5", "local6", "local7",
];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Protocol {
    #[default]
    Tcp,
    Tls,
    Udp,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Framing {
    /// The length in front of each message: RFC 6587, and the only one of RFC 5425.
    #[default]
    OctetCounting,
    /// A newline behind each message.
    Newline,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    host: String,
    #[serde(deserialize_with = "port")]
    port: u16,
    #[serde(default)]
    protocol: Protocol,
    #[serde(default)]
    framing: Framing,
    #[serde(default = "daemon", deserialize_with = "facility")]
    facility: usize,
    #[serde(default = "app_name")]
    app_name: String,
    hostname: Option<String>,
    ca_cert: Option<String>,
    client_cert: Option<String>,
    client_key: Option<String>,
}

fn daemon() -> usize {
    3
}

fn app_name() -> String {
    "bosh-monitor".to_owned()
}

fn facility<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let name = String::deserialize(deserializer)?;
    let number = FACILITIES.iter().position(|facility| *facility == name);
    number.ok_or_else(|| {
        serde::de::Error::custom(format!(
            "expected a facility such as daemon or local0, found {name}"
        ))
    })
}

pub(super) struct Syslog {
    way: Way,
    framing: Framing,
    header: Header,
}

enum Way {
    Stream(Stream),
    Udp { host: String, port: u16 },
}

struct Header {
    facility: usize,
    hostname: String,
    app_name: String,
}

pub(super) fn new(options: Options) -> Result<(Syslog, Manner), String> {
    let Options { host, port, .. } = options;
    if host.is_empty() {
        return Err("host: expected a host".to_owned());
    }
    let identity = match (&options.client_cert, &options.client_key) {
        (Some(certificate), Some(key)) => Some((certificate.as_str(), key.as_str())),
        (None, None) => None,
        _ => return Err("client_cert: expected together with client_key".to_owned()),
    };
    if options.protocol != Protocol::Tls && (identity.is_some() || options.ca_cert.is_some()) {
        return Err("protocol: expected tls beside ca_cert or client_cert".to_owned());
    }
    let way = match options.protocol {
        Protocol::Udp => Way::Udp { host, port },
        Protocol::Tcp => Way::Stream(Stream::new(host, port, None)),
        Protocol::Tls => {
            let connector = stream::connector(options.ca_cert.as_deref(), identity)?;
            let name = ServerName::try_from(host.clone())
                .map_err(|_| "host: expected a name or an address".to_owned())?;
            Way::Stream(Stream::new(host, port, Some((connector, name))))
        }
    };
    let syslog = Syslog {
        way,
        framing: options.framing,
        header: Header {
            facility: options.facility,
            hostname: options.hostname.unwrap_or_else(hostname),
            app_name: options.app_name,
        },
    };
    let manner = Manner {
        recovery: true,
        ..Manner::default()
    };
    Ok((syslog, manner))
}

/// A field of the header: printable ASCII without blanks, of a limited length, or `-`.
fn field(text: &str, most: usize) -> String {
    let text: String = text
        .chars()
        .filter(char::is_ascii_graphic)
        .take(most)
        .collect();
    if text.is_empty() {
        "-".to_owned()
    } else {
        text
    }
}

/// A parameter of the structured data. Control characters would break a line for receivers that count none.
fn parameter(name: &str, value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '"' | '\\' | ']' => escaped.extend(['\\', c]),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    format!(" {name}=\"{escaped}\"")
}

impl Header {
    fn message(
        &self,
        severity: u64,
        at: i64,
        id: &str,
        parameters: &[(&str, &str)],
        text: &str,
        most: usize,
    ) -> String {
        let priority = self.facility as u64 * 8 + severity;
        let parameters: String = parameters
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| parameter(name, value))
            .collect();
        let (time, host, app) = (
            rfc3339(at),
            field(&self.hostname, 255),
            field(&self.app_name, 48),
        );
        let process = std::process::id();
        let mut message = format!(
            "<{priority}>1 {time} {host} {app} {process} {id} [bosh@{ENTERPRISE}{parameters}] "
        );
        // Receivers by newline end a message there; a control character has no business in any.
        message.extend(text.chars().map(|c| if c.is_control() { ' ' } else { c }));
        let mut end = most.min(message.len());
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
        message
    }

    fn alert(&self, alert: &Alert, most: usize) -> String {
        // Severities 1 to 4 are syslog's own; what ended is a notice, and what is none of both information.
        let severity = match (alert.status, alert.severity) {
            (Status::Resolved | Status::Acknowledged, _) => 5,
            (Status::Firing, 1..=4) => alert.severity,
            (Status::Firing, _) => 6,
        };
        let status = match alert.status {
            Status::Firing => "firing",
            Status::Acknowledged => "acknowledged",
            Status::Resolved => "resolved",
        };
        let or_empty = |text: &'_ Option<String>| text.clone().unwrap_or_default();
        let (deployment, job, instance) = (
            or_empty(&alert.deployment),
            or_empty(&alert.job),
            or_empty(&alert.instance_id),
        );
        let (source, key) = (or_empty(&alert.source), or_empty(&alert.key));
        let parameters = [
            ("id", alert.id.as_str()),
            ("status", status),
            ("severity", &alert.severity_name()),
            (
                "category",
                alert.category.map_or("", crate::event::Category::name),
            ),
            ("source", &source),
            ("deployment", &deployment),
            ("group", &job),
            ("instance", &instance),
            ("key", &key),
        ];
        let text = match alert.summary == alert.title {
            true => alert.title.clone(),
            false => format!("{}: {}", alert.title, alert.summary),
        };
        self.message(
            severity,
            alert.created_at,
            "alert",
            &parameters,
            &text,
            most,
        )
    }

    fn heartbeat(&self, heartbeat: &Heartbeat, most: usize) -> String {
        let parameters = [
            ("agent", heartbeat.agent_id.as_str()),
            ("state", heartbeat.job_state.as_deref().unwrap_or_default()),
            ("deployment", &heartbeat.deployment),
            ("group", &heartbeat.job),
            ("instance", &heartbeat.instance_id),
        ];
        let text = heartbeat.to_string();
        self.message(
            6,
            heartbeat.timestamp,
            "heartbeat",
            &parameters,
            &text,
            most,
        )
    }
}

impl Syslog {
    fn most(&self) -> usize {
        match self.way {
            Way::Udp { .. } => DATAGRAM,
            Way::Stream(_) => MESSAGE,
        }
    }

    async fn send(&mut self, messages: Vec<String>) -> Result<(), Failure> {
        match &mut self.way {
            Way::Udp { host, port } => {
                let sent = datagrams(host, *port, &messages).await;
                sent.map_err(|error| Failure::retry(format!("{host}:{port}: {}", chain(&error))))
            }
            Way::Stream(stream) => {
                let framed = messages.iter().map(|message| match self.framing {
                    Framing::OctetCounting => format!("{} {message}", message.len()),
                    Framing::Newline => format!("{message}\n"),
                });
                let sent = stream.send(framed.collect::<String>().as_bytes()).await;
                sent.map_err(|error| Failure::retry(chain(&error)))
            }
        }
    }
}

/// A socket of its own for each time: a host's new address is found, and an old refusal is not taken for a new one.
async fn datagrams(host: &str, port: u16, messages: &[String]) -> std::io::Result<()> {
    let mut addresses = tokio::net::lookup_host((host, port)).await?;
    let address = addresses.next().ok_or(std::io::ErrorKind::NotFound)?;
    let own = match address {
        std::net::SocketAddr::V4(_) => "0.0.0.0:0",
        std::net::SocketAddr::V6(_) => "[::]:0",
    };
    let socket = UdpSocket::bind(own).await?;
    socket.connect(address).await?;
    for message in messages {
        socket.send(message.as_bytes()).await?;
    }
    Ok(())
}

#[async_trait]
impl Target for Syslog {
    async fn alerts(&mut self, alerts: &[Arc<Alert>]) -> Result<(), Failure> {
        let most = self.most();
        let messages = alerts.iter().map(|alert| self.header.alert(alert, most));
        let messages = messages.collect();
        self.send(messages).await
    }

    async fn heartbeats(&mut self, heartbeats: &[Arc<Heartbeat>]) -> Result<(), Failure> {
        let most = self.most();
        let messages = heartbeats
            .iter()
            .map(|heartbeat| self.header.heartbeat(heartbeat, most));
        let messages = messages.collect();
        self.send(messages).await
    }

    async fn close(&mut self) {
        if let Way::Stream(stream) = &mut self.way {
            stream.close().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            facility: 16,
            hostname: "hm host".into(),
            app_name: "bosh-monitor".into(),
        }
    }

    #[test]
    fn a_message_is_rfc_5424s() {
        let alert = Alert {
            id: "id-1".into(),
            source: Some("dep: web(i-1) [id=\"a\\1\"]".into()),
            deployment: Some("dep".into()),
            summary: "two\nlines".into(),
            ..Alert::new(2, "gone", 1_320_196_099)
        };
        let process = std::process::id();
        let expected = format!(
            r#"<130>1 2011-11-02T01:08:19Z hmhost bosh-monitor {process} alert [bosh@47450 id="id-1" status="firing" severity="critical" source="dep: web(i-1) [id=\"a\\1\"\]" deployment="dep"] gone: two lines"#
        );
        assert_eq!(header().alert(&alert, MESSAGE), expected);
        let over = Alert {
            status: Status::Resolved,
            ..alert
        };
        assert!(header().alert(&over, MESSAGE).starts_with("<133>1 "));
        let long = Alert::new(9, "ü".repeat(5_000), 0);
        let message = header().alert(&long, DATAGRAM);
        assert!(
            message.starts_with("<134>1 ") && (DATAGRAM - 1..=DATAGRAM).contains(&message.len())
        );
    }

    #[test]
    fn options_are_checked() {
        let made = |text: &str| {
            let options: Options =
                serde_yaml_ng::from_str(text).map_err(|error| error.to_string())?;
            new(options).map(|_| ())
        };
        assert_eq!(made("{host: h, port: 514}"), Ok(()));
        assert_eq!(
            made("{host: h, port: 514, protocol: udp, facility: local7}"),
            Ok(())
        );
        for (text, expected) in [
            (
                "{host: h, port: 514, facility: local8}",
                "expected a facility",
            ),
            (
                "{host: h, port: 514, protocol: smoke}",
                "unknown variant `smoke`, expected one of `tcp`, `tls`, `udp`",
            ),
            (
                "{host: h, port: 514, ca_cert: /x}",
                "protocol: expected tls",
            ),
            (
                "{host: h, port: 514, protocol: tls, ca_cert: /nowhere}",
                "ca_cert: /nowhere: expected certificates in PEM",
            ),
            (
                "{host: h, port: 514, protocol: tls, client_cert: /x}",
                "client_cert: expected together with client_key",
            ),
            (
                "{host: h, port: 514, fcility: user}",
                "unknown field `fcility`",
            ),
        ] {
            let error = made(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
