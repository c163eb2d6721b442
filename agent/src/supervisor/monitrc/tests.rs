//! The `if` of a service: conditions, rates and what is done.

use std::time::Duration;

use super::Error;
use super::lex::Token;
use super::model::{
    Check, Condition, Connect, Effect, Endpoint, HashKind, Kind, NETWORK_TIMEOUT, Operator, Rate,
    Reaction, ResourceKind, ResourceLimit, RestartLimit, Service, Step, Verb,
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

    pub(super) fn push(
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

    pub(super) fn only(
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
            let text = super::load::text_of(&path).map_err(|error| {
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

    pub(super) fn operator(&mut self) -> Operator {
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

    pub(super) fn percent(&mut self) -> Result<f64, Error> {
        let number = self.value("a percentage")?;
        if self.accept_token(&Token::Percent) {
            Ok(number)
        } else {
            Err(self.expected("'%'"))
        }
    }

    fn failed(&mut self, service: &mut Service, line: usize) -> Result<(), Error> {
        let file_like = |kind: &Kind| {
            !matches!(
                kind,
                Kind::Process(_) | Kind::Host(_) | Kind::System | Kind::Status(_)
            )
        };
        if self.is_any(&["md5", "sha1", "checksum"]) {
            let mut kind = self.hash_kind()?;
            self.only(service, line, "checksum", |kind| {
                matches!(kind, Kind::File(_))
            })?;
            let expected = if self.accept("expect") {
                Some(self.digest()?)
            } else {
                None
            };
            if let Some(sum) = &expected {
                kind = HashKind::of(sum);
            }
            return self.push(service, Condition::Checksum(kind, expected), line);
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
            Endpoint::Tcp(host, super::parse::port(self.number("a port")?))
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
            let kind = self.hash_kind()?;
            self.only(service, line, "checksum", |kind| {
                matches!(kind, Kind::File(_))
            })?;
            Condition::ChecksumChanged(kind)
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

    /// `[md5|sha1] checksum`.
    fn hash_kind(&mut self) -> Result<HashKind, Error> {
        let kind = if self.accept("sha1") {
            HashKind::Sha1
        } else {
            self.accept("md5");
            HashKind::Md5
        };
        self.require("checksum")?;
        Ok(kind)
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

    pub(super) fn effect(&mut self) -> Result<Effect, Error> {
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
