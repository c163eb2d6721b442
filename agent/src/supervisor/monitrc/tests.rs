//! The `if` of a service: conditions, rates and what is done.

use std::time::Duration;

use super::Error;
use super::lex::Token;
use super::model::{
    ApacheLimit, Check, Condition, Connect, Effect, Endpoint, Exchange, Kind, NETWORK_TIMEOUT,
    Operator, Protocol, Rate, Reaction, ResourceKind, ResourceLimit, RestartLimit, Service, Step,
    Transport, UrlContent, Verb,
};
use super::parse::Parser;

/// monit keeps the results of so many cycles.
const MOST_CYCLES: u64 = 64;

impl Parser<'_> {
    /// What follows `if`.
    pub(super) fn test(&mut self, service: &mut Service) -> Result<(), Error> {
        let line = self.line();
        match self.peek() {
            Token::Number(_) => return self.restart_limit(service),
            Token::Resource(_) => return self.resources(service, line),
            _ => {}
        }
        let not = self.accept("not");
        if not || self.is_any(&["exist", "match", "matching"]) {
            if self.accept("exist") {
                if !not {
                    return Err(self.invalid(line, "expected 'if does not exist'"));
                }
                service.missing = self.reaction()?;
                return Ok(());
            }
            if self.accept_any(&["match", "matching"]) {
                self.only(service, line, "match", |kind| matches!(kind, Kind::File(_)))?;
                let patterns = self.patterns()?;
                let failed = self.step()?;
                let condition = Condition::Match {
                    not,
                    patterns,
                    ignore: false,
                };
                let reaction = Reaction {
                    failed,
                    recovered: Step {
                        rate: Rate::ONCE,
                        effect: Effect::Ignore,
                    },
                };
                service.checks.push(Check {
                    condition,
                    reaction,
                    line,
                });
                return Ok(());
            }
            return Err(self.expected("'exist' or 'match' after 'not'"));
        }
        if self.accept("failed") {
            return self.failed(service, line);
        }
        if self.accept("changed") {
            return self.changed(service, line);
        }
        if self.accept("timestamp") {
            self.only(service, line, "timestamp", has_timestamp)?;
            let operator = self.operator();
            let number = self.number("an age")?;
            let unit = self.time_unit();
            let condition =
                Condition::Age(operator, Duration::from_secs(number.saturating_mul(unit)));
            return self.push(service, condition, line);
        }
        if self.accept("size") {
            self.only(service, line, "size", |kind| matches!(kind, Kind::File(_)))?;
            let operator = self.operator();
            let number = self.number("a size")?;
            let bytes = number.saturating_mul(self.unit());
            return self.push(service, Condition::Size(operator, bytes), line);
        }
        if self.accept_any(&["inode", "inodes"]) {
            self.only(service, line, "inode", is_filesystem)?;
            let operator = self.operator();
            let number = self.number("a number of inodes")?;
            let verb = self.percent_or_absolute();
            return self.push(service, Condition::Inodes(operator, number, verb), line);
        }
        if self.accept("space") {
            self.only(service, line, "space", is_filesystem)?;
            let operator = self.operator();
            let number = self.value("an amount of space")?;
            let (number, verb) = match self.percent_or_absolute() {
                Verb::Percent => (number, Verb::Percent),
                Verb::Absolute => (number * self.unit() as f64, Verb::Absolute),
            };
            return self.push(service, Condition::Space(operator, number, verb), line);
        }
        self.resources(service, line)
    }

    fn push(
        &mut self,
        service: &mut Service,
        condition: Condition,
        line: usize,
    ) -> Result<(), Error> {
        let reaction = self.reaction()?;
        service.checks.push(Check {
            condition,
            reaction,
            line,
        });
        Ok(())
    }

    fn only(
        &self,
        service: &Service,
        line: usize,
        test: &str,
        fits: impl Fn(&Kind) -> bool,
    ) -> Result<(), Error> {
        if fits(&service.kind) {
            return Ok(());
        }
        let kind = service.kind.title().to_lowercase();
        Err(self.invalid(
            line,
            format!(
                "a {test} test does not belong in a check of a {kind} ('{}')",
                service.name
            ),
        ))
    }

    /// `ignore [not] match ...` in a file check.
    pub(super) fn ignore_match(&mut self, service: &mut Service) -> Result<(), Error> {
        let line = self.line();
        let not = self.accept("not");
        if !self.accept_any(&["match", "matching"]) {
            return Err(self.expected("'match'"));
        }
        self.only(service, line, "match", |kind| matches!(kind, Kind::File(_)))?;
        let patterns = self.patterns()?;
        let nothing = Step {
            rate: Rate::ONCE,
            effect: Effect::Ignore,
        };
        service.checks.push(Check {
            condition: Condition::Match {
                not,
                patterns,
                ignore: true,
            },
            reaction: Reaction {
                failed: nothing.clone(),
                recovered: nothing,
            },
            line,
        });
        Ok(())
    }

    /// An expression, or the path of a file with one a line.
    fn patterns(&mut self) -> Result<Vec<String>, Error> {
        if matches!(self.peek(), Token::Path(_)) {
            let line = self.line();
            let path = self.path("a path")?;
            let text = std::fs::read_to_string(&path).map_err(|error| {
                self.invalid(
                    line,
                    format!(
                        "the expressions in {} cannot be read: {error}",
                        path.display()
                    ),
                )
            })?;
            return Ok(text
                .lines()
                .filter(|line| !line.is_empty())
                .map(str::to_owned)
                .collect());
        }
        Ok(vec![self.string("a regular expression")?])
    }

    fn operator(&mut self) -> Operator {
        if let Token::Operator(operator) = *self.peek() {
            self.advance();
            return operator;
        }
        if self.accept("changed") {
            Operator::NotEqual
        } else {
            Operator::Equal
        }
    }

    fn time_unit(&mut self) -> u64 {
        if self.accept_any(&["minute", "minutes"]) {
            60
        } else if self.accept_any(&["hour", "hours"]) {
            3600
        } else if self.accept_any(&["day", "days"]) {
            86400
        } else {
            self.accept_any(&["second", "seconds"]);
            1
        }
    }

    fn percent_or_absolute(&mut self) -> Verb {
        if self.accept_token(&Token::Percent) {
            Verb::Percent
        } else {
            Verb::Absolute
        }
    }

    fn percent(&mut self) -> Result<f64, Error> {
        let number = self.value("a percentage")?;
        if self.accept_token(&Token::Percent) {
            Ok(number)
        } else {
            Err(self.expected("'%'"))
        }
    }

    fn failed(&mut self, service: &mut Service, line: usize) -> Result<(), Error> {
        let file_like =
            |kind: &Kind| !matches!(kind, Kind::Process(_) | Kind::Host(_) | Kind::System);
        if self.is_any(&["md5", "sha1", "checksum"]) {
            self.accept_any(&["md5", "sha1"]);
            self.require("checksum")?;
            self.only(service, line, "checksum", |kind| {
                matches!(kind, Kind::File(_))
            })?;
            let expected = if self.accept("expect") {
                Some(self.digest()?)
            } else {
                None
            };
            return self.push(service, Condition::Checksum(expected), line);
        }
        if self.accept_any(&["perm", "permission"]) {
            self.only(service, line, "permission", file_like)?;
            let number = self.number("an octal mode")?;
            let mode = u32::from_str_radix(&number.to_string(), 8)
                .ok()
                .filter(|mode| *mode <= 0o7777);
            let mode = mode.ok_or_else(|| {
                self.invalid(
                    line,
                    format!("{number} is not an octal mode between 0 and 7777"),
                )
            })?;
            return self.push(service, Condition::Permission(mode), line);
        }
        if self.accept("uid") {
            self.only(service, line, "uid", file_like)?;
            let account = self.account("a user")?;
            return self.push(service, Condition::Uid(account), line);
        }
        if self.accept("gid") {
            self.only(service, line, "gid", file_like)?;
            let account = self.account("a group")?;
            return self.push(service, Condition::Gid(account), line);
        }
        if self.accept("icmp") {
            self.only(service, line, "icmp", |kind| matches!(kind, Kind::Host(_)))?;
            self.require("type")?;
            self.require("echo")?;
            let count = if self.accept("count") {
                self.small_number("a number of requests")?
            } else {
                3
            };
            let timeout = self.timeout()?.unwrap_or(NETWORK_TIMEOUT);
            return self.push(
                service,
                Condition::Ping {
                    count: count.max(1),
                    timeout,
                },
                line,
            );
        }
        self.only(service, line, "connection", |kind| {
            matches!(kind, Kind::Process(_) | Kind::Host(_))
        })?;
        if self.accept("url") {
            return self.url(service, line);
        }
        let endpoint = if self.accept_any(&["unix", "unixsocket"]) {
            self.only(service, line, "unixsocket", Kind::is_process)?;
            Endpoint::Unix(self.path("the path of a socket")?)
        } else {
            let default = match &service.kind {
                Kind::Host(address) => address.clone(),
                _ => "localhost".to_owned(),
            };
            let host = if self.accept("host") {
                self.host()?
            } else {
                default
            };
            if !self.accept_any(&["port", "portnumber"]) {
                return Err(self.expected(
                    "'host', 'port', 'unixsocket', 'url', 'icmp', 'checksum', 'permission', 'uid' or 'gid' after 'if failed'",
                ));
            }
            let port_line = self.line();
            let port = self.number("a port")?;
            let port = u16::try_from(port).ok().filter(|port| *port > 0);
            Endpoint::Tcp(
                host,
                port.ok_or_else(|| self.invalid(port_line, "a port is between 1 and 65535"))?,
            )
        };
        let transport = self.transport()?;
        let protocol = self.protocol()?;
        let timeout = self.timeout()?.unwrap_or(NETWORK_TIMEOUT);
        self.push(
            service,
            Condition::Connection(Connect {
                endpoint,
                transport,
                protocol,
                timeout,
            }),
            line,
        )
    }

    fn host(&mut self) -> Result<String, Error> {
        self.string("a host name or address")
    }

    /// A digest is often lexed as a number.
    fn digest(&mut self) -> Result<String, Error> {
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

    fn transport(&mut self) -> Result<Transport, Error> {
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

    fn protocol(&mut self) -> Result<Protocol, Error> {
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
                    exchanges.push(Exchange::Send(unescape(&self.string("what to send")?)));
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

    fn url(&mut self, service: &mut Service, line: usize) -> Result<(), Error> {
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

    fn changed(&mut self, service: &mut Service, line: usize) -> Result<(), Error> {
        if self.accept("pid") {
            self.only(service, line, "pid", Kind::is_process)?;
            service.pid_changed = self.step()?;
            return Ok(());
        }
        if self.accept("ppid") {
            self.only(service, line, "ppid", Kind::is_process)?;
            service.ppid_changed = self.step()?;
            return Ok(());
        }
        let condition = if self.accept("timestamp") {
            self.only(service, line, "timestamp", has_timestamp)?;
            Condition::TimestampChanged
        } else if self.is_any(&["md5", "sha1", "checksum"]) {
            self.accept_any(&["md5", "sha1"]);
            self.require("checksum")?;
            self.only(service, line, "checksum", |kind| {
                matches!(kind, Kind::File(_))
            })?;
            Condition::ChecksumChanged
        } else if self.accept("size") {
            self.only(service, line, "size", |kind| matches!(kind, Kind::File(_)))?;
            Condition::SizeChanged
        } else if self.accept_any(&["fsflag", "fsflags"]) {
            self.only(service, line, "fsflag", is_filesystem)?;
            Condition::FlagsChanged
        } else {
            return Err(self.expected(
                "'pid', 'ppid', 'timestamp', 'checksum', 'size' or 'fsflags' after 'changed'",
            ));
        };
        let failed = self.step()?;
        let recovered = Step {
            rate: Rate::ONCE,
            effect: Effect::Ignore,
        };
        service.checks.push(Check {
            condition,
            reaction: Reaction { failed, recovered },
            line,
        });
        Ok(())
    }

    fn resources(&mut self, service: &mut Service, line: usize) -> Result<(), Error> {
        let mut limits = Vec::new();
        while let Some(limit) = self.resource()? {
            let fits = match limit.kind {
                ResourceKind::Cpu | ResourceKind::TotalCpu | ResourceKind::Children => {
                    Kind::is_process
                }
                ResourceKind::CpuUser
                | ResourceKind::CpuSystem
                | ResourceKind::CpuWait
                | ResourceKind::SwapPercent
                | ResourceKind::SwapKb => |kind: &Kind| matches!(kind, Kind::System),
                _ => |kind: &Kind| matches!(kind, Kind::System | Kind::Process(_)),
            };
            self.only(service, line, "resource", fits)?;
            limits.push(limit);
        }
        if limits.is_empty() {
            return Err(self.expected("a test after 'if'"));
        }
        self.push(service, Condition::Resource(limits), line)
    }

    fn resource(&mut self) -> Result<Option<ResourceLimit>, Error> {
        if let Token::Resource(kind) = *self.peek() {
            self.advance();
            let operator = self.operator();
            let load = matches!(
                kind,
                ResourceKind::Load1 | ResourceKind::Load5 | ResourceKind::Load15
            );
            let limit = if load {
                self.value("a load")?
            } else {
                self.percent()?
            };
            return Ok(Some(ResourceLimit {
                kind,
                operator,
                limit,
            }));
        }
        let percent_only = |kind| (kind, kind);
        let (percent_kind, kb_kind) = if self.accept("cpu") {
            percent_only(ResourceKind::Cpu)
        } else if self.accept("totalcpu") {
            percent_only(ResourceKind::TotalCpu)
        } else if self.accept_any(&["mem", "memory"]) {
            (ResourceKind::MemoryPercent, ResourceKind::MemoryKb)
        } else if self.accept_any(&["totalmem", "totalmemory"]) {
            (
                ResourceKind::TotalMemoryPercent,
                ResourceKind::TotalMemoryKb,
            )
        } else if self.accept("swap") {
            (ResourceKind::SwapPercent, ResourceKind::SwapKb)
        } else if self.accept("children") {
            let operator = self.operator();
            let limit = self.number("a number of children")? as f64;
            return Ok(Some(ResourceLimit {
                kind: ResourceKind::Children,
                operator,
                limit,
            }));
        } else {
            return Ok(None);
        };
        let operator = self.operator();
        if percent_kind == kb_kind {
            let limit = self.percent()?;
            return Ok(Some(ResourceLimit {
                kind: percent_kind,
                operator,
                limit,
            }));
        }
        let number = self.value("an amount of memory")?;
        if self.accept_token(&Token::Percent) {
            return Ok(Some(ResourceLimit {
                kind: percent_kind,
                operator,
                limit: number,
            }));
        }
        let limit = (number * self.unit() as f64 / 1024.0).trunc();
        Ok(Some(ResourceLimit {
            kind: kb_kind,
            operator,
            limit,
        }))
    }

    fn restart_limit(&mut self, service: &mut Service) -> Result<(), Error> {
        let line = self.line();
        let restarts = self.small_number("a number of restarts")?;
        if !self.accept_any(&["restart", "restarts"]) {
            return Err(self.expected("'restarts'"));
        }
        let cycles = self.small_number("a number of cycles")?;
        self.cycle()?;
        if restarts == 0 || cycles == 0 || restarts > cycles {
            return Err(self.invalid(
                line,
                "the number of restarts must be at least 1 and at most the number of cycles",
            ));
        }
        self.require("then")?;
        let effect = if self.accept("timeout") {
            Effect::Unmonitor
        } else {
            self.effect()?
        };
        service.restart_limits.push(RestartLimit {
            restarts,
            cycles,
            effect,
        });
        Ok(())
    }

    /// `[rate] then effect`.
    fn step(&mut self) -> Result<Step, Error> {
        let rate = self.rate()?;
        if !self.accept("then") {
            return Err(self.expected("'then'"));
        }
        Ok(Step {
            rate,
            effect: self.effect()?,
        })
    }

    /// `[rate] then effect [else if succeeded [rate] then effect]`.
    fn reaction(&mut self) -> Result<Reaction, Error> {
        let failed = self.step()?;
        let mut recovered = Step::ALERT;
        if self.accept("else") {
            self.require("if")?;
            if !self.accept_any(&["recovered", "passed", "succeeded"]) {
                return Err(self.expected("'recovered', 'passed' or 'succeeded'"));
            }
            recovered = self.step()?;
        }
        Ok(Reaction { failed, recovered })
    }

    /// `for N cycles`, `N times within M cycles`.
    fn rate(&mut self) -> Result<Rate, Error> {
        if !matches!(self.peek(), Token::Number(_)) {
            return Ok(Rate::ONCE);
        }
        let line = self.line();
        let count = self.number("a number")?;
        let cycles = if matches!(self.peek(), Token::Number(_)) {
            self.number("a number of cycles")?
        } else {
            count
        };
        self.cycle()?;
        if cycles == 0 || cycles > MOST_CYCLES {
            return Err(self.invalid(
                line,
                format!("the number of cycles must be between 1 and {MOST_CYCLES}"),
            ));
        }
        if count == 0 || count > cycles {
            return Err(self.invalid(
                line,
                "the number of events must be at least 1 and at most the number of cycles",
            ));
        }
        let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        Ok(Rate {
            count: narrow(count),
            cycles: narrow(cycles),
        })
    }

    fn effect(&mut self) -> Result<Effect, Error> {
        if self.accept("alert") {
            Ok(Effect::Alert)
        } else if self.is_any(&["exec", "execute"]) {
            self.advance();
            Ok(Effect::Exec(self.program()?))
        } else if self.accept_any(&["restart", "restarts"]) {
            Ok(Effect::Restart)
        } else if self.accept("start") {
            Ok(Effect::Start)
        } else if self.accept("stop") {
            Ok(Effect::Stop)
        } else if self.accept("monitor") {
            Ok(Effect::Monitor)
        } else if self.accept("unmonitor") {
            Ok(Effect::Unmonitor)
        } else {
            Err(self
                .expected("'alert', 'restart', 'start', 'stop', 'exec', 'monitor' or 'unmonitor'"))
        }
    }
}

fn is_filesystem(kind: &Kind) -> bool {
    matches!(kind, Kind::Filesystem(_))
}

fn has_timestamp(kind: &Kind) -> bool {
    matches!(kind, Kind::File(_) | Kind::Directory(_) | Kind::Fifo(_))
}

/// monit's escapes in `send`: `\r`, `\n`, `\t`, `\0xNN`, `\\` and any other character after a backslash as it is.
fn unescape(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'\\' || at + 1 == bytes.len() {
            out.push(bytes[at]);
            at += 1;
            continue;
        }
        let hex = text
            .get(at + 4..at + 6)
            .filter(|_| text[at + 1..].starts_with("0x"));
        if let Some(byte) = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            out.push(byte);
            at += 6;
            continue;
        }
        match bytes[at + 1] {
            b'r' => out.push(b'\r'),
            b'n' => out.push(b'\n'),
            b't' => out.push(b'\t'),
            other => out.push(other),
        }
        at += 2;
    }
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
        Some((host, port)) => (host, port.parse().ok()?),
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
