//! What is said over connections: monit's protocols, each as short as tells whether the right kind of server answers.

use md5::{Digest, Md5};
use sha1::Sha1;

use super::connect::Wire;
use super::regex::Regex;
use crate::supervisor::monitrc::{ApacheLimit, Connect, Endpoint, Exchange, Protocol, UrlContent};

type Result<T = ()> = std::result::Result<T, String>;

/// So much of a body is looked at.
const LONGEST_BODY: usize = 1 << 20;

fn io(error: std::io::Error) -> String {
    error.to_string()
}

pub(super) async fn talk(
    wire: &mut Wire,
    connect: &Connect,
    content: Option<&UrlContent>,
) -> Result {
    let host = match &connect.endpoint {
        Endpoint::Tcp(host, port) => format!("{host}:{port}"),
        Endpoint::Unix(_) => "localhost".to_owned(),
    };
    match &connect.protocol {
        Protocol::Default => default(wire).await,
        Protocol::Http {
            request,
            checksum,
            host: header,
        } => {
            let body = http(wire, request, header.as_deref().unwrap_or(&host)).await?;
            if let Some(wanted) = checksum {
                let sum = hex(if wanted.len() == 32 {
                    Md5::digest(&body).to_vec()
                } else {
                    Sha1::digest(&body).to_vec()
                });
                if sum != *wanted {
                    return Err(format!(
                        "the checksum of the answer is {sum} instead of {wanted}"
                    ));
                }
            }
            match content {
                None => Ok(()),
                Some(content)
                    if Regex::new(&content.pattern)?.is_match(&body) == content.must_match =>
                {
                    Ok(())
                }
                Some(content) if content.must_match => {
                    Err(format!("the answer does not match '{}'", content.pattern))
                }
                Some(content) => Err(format!("the answer matches '{}'", content.pattern)),
            }
        }
        Protocol::Generic(exchanges) => generic(wire, exchanges).await,
        Protocol::Named(name) => named(wire, name).await,
        Protocol::ApacheStatus(limits) => {
            let body = http(wire, "/server-status?auto", &host).await?;
            apache_status(&String::from_utf8_lossy(&body), limits)
        }
        Protocol::Sip {
            target,
            max_forward,
        } => sip(wire, target.as_deref(), *max_forward, &host).await,
        Protocol::Radius(secret) => radius(wire, secret).await,
    }
}

fn hex(bytes: Vec<u8>) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// TCP: connecting was enough. UDP: nobody says that the port is closed.
async fn default(wire: &mut Wire) -> Result {
    if wire.is_stream() {
        return Ok(());
    }
    wire.send(&[0]).await.map_err(io)?;
    match tokio::time::timeout(std::time::Duration::from_millis(500), wire.some()).await {
        Ok(Err(error)) => Err(io(error)),
        Ok(Ok(_)) | Err(_) => Ok(()),
    }
}

async fn http(wire: &mut Wire, request: &str, host: &str) -> Result<Vec<u8>> {
    if request.contains(['\r', '\n']) || host.contains(['\r', '\n']) {
        return Err("the request contains a line end".to_owned());
    }
    let head = format!(
        "GET {request} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\nUser-Agent: monit/{}\r\nConnection: close\r\n\r\n",
        crate::supervisor::api::VERSION
    );
    wire.send(head.as_bytes()).await.map_err(io)?;
    let line = wire.line().await.map_err(io)?;
    let mut words = line.split_whitespace();
    let status = match (
        words.next(),
        words.next().and_then(|word| word.parse::<u16>().ok()),
    ) {
        (Some(version), Some(status)) if version.starts_with("HTTP/") => status,
        _ => return Err("the answer is not HTTP".to_owned()),
    };
    if status >= 400 {
        return Err(format!("the server answers with status {status}"));
    }
    let (mut length, mut chunked) = (None, false);
    loop {
        let line = wire.line().await.map_err(io)?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse::<usize>().ok();
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            chunked = value.trim().eq_ignore_ascii_case("chunked");
        }
    }
    if chunked {
        return body_in_chunks(wire).await;
    }
    match length {
        Some(length) => wire.exact(length.min(LONGEST_BODY)).await.map_err(io),
        None => wire.rest(LONGEST_BODY).await.map_err(io),
    }
}

