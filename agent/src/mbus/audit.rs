//! The audit log: one line per request, in the Common Event Format, to the machine's syslog.
//! Source: upstream handler/common_event_format.go, platform/linux_audit_logger_provider.go.

use std::os::unix::net::UnixDatagram;
use std::path::Path;

use bosh_protocol::Settings;
use time::OffsetDateTime;

/// Where syslog listens.
const SOCKET: &str = "/dev/log";
/// As upstream names itself.
const TAG: &str = "vcap.agent";
/// The severities `debug` and `err`, of no facility in particular.
const DEBUG: u8 = 7;
const ERR: u8 = 3;
/// The longest line; syslog would cut it. Bytes.
const MAX_LINE: usize = 2048;

/// Writes audit lines. A machine without syslog has none; nothing waits for it.
#[derive(Debug)]
pub struct Audit {
    socket: Option<UnixDatagram>,
    path: &'static Path,
    hostname: String,
}

/// A request over NATS.
#[derive(Clone, Copy, Debug, Default)]
pub struct Call<'a> {
    /// Its method, if it got as far as that.
    pub method: &'a str,
    /// Who asks.
    pub reply_to: &'a str,
    /// Where it was sent.
    pub subject: &'a str,
    /// Why it was not taken.
    pub failure: Option<&'a str>,
}

/// A request over HTTPS.
#[derive(Clone, Debug, Default)]
pub struct HttpCall {
    /// `GET`, ...
    pub method: String,
    /// `/agent`, ...
    pub path: String,
    /// The name before the colon of its password.
    pub user: String,
    /// `address:port` of the caller.
    pub peer: Option<std::net::SocketAddr>,
    /// `HOST=...&X_REAL_IP=...`
    pub headers: String,
}

impl Audit {
    /// Nothing can go wrong: without syslog nothing is written until there is one.
    pub fn start() -> Self {
        Self::on(Path::new(SOCKET))
    }

    fn on(path: &'static Path) -> Self {
        let hostname = nix::unistd::gethostname()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let socket = UnixDatagram::unbound()
            .and_then(|socket| socket.set_nonblocking(true).map(|()| socket))
            .inspect_err(|error| tracing::warn!(%error, "no audit log"))
            .ok();
        Self {
            socket,
            path,
            hostname,
        }
    }

    /// Notes a request over NATS.
    pub fn nats(&self, settings: &Settings, call: &Call<'_>) {
        let url = settings.mbus_urls().into_iter().next();
        let server = url.as_ref().map_or("", |url| url.expose());
        let server = server.split_once("://").map_or(server, |(_, rest)| rest);
        let server = server.rsplit_once('@').map_or(server, |(_, rest)| rest);
        let (host, port) = server
            .trim_end_matches('/')
            .rsplit_once(':')
            .unwrap_or((server, ""));
        let line = nats_line(&self.hostname, (host, port), call);
        self.write(call.failure.map_or(DEBUG, |_| ERR), &line);
    }

    /// Notes a request over HTTPS.
    pub fn http(&self, call: &HttpCall, status: u16) {
        self.write(DEBUG, &http_line(&self.hostname, call, status));
    }

    fn write(&self, priority: u8, line: &str) {
        let Some(socket) = &self.socket else { return };
        let line: String = line
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let line = &line[..line.floor_char_boundary(MAX_LINE)];
        let now = OffsetDateTime::now_utc();
        let message = format!(
            "<{priority}>{} {TAG}[{}]: {} {line}\n",
            stamp(now),
            std::process::id(),
            date(now)
        );
        if let Err(error) = socket.send_to(message.as_bytes(), self.path) {
            tracing::trace!(%error, "no audit line written");
        }
    }
}

/// `Jan _2 15:04:05`, as syslog wants it and Go writes it.
fn stamp(now: OffsetDateTime) -> String {
    let month = now.month().to_string();
    let (day, (hour, minute, second)) = (now.day(), now.to_hms());
    format!("{} {day:>2} {hour:02}:{minute:02}:{second:02}", &month[..3])
}

/// `2006/01/02 15:04:05`, which Go puts before each line of its own.
fn date(now: OffsetDateTime) -> String {
    let ((year, month, day), (hour, minute, second)) = (now.to_calendar_date(), now.to_hms());
    let month = u8::from(month);
    format!("{year}/{month:02}/{day:02} {hour:02}:{minute:02}:{second:02}")
}

