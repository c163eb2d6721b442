//! Tokens into statements: `set`, `check` and what stands in a `check`. The `if` tests are in `tests.rs`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Error;
use super::lex::{Spanned, Token, tokens};
use super::model::{
    Account, Effect, Find, Kind, Location, Mode, PROGRAM_TIMEOUT, Program, Service, Settings,
    Watchdog,
};
use super::words::RESERVED;

/// What a setting changes.
pub(super) type Apply = Box<dyn FnOnce(&mut Settings) + Send>;

/// What one file says, in order.
pub(super) enum Statement {
    Set(Apply),
    Check(Box<Service>),
    Include { pattern: String, line: usize },
}

/// The parser of one file.
pub(super) struct Parser<'a> {
    pub(super) file: &'a Path,
    tokens: Vec<Spanned>,
    at: usize,
    warnings: Vec<String>,
}

/// A time as long as monit can count.
pub(super) fn seconds_of(seconds: u64) -> Duration {
    Duration::from_secs(seconds.min(i32::MAX as u64))
}

/// monit takes any number and leaves the rest to the network.
pub(super) fn port(number: u64) -> u16 {
    (number & 0xffff) as u16
}

/// The statements of a file.
pub(super) fn statements(
    file: &Path,
    text: &str,
    warnings: &mut Vec<String>,
) -> Result<Vec<Statement>, Error> {
    let mut parser = Parser {
        file,
        tokens: tokens(file, text)?,
        at: 0,
        warnings: Vec::new(),
    };
    let result = parser.statements();
    warnings.append(&mut parser.warnings);
    result
}