async fn body_in_chunks(wire: &mut Wire) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = wire.line().await.map_err(io)?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let length = usize::from_str_radix(digits, 16)
            .map_err(|_| "the answer has a broken chunk".to_owned())?;
        if length == 0 || body.len() + length > LONGEST_BODY {
            return Ok(body);
        }
        body.extend(wire.exact(length).await.map_err(io)?);
        wire.line().await.map_err(io)?;
    }
}

async fn generic(wire: &mut Wire, exchanges: &[Exchange]) -> Result {
    for exchange in exchanges {
        match exchange {
            Exchange::Send(bytes) => {
                wire.clear();
                wire.send(bytes).await.map_err(io)?;
            }
            Exchange::Expect(pattern) => {
                let regex = Regex::new(pattern)?;
                while !regex.is_match(wire.seen()) {
                    if let Err(error) = wire.more().await {
                        let seen: String = String::from_utf8_lossy(wire.seen())
                            .chars()
                            .take(100)
                            .collect();
                        return Err(format!("expected '{pattern}', got '{seen}': {error}"));
                    }
                }
                wire.clear();
            }
        }
    }
    Ok(())
}

/// A line that must begin with one of these; further lines of a multi-line reply (`220-`) are skipped.
async fn greeting(wire: &mut Wire, wanted: &[&str]) -> Result<String> {
    loop {
        let line = wire.line().await.map_err(io)?;
        if !wanted.iter().any(|wanted| line.starts_with(wanted)) {
            return Err(format!(
                "the server says '{}'",
                line.chars().take(100).collect::<String>()
            ));
        }
        if line.as_bytes().get(3) != Some(&b'-')
            || !line.as_bytes()[..3].iter().all(u8::is_ascii_digit)
        {
            return Ok(line);
        }
    }
}

async fn ask(wire: &mut Wire, request: &str, wanted: &[&str]) -> Result<String> {
    wire.send(request.as_bytes()).await.map_err(io)?;
    greeting(wire, wanted).await
}

async fn named(wire: &mut Wire, name: &str) -> Result {
    match name {
        "ftp" => {
            greeting(wire, &["220"]).await?;
            ask(wire, "QUIT\r\n", &["221"]).await
        }
        "smtp" => {
            greeting(wire, &["220"]).await?;
            ask(wire, "HELO localhost\r\n", &["250"]).await?;
            ask(wire, "QUIT\r\n", &["221"]).await
        }
        "lmtp" => {
            greeting(wire, &["220"]).await?;
            ask(wire, "LHLO localhost\r\n", &["250"]).await?;
            ask(wire, "QUIT\r\n", &["221"]).await
        }
        "imap" => {
            greeting(wire, &["* OK", "* PREAUTH"]).await?;
            ask(wire, "001 LOGOUT\r\n", &["* BYE", "001 OK"]).await
        }
        "pop" => {
            greeting(wire, &["+OK"]).await?;
            ask(wire, "QUIT\r\n", &["+OK"]).await
        }
        "nntp" => {
            greeting(wire, &["200", "201"]).await?;
            ask(wire, "QUIT\r\n", &["205"]).await
        }
        "ssh" => greeting(wire, &["SSH-"]).await,
        "rsync" => greeting(wire, &["@RSYNCD:"]).await,
        "clamav" => ask(wire, "PING\n", &["PONG"]).await,
        "memcache" => ask(wire, "version\r\n", &["VERSION"]).await,
        "gps" => ask(wire, "G\r\n", &["GPSD,G=GPS", "{\"class\":\"VERSION\""]).await,
        "dwp" => ask(wire, "HEAD / HTTP/1.0\r\n\r\n", &["DWP/", "HTTP/"]).await,
        "postfix-policy" => {
            let request = "request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=SMTP\nsender=monit@foo.tld\n\
                           recipient=monit@foo.tld\nclient_address=1.2.3.4\nclient_name=mx.foo.tld\n\n";
            ask(wire, request, &["action="]).await
        }
        "mysql" => return mysql(wire).await,
        "pgsql" => return pgsql(wire).await,
        "ldap2" => return ldap(wire, 2).await,
        "ldap3" => return ldap(wire, 3).await,
        "dns" => return dns(wire).await,
        "ntp3" => return ntp(wire).await,
        "rdate" => return wire.exact(4).await.map(drop).map_err(io),
        "tns" => return tns(wire).await,
        other => Err(format!("the protocol {other} is not known")),
    }
    .map(drop)
}

