//! The `set` statements.

use super::Error;
use super::lex::Token;
use super::model::{Httpd, HttpdAllow};
use super::parse::{Apply, Parser, port, seconds_of};

impl Parser<'_> {
    pub(super) fn set(&mut self) -> Result<Apply, Error> {
        let Token::Word(word) = self.peek().clone() else {
            return Err(self.expected("the name of a setting"));
        };
        let line = self.line();
        self.advance();
        match word.to_ascii_lowercase().as_str() {
            "daemon" => {
                let cycle = seconds_of(self.number("a number of seconds")?);
                if cycle.is_zero() {
                    return Err(self.invalid(line, "a cycle needs at least 1 second"));
                }
                let mut delay = None;
                if self.accept("start") {
                    self.require("delay")?;
                    delay = Some(seconds_of(self.number("a number of seconds")?));
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
                let recipient = self.mail_alert(false)?;
                Ok(Box::new(move |settings| {
                    settings.mail.recipients.push(recipient)
                }))
            }
            "mail-format" => {
                let format = self.mail_format()?;
                Ok(Box::new(move |settings| settings.mail.format = format))
            }
            "eventqueue" => {
                let (mut directory, mut slots) = (None, None);
                if self.accept("basedir") {
                    directory = Some(self.path("a directory")?);
                }
                if self.accept_any(&["slot", "slots"]) {
                    slots = Some(self.number("a number of events")?);
                }
                if directory.is_none() && slots.is_none() {
                    return Err(self.expected("'basedir' or 'slots'"));
                }
                Ok(Box::new(move |settings| {
                    settings.mail.queue = directory;
                    settings.mail.slots = slots;
                }))
            }
            "mailserver" => self.mail_servers(),
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
        let port = port(self.number("a port")?);
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
