//! Connection tests: where to, how, and what is said.

use super::Error;
use super::lex::Token;
use super::model::{
    ApacheLimit, Condition, Connect, Endpoint, Exchange, NETWORK_TIMEOUT, Operator, Protocol,
    Service, Transport, UrlContent,
};
use super::parse::Parser;

impl Parser<'_> {
    pub(super) fn host(&mut self) -> Result<String, Error> {
        self.string("a host name or address")
    }

    /// A digest is often lexed as a number.
    pub(super) fn digest(&mut self) -> Result<String, Error> {
        let line = self.line();
        let text = match self.peek().clone() {
            Token::Number(number) => {
                self.advance();
                number.to_string()
            }
            _ => self.string("an MD5 or SHA1 sum")?,
        };
        if !matches!(text.len(), 32 | 40) || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(self.invalid(line, format!("'{text}' is neither an MD5 nor a SHA1 sum")));
        }
        Ok(text.to_ascii_lowercase())
    }

    pub(super) fn transport(&mut self) -> Result<Transport, Error> {
        if !self.accept("type") {
            return Ok(Transport::Stream);
        }
        if self.accept("tcp") {
            Ok(Transport::Stream)
        } else if self.accept("udp") {
            Ok(Transport::Datagram)
        } else if self.accept("tcpssl") {
            self.accept_any(&["sslv2", "sslv3", "tlsv1", "sslauto"]);
            let sum = if self.accept("certmd5") {
                Some(self.string("an MD5 sum")?)
            } else {
                None
            };
            Ok(Transport::Tls(sum))
        } else {
            Err(self.expected("'tcp', 'udp' or 'tcpssl'"))
        }
    }

    pub(super) fn protocol(&mut self) -> Result<Protocol, Error> {
        const NAMED: &[&str] = &[
            "dns",
            "dwp",
            "ftp",
            "imap",
            "clamav",
            "ldap2",
            "ldap3",
            "mysql",
            "nntp",
            "ntp3",
            "postfix-policy",
            "pop",
            "smtp",
            "ssh",
            "rdate",
            "rsync",
            "tns",
            "pgsql",
            "lmtp",
            "gps",
            "memcache",
        ];
        if self.is_any(&["send", "expect"]) {
            let mut exchanges = Vec::new();
            loop {
                if self.accept("send") {
                    exchanges.push(Exchange::Send(raw_bytes(&self.string("what to send")?)));
                } else if self.accept("expect") {
                    exchanges.push(Exchange::Expect(self.string("a regular expression")?));
                } else {
                    return Ok(Protocol::Generic(exchanges));
                }
            }
        }
        if !self.accept_any(&["proto", "protocol"]) {
            return Ok(Protocol::Default);
        }
        if self.accept("default") {
            return Ok(Protocol::Default);
        }
        if self.accept("http") {
            let (mut request, mut checksum, mut host) = ("/".to_owned(), None, None);
            if self.accept("request") {
                request = self
                    .path("the path of a request")?
                    .to_string_lossy()
                    .into_owned();
                if self.accept("checksum") {
                    checksum = Some(self.digest()?);
                }
                if self.accept("hostheader") {
                    host = Some(self.string("a host name")?);
                }
            }
            return Ok(Protocol::Http {
                request,
                checksum,
                host,
            });
        }
        if self.accept("apache-status") {
            return self.apache_status();
        }
        if self.accept("sip") {
            let mut target = None;
            if self.accept("target") {
                target = Some(match self.peek().clone() {
                    Token::Mail(mail) => {
                        self.advance();
                        mail
                    }
                    _ => self.string("a SIP address")?,
                });
            }
            let max_forward = if self.accept("maxforward") {
                self.small_number("a number of hops")?
            } else {
                70
            };
            return Ok(Protocol::Sip {
                target,
                max_forward,
            });
        }
        if self.accept("radius") {
            self.require("secret")?;
            return Ok(Protocol::Radius(self.string("a secret")?));
        }
        match NAMED.iter().find(|name| self.is(name)) {
            Some(name) => {
                self.advance();
                Ok(Protocol::Named(name))
            }
            None => Err(self.expected("the name of a protocol")),
        }
    }

    fn apache_status(&mut self) -> Result<Protocol, Error> {
        const LIMITS: &[(&str, char)] = &[
            ("loglimit", 'L'),
            ("closelimit", 'C'),
            ("dnslimit", 'D'),
            ("keepalivelimit", 'K'),
            ("replylimit", 'W'),
            ("requestlimit", 'R'),
            ("startlimit", 'S'),
            ("waitlimit", '_'),
            ("gracefullimit", 'G'),
            ("cleanuplimit", 'I'),
        ];
        let mut limits = Vec::new();
        loop {
            let Some((_, state)) = LIMITS.iter().find(|(word, _)| self.is(word)) else {
                return Err(self.expected("a limit of the apache status, for example 'loglimit'"));
            };
            self.advance();
            let operator = self.operator();
            let percent = self.percent()?;
            limits.push(ApacheLimit {
                state: *state,
                operator,
                percent,
            });
            if !self.accept("or") {
                return Ok(Protocol::ApacheStatus(limits));
            }
        }
    }

    pub(super) fn url(&mut self, service: &mut Service, line: usize) -> Result<(), Error> {
        let Token::Url(url) = self.peek().clone() else {
            return Err(self.expected("a URL"));
        };
        let url_line = self.line();
        self.advance();
        let (mut connect, path) = split_url(&url).ok_or_else(|| {
            self.invalid(url_line, format!("'{url}' is not an http or https URL"))
        })?;
        let mut content = None;
        if self.accept("content") {
            let must_match = match *self.peek() {
                Token::Operator(Operator::Equal) => true,
                Token::Operator(Operator::NotEqual) => false,
                _ => return Err(self.expected("'==' or '!='")),
            };
            self.advance();
            content = Some(UrlContent {
                must_match,
                pattern: self.string("a regular expression")?,
            });
        }
        connect.timeout = self.timeout()?.unwrap_or(NETWORK_TIMEOUT);
        let host = match &connect.endpoint {
            Endpoint::Tcp(host, _) => Some(host.clone()),
            Endpoint::Unix(_) => None,
        };
        connect.protocol = Protocol::Http {
            request: path,
            checksum: None,
            host,
        };
        self.push(service, Condition::Url(connect, content), line)
    }
}

/// What the scanner could not put into text: `\0xNN` for zero bytes and those beyond ASCII.
fn raw_bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\\0x") {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let hex = rest
            .get(at + 3..at + 5)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        let taken = match hex {
            Some(byte) => {
                out.push(byte);
                5
            }
            None => {
                out.push(b'\\');
                1
            }
        };
        rest = &rest[at + taken..];
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

/// `http[s]://[user:password@]host[:port][/path][?query][#...]`.
fn split_url(url: &str) -> Option<(Connect, String)> {
    let (scheme, rest) = url.split_once("://")?;
    let (transport, default_port) = match scheme.to_ascii_lowercase().as_str() {
        "http" => (Transport::Stream, 80),
        "https" => (Transport::Tls(None), 443),
        _ => return None,
    };
    let rest = rest.split('#').next().unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let authority = authority.rsplit('@').next().unwrap_or_default();
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => {
            (host, super::parse::port(port.parse().unwrap_or(u64::MAX)))
        }
        Some(_) => return None,
        None => (authority, default_port),
    };
    if host.is_empty() {
        return None;
    }
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    let connect = Connect {
        endpoint: Endpoint::Tcp(host.to_owned(), port),
        transport,
        protocol: Protocol::Default,
        timeout: NETWORK_TIMEOUT,
    };
    Some((connect, path))
}