/// A greeting packet of protocol 10, or an error packet (such as "host is blocked"), which a server sent all the same.
async fn mysql(wire: &mut Wire) -> Result {
    let head = wire.exact(5).await.map_err(io)?;
    match (head[3], head[4]) {
        (0, 10 | 0xff) => Ok(()),
        (_, version) => Err(format!("the server's protocol is {version}")),
    }
}

/// A startup message; asking for authentication or refusing the user are both fine.
async fn pgsql(wire: &mut Wire) -> Result {
    let parameters = b"user\0root\0database\0root\0\0";
    let length = u32::try_from(parameters.len() + 8).unwrap_or(u32::MAX);
    let mut message = length.to_be_bytes().to_vec();
    message.extend(196_608_u32.to_be_bytes());
    message.extend(parameters);
    wire.send(&message).await.map_err(io)?;
    match wire.exact(1).await.map_err(io)?.as_slice() {
        [b'R' | b'E'] => Ok(()),
        other => Err(format!("the server answers with {other:?}")),
    }
}

/// An anonymous bind, and the result code 0.
async fn ldap(wire: &mut Wire, version: u8) -> Result {
    let bind = [
        0x30, 0x0c, 0x02, 0x01, 0x00, 0x60, 0x07, 0x02, 0x01, version, 0x04, 0x00, 0x80, 0x00,
    ];
    wire.send(&bind).await.map_err(io)?;
    let head = wire.exact(10).await.map_err(io)?;
    let success = [0x02, 0x01, 0x00, 0x61];
    let at = head.windows(4).position(|window| window == success);
    match at.and_then(|at| head.get(at + 4..at + 7).map(<[u8]>::to_vec)) {
        Some(_) => Ok(()),
        None => Err("the server does not answer the bind".to_owned()),
    }
}

/// Asks for the name servers of the root; any answer to our question will do.
async fn dns(wire: &mut Wire) -> Result {
    let query = [
        0x31, 0x7a, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0, 0x00, 0, 2, 0, 1,
    ];
    let answer = if wire.is_stream() {
        let mut framed = vec![0, 17];
        framed.extend(query);
        wire.send(&framed).await.map_err(io)?;
        wire.exact(2).await.map_err(io)?;
        wire.exact(12).await.map_err(io)?
    } else {
        wire.send(&query).await.map_err(io)?;
        wire.some().await.map_err(io)?
    };
    if answer.len() >= 12 && answer[..2] == query[..2] && answer[2] & 0x80 != 0 {
        Ok(())
    } else {
        Err("the server does not answer the question".to_owned())
    }
}

/// Client mode, version 3; the answer must come from a server that is synchronized.
async fn ntp(wire: &mut Wire) -> Result {
    let mut query = [0_u8; 48];
    query[0] = 0x1b;
    wire.send(&query).await.map_err(io)?;
    let answer = wire.some().await.map_err(io)?;
    match answer.first() {
        Some(first) if answer.len() >= 48 && first & 7 == 4 && first >> 6 != 3 => Ok(()),
        _ => Err("the server is not synchronized or does not answer".to_owned()),
    }
}

/// Oracle: a connect packet, to be refused or resent.
async fn tns(wire: &mut Wire) -> Result {
    let text = b"(CONNECT_DATA=(COMMAND=ping))";
    let total = u16::try_from(58 + text.len())
        .unwrap_or(u16::MAX)
        .to_be_bytes();
    let data = u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut packet = vec![
        total[0], total[1], 0, 0, 1, 0, 0, 0, 1, 0x36, 1, 0x2c, 0, 0, 8, 0, 0x7f, 0xff, 0x7f, 8, 0,
        0, 0, 1,
    ];
    packet.extend([data[0], data[1], 0, 58, 0, 0, 0, 0]);
    packet.resize(58, 0);
    packet.extend(text);
    wire.send(&packet).await.map_err(io)?;
    let head = wire.exact(8).await.map_err(io)?;
    // Accept, refuse, redirect, resend.
    if matches!(head[4], 2 | 4 | 5 | 11) {
        Ok(())
    } else {
        Err(format!(
            "the server answers with a packet of type {}",
            head[4]
        ))
    }
}

