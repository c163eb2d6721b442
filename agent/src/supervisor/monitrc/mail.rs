//! Mail alerts: `alert` in services, and `set alert|mailserver|mail-format`.

use std::path::PathBuf;
use std::time::Duration;

use super::Error;
use super::lex::Token;
use super::model::NETWORK_TIMEOUT;
use super::parse::{Apply, Parser, port};

/// Where alerts are mailed to, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mail {
    /// `set alert`.
    pub recipients: Vec<Recipient>,
    /// `set mailserver`: the first that can be reached is used.
    pub servers: Vec<MailServer>,
    /// `set mail-format`.
    pub format: MailFormat,
    /// For connecting and for each answer.
    pub timeout: Option<Duration>,
    /// What we call ourselves.
    pub hostname: Option<String>,
    /// `set eventqueue basedir`: keeps what cannot be delivered.
    pub queue: Option<PathBuf>,
    /// `set eventqueue ... slots`: at most so much of it.
    pub slots: Option<u64>,
}

/// Somebody who is mailed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recipient {
    /// Mail address.
    pub address: String,
    /// monit's words for kinds of events.
    pub events: Vec<String>,
    /// Whether `events` are those that are not mailed.
    pub except: bool,
    /// Overrides that of `set mail-format`.
    pub format: MailFormat,
    /// Mail again every so many cycles while it lasts; 0 is never.
    pub reminder: u32,
}

impl Recipient {
    /// Whether a kind of event is mailed.
    pub fn wants(&self, event: &str) -> bool {
        self.events.iter().any(|own| own == event) != self.except
    }
}

/// How a mail looks; monit's own words unless given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MailFormat {
    /// `from:`.
    pub from: Option<String>,
    /// `reply-to:`.
    pub reply_to: Option<String>,
    /// `subject:`.
    pub subject: Option<String>,
    /// `message:`.
    pub message: Option<String>,
}

/// An SMTP server.
#[derive(Clone, PartialEq, Eq)]
pub struct MailServer {
    /// Name or address.
    pub host: String,
    /// TCP port; 25 unless given.
    pub port: u16,
    /// Name and password.
    pub credentials: Option<(String, String)>,
    /// Asked for by `using tlsv1` and the like, which we do not speak to mail servers.
    pub tls: bool,
}

impl std::fmt::Debug for MailServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MailServer")
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// monit's words for kinds of events, and others that mean the same.
const EVENTS: &[(&str, &str)] = &[
    ("action", "action"),
    ("checksum", "checksum"),
    ("connection", "connection"),
    ("content", "content"),
    ("data", "data"),
    ("exec", "exec"),
    ("execute", "exec"),
    ("fsflag", "fsflags"),
    ("fsflags", "fsflags"),
    ("gid", "gid"),
    ("icmp", "icmp"),
    ("instance", "instance"),
    ("invalid", "invalid"),
    ("nonexist", "nonexist"),
    ("perm", "permission"),
    ("permission", "permission"),
    ("pid", "pid"),
    ("ppid", "ppid"),
    ("resource", "resource"),
    ("size", "size"),
    ("timeout", "timeout"),
    ("timestamp", "timestamp"),
    ("uid", "uid"),
];

impl Parser<'_> {
    /// `alert ADDRESS [not] {events} mail-format {...} reminder N`, `noalert ADDRESS`.
    pub(super) fn mail_alert(&mut self, none: bool) -> Result<Recipient, Error> {
        let Token::Mail(address) = self.peek().clone() else {
            return Err(self.expected("a mail address"));
        };
        self.advance();
        let mut recipient = Recipient {
            address,
            except: true,
            ..Recipient::default()
        };
        if none {
            recipient.except = false;
            return Ok(recipient);
        }
        let not = self.accept("not");
        if not || self.peek() == &Token::Sign('{') {
            recipient.except = not;
            self.sign('{')?;
            while let Some((word, event)) = EVENTS.iter().find(|(word, _)| self.is(word)) {
                self.require(word)?;
                recipient.events.push((*event).to_owned());
            }
            if recipient.events.is_empty() {
                return Err(self.expected("the name of an event"));
            }
            self.sign('}')?;
        }
        if self.accept("mail-format") {
            recipient.format = self.mail_format()?;
        }
        if self.accept("reminder") {
            recipient.reminder = self.small_number("a number of cycles")?;
            self.accept_any(&["cycle", "cycles"]);
        }
        Ok(recipient)
    }

    pub(super) fn mail_format(&mut self) -> Result<MailFormat, Error> {
        let mut format = MailFormat::default();
        self.sign('{')?;
        while let Token::MailOption(option, text) = self.peek().clone() {
            self.advance();
            let slot = match option {
                "from" => &mut format.from,
                "reply-to" => &mut format.reply_to,
                "subject" => &mut format.subject,
                _ => &mut format.message,
            };
            *slot = Some(text);
        }
        self.sign('}')?;
        Ok(format)
    }

    /// Whether TLS is asked for.
    pub(super) fn tls_options(&mut self) -> Result<bool, Error> {
        let tls = self.accept_any(&["sslv2", "sslv3", "tlsv1", "sslauto"]);
        if self.accept("certmd5") {
            self.string("an MD5 sum")?;
        }
        Ok(tls)
    }

    pub(super) fn mail_servers(&mut self) -> Result<Apply, Error> {
        let mut servers = Vec::new();
        loop {
            let mut server = MailServer {
                host: self.string("the host of a mail server")?,
                port: 25,
                credentials: None,
                tls: false,
            };
            if self.accept("port") {
                server.port = port(self.number("a port")?);
            }
            let (mut name, mut password) = (None, String::new());
            if self.accept("username") {
                name = Some(match self.peek().clone() {
                    Token::Mail(address) => {
                        self.advance();
                        address
                    }
                    _ => self.string("a user name")?,
                });
            }
            if self.accept("password") {
                password = self.string("a password")?;
            }
            server.credentials = name.map(|name| (name, password));
            server.tls = self.tls_options()?;
            servers.push(server);
            if !self.is_string() {
                break;
            }
        }
        let timeout = self.timeout()?.unwrap_or(NETWORK_TIMEOUT);
        let mut hostname = None;
        if self.accept("hostname") {
            hostname = Some(self.string("a host name")?);
        }
        Ok(Box::new(move |settings| {
            settings.mail.servers.extend(servers);
            settings.mail.timeout = Some(timeout);
            settings.mail.hostname = hostname;
        }))
    }
}