fn nats_line(hostname: &str, (host, port): (&str, &str), call: &Call<'_>) -> String {
    let severity = call.failure.map_or(1, |_| 7);
    let Call {
        method,
        reply_to,
        failure,
        ..
    } = call;
    let reason = failure.map_or(String::new(), |reason| {
        format!("cs1={reason} cs1Label=statusReason")
    });
    format!(
        "CEF:0|CloudFoundry|BOSH|1|agent_api|{method}|{severity}|duser={reply_to} src={host} spt={port} shost={hostname} {reason}"
    )
}

fn http_line(hostname: &str, call: &HttpCall, status: u16) -> String {
    let severity = if status >= 400 { 7 } else { 1 };
    let HttpCall {
        method,
        path,
        user,
        peer,
        headers,
    } = call;
    let ip = peer.map(|peer| peer.ip().to_string()).unwrap_or_default();
    let port = peer.map(|peer| peer.port()).unwrap_or_default();
    let reason = match severity {
        7 => "cs4= cs4Label=statusReason",
        _ => "",
    };
    format!(
        "CEF:0|CloudFoundry|BOSH|1|agent_api|{path}|{severity}|duser={user} requestMethod={method} src={ip} spt={port} \
         shost={hostname} cs1={headers} cs1Label=httpHeaders cs2=basic cs2Label=authType cs3={status} \
         cs3Label=responseStatus {reason}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nats_requests() {
        let call = Call {
            method: "get_task",
            reply_to: "director.d.a.7",
            subject: "agent.a",
            failure: None,
        };
        let at = ("10.0.0.6", "4222");
        assert_eq!(
            nats_line("vm-1", at, &call),
            "CEF:0|CloudFoundry|BOSH|1|agent_api|get_task|1|duser=director.d.a.7 src=10.0.0.6 spt=4222 shost=vm-1 "
        );
        let call = Call {
            failure: Some("no JSON"),
            ..Call::default()
        };
        let line = nats_line("vm-1", at, &call);
        assert!(line.contains("|agent_api||7|"), "{line}");
        assert!(
            line.ends_with("cs1=no JSON cs1Label=statusReason"),
            "{line}"
        );
    }

    #[test]
    fn https_requests() {
        let call = HttpCall {
            method: "GET".into(),
            path: "/blobs/b".into(),
            user: "vcap".into(),
            peer: Some(([10, 0, 0, 7], 5000).into()),
            headers: "HOST=&X_REAL_IP=&X_FORWARDED_FOR=&X_FORWARDED_PROTO=&USER_AGENT=".into(),
        };
        let line = http_line("vm-1", &call, 200);
        assert!(
            line.starts_with(
                "CEF:0|CloudFoundry|BOSH|1|agent_api|/blobs/b|1|duser=vcap requestMethod=GET src=10.0.0.7 spt=5000 shost=vm-1 cs1=HOST="
            ),
            "{line}"
        );
        assert!(
            line.contains(
                "cs1Label=httpHeaders cs2=basic cs2Label=authType cs3=200 cs3Label=responseStatus"
            ),
            "{line}"
        );
        let line = http_line("vm-1", &call, 404);
        assert!(line.contains("|/blobs/b|7|") && line.ends_with("cs4Label=statusReason"));
    }

    #[test]
    fn times_are_as_go_writes_them() {
        let time = OffsetDateTime::from_unix_timestamp(1_136_214_245).unwrap();
        assert_eq!(stamp(time), "Jan  2 15:04:05");
        assert_eq!(date(time), "2006/01/02 15:04:05");
    }

    #[test]
    fn lines_reach_syslog_as_one_line_each() {
        let dir = tempfile::tempdir().unwrap();
        let path: &'static Path = Box::leak(dir.path().join("log").into_boxed_path());
        let audit = Audit::on(path);
        audit.write(DEBUG, "before there is a syslog");
        let syslog = UnixDatagram::bind(path).unwrap();
        audit.nats(
            &Settings::default(),
            &Call {
                failure: Some("two\nlines"),
                ..Call::default()
            },
        );
        let mut buffer = [0; 4096];
        let length = syslog.recv(&mut buffer).unwrap();
        let line = std::str::from_utf8(&buffer[..length]).unwrap();
        assert!(line.starts_with("<3>") && line.ends_with('\n'), "{line}");
        let (head, line) = line.split_once("]: ").unwrap();
        assert!(head[3..].chars().nth(6) == Some(' '), "{head}");
        assert!(head[18..].starts_with(" vcap.agent["), "{head}");
        let (date, line) = line.split_at(20);
        assert!(date.starts_with("20") && date.ends_with(' '), "{date}");
        assert!(
            line.starts_with("CEF:0|CloudFoundry|BOSH|1|agent_api||7|"),
            "{line}"
        );
        assert!(line.contains("cs1=two lines cs1Label"), "{line}");
    }
}