async fn sip(wire: &mut Wire, target: Option<&str>, max_forward: u32, host: &str) -> Result {
    let target = target.unwrap_or("monit@localhost");
    let transport = if wire.is_stream() { "TCP" } else { "UDP" };
    let request = format!(
        "OPTIONS sip:{target} SIP/2.0\r\nVia: SIP/2.0/{transport} {host};branch=z9hG4bKh{tag}\r\nMax-Forwards: {max_forward}\r\n\
         To: <sip:{target}>\r\nFrom: monit <sip:monit@localhost>;tag={tag}\r\nCall-ID: {tag}\r\nCSeq: 63104 OPTIONS\r\n\
         Contact: <sip:localhost>\r\nAccept: application/sdp\r\nContent-Length: 0\r\n\r\n",
        tag = uuid::Uuid::new_v4().simple()
    );
    let line = ask(wire, &request, &["SIP/2.0"]).await?;
    match line
        .split_whitespace()
        .nth(1)
        .and_then(|word| word.parse::<u16>().ok())
    {
        Some(status) if status < 400 => Ok(()),
        _ => Err(format!("the server says '{line}'")),
    }
}

/// Status-Server (RFC 5997) with a Message-Authenticator.
async fn radius(wire: &mut Wire, secret: &str) -> Result {
    let authenticator = *uuid::Uuid::new_v4().as_bytes();
    let mut packet = vec![12, 1, 0, 38];
    packet.extend(authenticator);
    packet.extend([80, 18]);
    packet.extend([0; 16]);
    let code = hmac_md5(secret.as_bytes(), &packet);
    packet.truncate(22);
    packet.extend(code);
    wire.send(&packet).await.map_err(io)?;
    let answer = wire.some().await.map_err(io)?;
    if answer.len() < 20 || !matches!(answer[0], 2 | 5) || answer[1] != 1 {
        return Err("the server does not answer the status request".to_owned());
    }
    let mut signed = answer[..4].to_vec();
    signed.extend(authenticator);
    signed.extend(&answer[20..]);
    signed.extend(secret.as_bytes());
    if Md5::digest(&signed)[..] == answer[4..20] {
        Ok(())
    } else {
        Err("the server has another secret".to_owned())
    }
}

fn hmac_md5(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = [0_u8; 64];
    if key.len() > 64 {
        block[..16].copy_from_slice(&Md5::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner: Vec<u8> = block
        .iter()
        .map(|byte| byte ^ 0x36)
        .chain(message.iter().copied())
        .collect();
    let outer: Vec<u8> = block
        .iter()
        .map(|byte| byte ^ 0x5c)
        .chain(Md5::digest(inner))
        .collect();
    Md5::digest(outer).to_vec()
}

fn apache_status(body: &str, limits: &[ApacheLimit]) -> Result {
    let board = body
        .lines()
        .find_map(|line| line.strip_prefix("Scoreboard: "))
        .ok_or("the answer has no scoreboard")?;
    let slots = board.chars().count();
    if slots == 0 {
        return Ok(());
    }
    for limit in limits {
        let percent = board.chars().filter(|state| *state == limit.state).count() as f64 * 100.0
            / slots as f64;
        if limit.operator.holds(percent, limit.percent) {
            return Err(format!(
                "{percent:.0}% of the slots are in the state '{}'",
                limit.state
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{apache_status, hmac_md5};
    use crate::supervisor::monitrc::{ApacheLimit, Operator};

    #[test]
    fn hmac_as_in_rfc_2202() {
        let hex: String = hmac_md5(b"Jefe", b"what do ya want for nothing?")
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        assert_eq!(hex, "750c783e6ab0b503eaa86e310a5db738");
    }

    #[test]
    fn apache_slots_are_counted() {
        let limit = |state, percent| ApacheLimit {
            state,
            operator: Operator::Greater,
            percent,
        };
        let body = "Total Accesses: 1\nScoreboard: _WW_\n";
        assert!(apache_status(body, &[limit('W', 60.0)]).is_ok());
        assert!(apache_status(body, &[limit('W', 40.0)]).is_err());
        assert!(apache_status("nothing", &[]).is_err());
    }
}
