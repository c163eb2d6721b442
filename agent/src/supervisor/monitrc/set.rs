//! The `set` statements, and the mail alerts that may also stand in a service.

use std::time::Duration;

use super::Error;
use super::lex::Token;
use super::model::{Httpd, HttpdAllow};
use super::parse::{Apply, Parser};

impl Parser<'_> {
    /// `alert ADDRESS [not] {events} mail-format {...} reminder N`: syntax only, alerts go to the agent.
    pub(super) fn mail_alert(&mut self, none: bool) -> Result<(), Error> {
        if !matches!(self.peek(), Token::Mail(_)) {
            return Err(self.expected("a mail address"));
        }
        self.advance();
        if none {
            return Ok(());
        }
        let not = self.accept("not");
        if not || self.peek() == &Token::Sign('{') {
            const EVENTS: &[&str] = &[
                "action",
                "checksum",
                "connection",
                "content",
                "data",
                "exec",
                "execute",
                "fsflag",
                "fsflags",
                "gid",
                "icmp",
                "instance",
                "invalid",
                "nonexist",
                "perm",
                "permission",
                "pid",
                "ppid",
                "resource",
                "size",
                "timeout",
                "timestamp",
                "uid",
            ];
            self.sign('{')?;
            if !self.is_any(EVENTS) {
                return Err(self.expected("the name of an event"));
            }
            while self.accept_any(EVENTS) {}
            self.sign('}')?;
        }
        if self.accept("mail-format") {
            self.mail_format()?;
        }
        if self.accept("reminder") {
            self.number("a number of cycles")?;
            self.accept_any(&["cycle", "cycles"]);
        }
        Ok(())
    }

    fn mail_format(&mut self) -> Result<(), Error> {
        self.sign('{')?;
        while self.accept_token(&Token::MailOption) {}
        self.sign('}')
    }

    pub(super) fn set(&mut self) -> Result<Apply, Error> {
        let Token::Word(word) = self.peek().clone() else {
            return Err(self.expected("the name of a setting"));
        };
        let line = self.line();
        self.advance();
        match word.to_ascii_lowercase().as_str() {
            "daemon" => {
                let cycle = Duration::from_secs(self.number("a number of seconds")?);
                if cycle.is_zero() {
                    return Err(self.invalid(line, "a cycle needs at least 1 second"));
                }
                let mut delay = None;
                if self.accept("start") {
                    self.require("delay")?;
                    delay = Some(Duration::from_secs(self.number("a number of seconds")?));
                }
                Ok(Box::new(move |settings| {
                    settings.cycle = Some(cycle);
                    settings.start_delay = delay;
                }))
            }
            "logfile" => {
                if self.accept("syslog") {
                    if self.accept("facility") {
                        self.string("the name of a syslog facility")?;
                    }
                    return nothing();
                }
                let path = self.path("a path or 'syslog'")?;
                Ok(Box::new(move |settings| settings.log_file = Some(path)))
            }
            "pidfile" => {
                let path = self.path("a path")?;
                Ok(Box::new(move |settings| settings.pid_file = Some(path)))
            }
            "idfile" => {
                let path = self.path("a path")?;
                Ok(Box::new(move |settings| settings.id_file = Some(path)))
            }
            "statefile" => {
                let path = self.path("a path")?;
                Ok(Box::new(move |settings| settings.state_file = Some(path)))
            }
            "expectbuffer" => {
                let number = self.number("a number of bytes")?;
                let bytes = number.saturating_mul(self.unit());
                Ok(Box::new(move |settings| {
                    settings.expect_buffer = Some(bytes)
                }))
            }
            "init" | "fips" => nothing(),
            "alert" => {
                self.mail_alert(false)?;
                nothing()
            }
            "mail-format" => {
                self.mail_format()?;
                nothing()
            }
            "eventqueue" => {
                let mut some = false;
                if self.accept("basedir") {
                    self.path("a directory")?;
                    some = true;
                }
                if self.accept_any(&["slot", "slots"]) {
                    self.number("a number of events")?;
                    some = true;
                }
                if some {
                    nothing()
                } else {
                    Err(self.expected("'basedir' or 'slots'"))
                }
            }
            "mailserver" => {
                self.mail_servers()?;
                nothing()
            }
            "mmonit" => {
                self.mmonit()?;
                nothing()
            }
            "httpd" => {
                let httpd = self.httpd()?;
                Ok(Box::new(move |settings| settings.httpd = Some(httpd)))
            }
            _ => Err(self.invalid(line, format!("there is no setting '{word}'"))),
        }
    }

    fn tls_options(&mut self) -> Result<(), Error> {
        self.accept_any(&["sslv2", "sslv3", "tlsv1", "sslauto"]);
        if self.accept("certmd5") {
            self.string("an MD5 sum")?;
        }
        Ok(())
    }

    fn mail_servers(&mut self) -> Result<(), Error> {
        self.string("the host of a mail server")?;
        loop {
            if self.accept("port") {
                self.number("a port")?;
            }
            if self.accept("username") {
                match self.peek() {
                    Token::Mail(_) => self.advance(),
                    _ => drop(self.string("a user name")?),
                }
            }
            if self.accept("password") {
                self.string("a password")?;
            }
            self.tls_options()?;
            if !self.is_string() {
                break;
            }
            self.advance();
        }
        self.timeout()?;
        if self.accept("hostname") {
            self.string("a host name")?;
        }
        Ok(())
    }

    fn mmonit(&mut self) -> Result<(), Error> {
        loop {
            if !matches!(self.peek(), Token::Url(_)) {
                return Err(self.expected("a URL"));
            }
            self.advance();
            self.timeout()?;
            self.tls_options()?;
            if self.accept("register") {
                self.require("credentials")?;
            }
            if !matches!(self.peek(), Token::Url(_)) {
                return Ok(());
            }
        }
    }

    fn httpd(&mut self) -> Result<Httpd, Error> {
        if !self.accept_any(&["port", "portnumber"]) {
            return Err(self.expected("'port'"));
        }
        let line = self.line();
        let port = self.number("a port")?;
        let port =
            u16::try_from(port).map_err(|_| self.invalid(line, format!("{port} is not a port")))?;
        let mut httpd = Httpd {
            port,
            address: None,
            allow: Vec::new(),
        };
        loop {
            if self.accept("address") {
                httpd.address = Some(self.string("an address")?);
            } else if self.accept("allow") {
                httpd.allow.push(self.allow()?);
            } else if self.accept("signature") || self.accept("ssl") {
                self.accept_any(&["enable", "disable"]);
            } else if self.accept_any(&["enable", "disable"]) {
                if !self.accept_any(&["ssl", "signature"]) {
                    return Err(self.expected("'ssl' or 'signature'"));
                }
            } else if self.accept_any(&["pemfile", "clientpemfile"]) {
                self.path("a path")?;
            } else if !self.accept("allowselfcertification") {
                return Ok(httpd);
            }
        }
    }

    fn allow(&mut self) -> Result<HttpdAllow, Error> {
        let hashed = self.is_any(&["md5", "crypt"]);
        if self.accept_any(&["cleartext", "md5", "crypt"]) || matches!(self.peek(), Token::Path(_))
        {
            let path = self.path("the path of a password file")?;
            let mut users = Vec::new();
            while self.is_string() {
                users.push(self.string("a user")?);
            }
            return Ok(if hashed {
                HttpdAllow::Hashed(path, users)
            } else {
                HttpdAllow::ClearText(path, users)
            });
        }
        if self.accept_token(&Token::Sign('@')) {
            let group = self.string("a group")?;
            self.accept_any(&["read-only", "readonly"]);
            return Ok(HttpdAllow::Pam(group));
        }
        let first = match self.peek().clone() {
            Token::Real(number) => {
                self.advance();
                number.to_string()
            }
            _ => self.string("user:password, a host, a network or the path of a password file")?,
        };
        if !self.accept_token(&Token::Sign(':')) {
            return Ok(HttpdAllow::Host(first));
        }
        let password = match self.peek().clone() {
            Token::Number(number) => {
                self.advance();
                number.to_string()
            }
            _ => self.string("a password")?,
        };
        let read_only = self.accept_any(&["read-only", "readonly"]);
        Ok(HttpdAllow::User {
            name: first,
            password,
            read_only,
        })
    }
}

fn nothing() -> Result<Apply, Error> {
    Ok(Box::new(|_| {}))
}
