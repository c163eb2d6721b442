//! HTTP/1.x as far as the interface needs it: one request per connection, all of it in memory, everything limited.

use std::io;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const LARGEST_HEAD: usize = 16 << 10;
const LARGEST_BODY: usize = 64 << 10;
/// For reading a request, and for writing a response.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);

const DATE: &[BorrowedFormatItem<'_>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);

/// A request.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub(super) method: String,
    /// Decoded, without the query.
    pub(super) path: String,
    /// Of the query and of a form in the body.
    pub(super) parameters: Vec<(String, String)>,
    pub(super) authorization: Option<String>,
    /// A browser asks because of some page.
    pub(super) from_page: bool,
}

impl Request {
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(own, _)| own.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// A response.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) body: String,
}

impl Response {
    pub(super) fn ok(content_type: &'static str, body: String) -> Self {
        Self {
            status: 200,
            content_type,
            body,
        }
    }

    /// An error as monit's own client wants to find it: the message between `</h2>` and `<p>`.
    pub(super) fn error(status: u16, message: &str) -> Self {
        let reason = reason(status);
        let message = escape(message);
        let body = format!(
            "<html><head><title>{status} {reason}</title></head><body><h2>{reason}</h2>{message}<p></body></html>\n"
        );
        Self {
            status,
            content_type: "text/html",
            body,
        }
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Request Entity Too Large",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    }
}

/// For text and attributes of HTML and XML.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // Not allowed in XML 1.0.
            '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' => out.push('?'),
            c => out.push(c),
        }
    }
    out
}

fn invalid(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem.to_owned())
}

/// Reads a request; the error's text is meant for the client.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Request> {
    let mut buffer = Vec::new();
    let head_end = loop {
        if let Some(at) = find(&buffer, b"\r\n\r\n") {
            break at + 4;
        }
        if buffer.len() > LARGEST_HEAD {
            return Err(invalid("the head of the request is too large"));
        }
        if stream.read_buf(&mut buffer).await? == 0 {
            return Err(invalid("the request ends too early"));
        }
    };
    let head = std::str::from_utf8(&buffer[..head_end])
        .map_err(|_| invalid("the head of the request is not text"))?;
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (method, target) = match (first.next(), first.next()) {
        (Some(method), Some(target)) if !method.is_empty() && target.starts_with('/') => {
            (method, target)
        }
        _ => return Err(invalid("the request has no method and path")),
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request {
        method: method.to_owned(),
        path: unescape(path, false),
        parameters: form(query),
        authorization: None,
        from_page: false,
    };
    let mut length = 0;
    for line in lines {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        if name.eq_ignore_ascii_case("authorization") {
            request.authorization = Some(value.trim().to_owned());
        } else if ["referer", "origin", "sec-fetch-site"]
            .iter()
            .any(|own| name.eq_ignore_ascii_case(own))
        {
            request.from_page = true;
        } else if name.eq_ignore_ascii_case("content-length") {
            length = value
                .trim()
                .parse()
                .map_err(|_| invalid("the content length is not a number"))?;
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(invalid("transfer encodings are not supported"));
        }
    }
    if length > LARGEST_BODY {
        return Err(invalid("the body of the request is too large"));
    }
    while buffer.len() < head_end + length {
        if stream.read_buf(&mut buffer).await? == 0 {
            return Err(invalid("the body of the request ends too early"));
        }
    }
    request.parameters.extend(form(&String::from_utf8_lossy(
        &buffer[head_end..head_end + length],
    )));
    Ok(request)
}

/// Writes a response and closes our side.
pub(super) async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    response: &Response,
) -> io::Result<()> {
    let challenge = if response.status == 401 {
        "WWW-Authenticate: Basic realm=\"monit\"\r\n"
    } else {
        ""
    };
    let head = format!(
        "HTTP/1.0 {} {}\r\nDate: {}\r\nServer: monit {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{challenge}Connection: close\r\n\r\n",
        response.status,
        reason(response.status),
        OffsetDateTime::now_utc().format(DATE).unwrap_or_default(),
        super::VERSION,
        response.content_type,
        response.body.len(),
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(response.body.as_bytes()).await?;
    stream.shutdown().await
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

fn form(text: &str) -> Vec<(String, String)> {
    let pairs = text.trim().split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (unescape(name, true), unescape(value, true))
        })
        .collect()
}

fn unescape(text: &str, plus: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = text
            .get(at + 1..at + 3)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[at], hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
                continue;
            }
            (b'+', _) if plus => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::{read, unescape};

    async fn parse(text: &str) -> Result<super::Request, String> {
        read(&mut text.as_bytes())
            .await
            .map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_form_is_read() {
        let text = "POST /my%20web HTTP/1.1\r\nHost: x\r\nauthorization: Basic abc\r\nContent-Length: 22\r\n\r\naction=stop&token=a%2Bb";
        let request = parse(text).await.unwrap();
        assert_eq!(
            (request.method.as_str(), request.path.as_str()),
            ("POST", "/my web")
        );
        assert_eq!(request.parameter("action"), Some("stop"));
        assert_eq!(request.authorization.as_deref(), Some("Basic abc"));
    }

    #[tokio::test]
    async fn a_query_is_read() {
        let request = parse("GET /_status2?format=xml&level=full HTTP/1.0\r\n\r\n")
            .await
            .unwrap();
        assert_eq!(request.path, "/_status2");
        assert_eq!(request.parameter("level"), Some("full"));
    }

    #[tokio::test]
    async fn bad_requests_are_refused() {
        for (text, problem) in [
            ("", "the request ends too early"),
            ("GET\r\n\r\n", "the request has no method and path"),
            (
                "GET x HTTP/1.1\r\n\r\n",
                "the request has no method and path",
            ),
            (
                "POST / HTTP/1.1\r\nContent-Length: many\r\n\r\n",
                "the content length is not a number",
            ),
            (
                "POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n",
                "the body of the request is too large",
            ),
            (
                "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nabc",
                "the body of the request ends too early",
            ),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
                "transfer encodings are not supported",
            ),
        ] {
            assert_eq!(parse(text).await.unwrap_err(), problem, "{text:?}");
        }
        let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(20 << 10));
        assert_eq!(
            parse(&long).await.unwrap_err(),
            "the head of the request is too large"
        );
    }

    #[test]
    fn broken_escapes_stay_as_they_are() {
        assert_eq!(unescape("%zz%4", false), "%zz%4");
        assert_eq!(unescape("a+b%41", true), "a bA");
    }
}