impl Parser<'_> {
    fn statements(&mut self) -> Result<Vec<Statement>, Error> {
        let mut statements = Vec::new();
        loop {
            let line = self.line();
            match self.peek().clone() {
                Token::End => return Ok(statements),
                Token::Include(pattern) => {
                    self.advance();
                    statements.push(Statement::Include { pattern, line });
                }
                Token::Check(kind, name) => {
                    self.advance();
                    statements.push(Statement::Check(Box::new(self.service(kind, name, line)?)));
                }
                _ if self.accept("set") => statements.push(Statement::Set(self.set()?)),
                _ => return Err(self.expected("'check', 'set' or 'include'")),
            }
        }
    }

    pub(super) fn peek(&self) -> &Token {
        &self.tokens[self.at].token
    }

    pub(super) fn line(&self) -> usize {
        self.tokens[self.at].line
    }

    pub(super) fn advance(&mut self) {
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
    }

    pub(super) fn expected(&self, what: &str) -> Error {
        Error::Syntax {
            file: self.file.to_owned(),
            line: self.line(),
            expected: what.to_owned(),
            found: self.peek().to_string(),
        }
    }

    pub(super) fn invalid(&self, line: usize, problem: impl Into<String>) -> Error {
        Error::Invalid {
            file: self.file.to_owned(),
            line,
            problem: problem.into(),
        }
    }

    /// Whether the next token is this keyword.
    pub(super) fn is(&self, keyword: &str) -> bool {
        matches!(self.peek(), Token::Word(word) if word.eq_ignore_ascii_case(keyword))
    }

    pub(super) fn is_any(&self, keywords: &[&str]) -> bool {
        keywords.iter().any(|keyword| self.is(keyword))
    }

    /// Takes the keyword if it is next.
    pub(super) fn accept(&mut self, keyword: &str) -> bool {
        let found = self.is(keyword);
        if found {
            self.advance();
        }
        found
    }

    pub(super) fn accept_any(&mut self, keywords: &[&str]) -> bool {
        keywords.iter().any(|keyword| self.accept(keyword))
    }

    pub(super) fn accept_token(&mut self, token: &Token) -> bool {
        let found = self.peek() == token;
        if found {
            self.advance();
        }
        found
    }

    pub(super) fn require(&mut self, keyword: &str) -> Result<(), Error> {
        if self.accept(keyword) {
            Ok(())
        } else {
            Err(self.expected(&format!("'{keyword}'")))
        }
    }

    pub(super) fn sign(&mut self, sign: char) -> Result<(), Error> {
        if self.accept_token(&Token::Sign(sign)) {
            Ok(())
        } else {
            Err(self.expected(&format!("'{sign}'")))
        }
    }

    pub(super) fn number(&mut self, what: &str) -> Result<u64, Error> {
        match *self.peek() {
            Token::Number(number) => {
                self.advance();
                Ok(number)
            }
            _ => Err(self.expected(what)),
        }
    }

    pub(super) fn small_number(&mut self, what: &str) -> Result<u32, Error> {
        let line = self.line();
        let number = self.number(what)?;
        u32::try_from(number)
            .map_err(|_| self.invalid(line, format!("{number} is too large for {what}")))
    }

    pub(super) fn value(&mut self, what: &str) -> Result<f64, Error> {
        match *self.peek() {
            Token::Number(number) => {
                self.advance();
                Ok(number as f64)
            }
            Token::Real(number) => {
                self.advance();
                Ok(number)
            }
            _ => Err(self.expected(what)),
        }
    }

    /// A quoted string or a bare word that is not a keyword.
    pub(super) fn is_string(&self) -> bool {
        match self.peek() {
            Token::Text(_) => true,
            Token::Word(word) => !RESERVED
                .iter()
                .any(|reserved| reserved.eq_ignore_ascii_case(word)),
            _ => false,
        }
    }

    pub(super) fn string(&mut self, what: &str) -> Result<String, Error> {
        match self.peek().clone() {
            Token::Text(text) | Token::Word(text) if self.is_string() => {
                self.advance();
                Ok(text)
            }
            Token::Word(word) => Err(Error::Syntax {
                file: self.file.to_owned(),
                line: self.line(),
                expected: what.to_owned(),
                found: format!("the keyword '{word}' (put it in quotes if it is meant as a name)"),
            }),
            _ => Err(self.expected(what)),
        }
    }

    pub(super) fn path(&mut self, what: &str) -> Result<PathBuf, Error> {
        match self.peek() {
            Token::Path(path) => {
                let path = PathBuf::from(path);
                self.advance();
                Ok(path)
            }
            _ => Err(self.expected(what)),
        }
    }

    fn service(&mut self, kind: &'static str, name: String, line: usize) -> Result<Service, Error> {
        let kind = match kind {
            "process" => {
                if self.accept_any(&["match", "matching"]) {
                    let pattern = match self.peek().clone() {
                        Token::Path(path) => {
                            self.advance();
                            path
                        }
                        _ => self.string("a regular expression")?,
                    };
                    Kind::Process(Find::Matching(pattern))
                } else if self.accept_any(&["pidfile", "path"]) {
                    Kind::Process(Find::PidFile(self.path("the absolute path of a pidfile")?))
                } else {
                    return Err(self.expected("'pidfile' or 'matching'"));
                }
            }
            "host" => {
                self.require("address")?;
                Kind::Host(self.string("a host name or address")?)
            }
            "system" => Kind::System,
            _ => {
                self.require("path")?;
                let path = self.path("an absolute path")?;
                if kind == "status" {
                    self.warn(line, "monit tests nothing in a 'check status'");
                }
                match kind {
                    "file" => Kind::File(path),
                    "directory" => Kind::Directory(path),
                    "fifo" => Kind::Fifo(path),
                    "status" => Kind::Status(path),
                    _ => Kind::Filesystem(path),
                }
            }
        };
        let location = Location {
            file: self.file.to_owned(),
            line,
        };
        let mut service = Service::new(name, location, kind);
        while self.option(&mut service)? {}
        if matches!(service.kind, Kind::Host(_)) && service.checks.is_empty() {
            return Err(self.invalid(
                line,
                format!(
                    "check host '{}' needs a port, url or icmp test",
                    service.name
                ),
            ));
        }
        Ok(service)
    }

    /// One option of a service; false if what follows is another statement.
    fn option(&mut self, service: &mut Service) -> Result<bool, Error> {
        match self.peek().clone() {
            Token::Group(name) => {
                self.advance();
                if !service.groups.contains(&name) {
                    service.groups.push(name);
                }
            }
            Token::Depends(names) => {
                self.advance();
                service.depends.extend(names);
            }
            Token::Word(word) => match word.to_ascii_lowercase().as_str() {
                "start" => self.program_option(&mut service.start)?,
                "stop" => self.program_option(&mut service.stop)?,
                "restart" => self.program_option(&mut service.restart)?,
                "mode" => {
                    self.advance();
                    service.mode = if self.accept("active") {
                        Mode::Active
                    } else if self.accept("passive") {
                        Mode::Passive
                    } else if self.accept("manual") {
                        Mode::Manual
                    } else {
                        return Err(self.expected("'active', 'passive' or 'manual'"));
                    };
                }
                "every" => {
                    self.advance();
                    let line = self.line();
                    service.every = self.small_number("a number of cycles")?;
                    if service.every == 0 {
                        return Err(self.invalid(line, "'every' needs at least 1 cycle"));
                    }
                    self.cycle()?;
                }
                "alert" | "noalert" => {
                    self.advance();
                    let none = word.eq_ignore_ascii_case("noalert");
                    service.recipients.push(self.mail_alert(none)?);
                }
                "if" => {
                    self.advance();
                    self.test(service)?;
                }
                "watchdog" => {
                    let line = self.line();
                    self.advance();
                    self.only(service, line, "watchdog", super::Kind::is_process)?;
                    service.watchdog = Some(self.watchdog()?);
                }
                "ignore" => {
                    self.advance();
                    self.ignore_match(service)?;
                }
                "set" => return Ok(false),
                _ => {
                    return Err(self.expected(
                        "'start', 'stop', 'restart', 'if', 'group', 'depends on', 'mode', 'every', 'alert' or the next statement",
                    ));
                }
            },
            Token::End | Token::Check(..) | Token::Include(_) => return Ok(false),
            _ => return Err(self.expected("an option of the service or the next statement")),
        }
        Ok(true)
    }

    /// `watchdog [N seconds] [then ACTION]`: ours, not monit's.
    fn watchdog(&mut self) -> Result<Watchdog, Error> {
        let mut interval = None;
        if matches!(self.peek(), Token::Number(_)) {
            let line = self.line();
            let seconds = self.number("a number of seconds")?;
            if seconds == 0 {
                return Err(self.invalid(line, "a watchdog needs at least 1 second"));
            }
            if !self.accept_any(&["second", "seconds"]) {
                return Err(self.expected("'seconds'"));
            }
            interval = Some(seconds_of(seconds));
        }
        let effect = if self.accept("then") {
            self.effect()?
        } else {
            Effect::Restart
        };
        Ok(Watchdog { interval, effect })
    }

    pub(super) fn cycle(&mut self) -> Result<(), Error> {
        if self.accept_any(&["cycle", "cycles"]) {
            Ok(())
        } else {
            Err(self.expected("'cycles'"))
        }
    }

    /// Given twice, the last one counts, as in monit.
    fn program_option(&mut self, slot: &mut Option<Program>) -> Result<(), Error> {
        let line = self.line();
        self.advance();
        if slot.replace(self.program()?).is_some() {
            self.warn(line, "the program is given twice and the last one counts");
        }
        Ok(())
    }

    /// A program with its account and timeout.
    pub(super) fn program(&mut self) -> Result<Program, Error> {
        let line = self.line();
        let mut argv = Vec::new();
        if let Token::Argv(words) = self.peek().clone() {
            self.advance();
            argv = words;
        }
        // What follows the quotes still belongs to it.
        while let Token::Path(text) | Token::Text(text) | Token::Word(text) = self.peek().clone() {
            let path = matches!(self.peek(), Token::Path(_));
            // The one word of ours that monit does not know.
            if !path && (!self.is_string() || self.is("watchdog")) {
                break;
            }
            argv.push(text);
            self.advance();
        }
        match argv.first() {
            None => return Err(self.expected("a program and its arguments in double quotes")),
            Some(program) if !std::path::Path::new(program).exists() => {
                let problem = format!("the executable does not exist '{program}'");
                self.warn(line, &problem);
            }
            Some(_) => {}
        }
        let mut program = Program {
            argv,
            uid: None,
            gid: None,
            timeout: PROGRAM_TIMEOUT,
        };
        loop {
            if self.accept("uid") {
                program.uid = Some(self.account("a user")?);
            } else if self.accept("gid") {
                program.gid = Some(self.account("a group")?);
            } else {
                break;
            }
        }
        if let Some(timeout) = self.timeout()? {
            program.timeout = timeout;
        }
        Ok(program)
    }

    pub(super) fn account(&mut self, what: &str) -> Result<Account, Error> {
        if matches!(self.peek(), Token::Number(_)) {
            return Ok(Account::Id(self.small_number(what)?));
        }
        Ok(Account::Name(
            self.string(&format!("{what} (name or number)"))?,
        ))
    }

    /// `[with] timeout N seconds`.
    pub(super) fn timeout(&mut self) -> Result<Option<Duration>, Error> {
        if !self.accept("timeout") {
            return Ok(None);
        }
        let seconds = self.number("a number of seconds")?;
        if !self.accept_any(&["second", "seconds"]) {
            return Err(self.expected("'seconds'"));
        }
        Ok(Some(seconds_of(seconds)))
    }

    /// What is strange but not wrong.
    fn warn(&mut self, line: usize, problem: &str) {
        let place = self.file.display();
        self.warnings
            .push(format!("{place}:{line}: Warning: {problem}"));
    }

    /// A unit of size, in bytes.
    pub(super) fn unit(&mut self) -> u64 {
        if self.accept_any(&["kilobyte", "kb"]) {
            1 << 10
        } else if self.accept_any(&["megabyte", "mb"]) {
            1 << 20
        } else if self.accept_any(&["gigabyte", "gb"]) {
            1 << 30
        } else {
            self.accept_any(&["byte", "b"]);
            1
        }
    }
}
