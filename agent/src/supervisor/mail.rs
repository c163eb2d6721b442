//! Alerts by mail, as monit sends them: upstream's agent takes them on a port of its own (jobsupervisor/monit_job_supervisor.go),
//! so that `monit -I` can stand beside it. Our own agent does not need this.
//!
//! What cannot be delivered is tried again every cycle, and kept in the directory of `set eventqueue` if there is one; of more
//! than that many alerts the oldest are given up.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use time::OffsetDateTime;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::handle::MonitAlert;
use super::monitrc::{self, Config, Mail, MailServer, Recipient};
use super::service::Event;

/// Alerts that wait, unless `set eventqueue` says how many.
const SLOTS: u64 = 1000;

/// Delivers alerts until there will be none any more. Recipients and servers are looked up in the control files each time:
/// they may have changed, and alerts are rare.
pub(super) async fn deliver(
    mut alerts: mpsc::Receiver<MonitAlert>,
    control_files: Vec<PathBuf>,
    hostname: String,
    cycle: Duration,
) {
    let mut mailer = Mailer {
        control_files,
        hostname,
        config: Config::default(),
        waiting: VecDeque::new(),
        open: HashMap::new(),
    };
    mailer.load();
    mailer.take_up();
    loop {
        match tokio::time::timeout(cycle, alerts.recv()).await {
            Ok(None) => return,
            Ok(Some(alert)) => {
                mailer.load();
                mailer.add(alert);
                while let Ok(alert) = alerts.try_recv() {
                    mailer.add(alert);
                }
            }
            Err(_) => mailer.remind(),
        }
        mailer.flush().await;
    }
}

/// An alert and the cycles it has lasted.
struct Lasting {
    alert: MonitAlert,
    cycles: u32,
}

struct Mailer {
    control_files: Vec<PathBuf>,
    hostname: String,
    config: Config,
    /// Each with the recipients it is for.
    waiting: VecDeque<(MonitAlert, Vec<Recipient>)>,
    /// Failures that were not taken back, by service and event.
    open: HashMap<(String, Event), Lasting>,
}

impl Mailer {
    fn mail(&self) -> &Mail {
        &self.config.settings.mail
    }

    /// Control files that are not valid change nothing, as for the supervisor.
    fn load(&mut self) {
        let loaded = monitrc::load(&self.control_files);
        if loaded.errors.is_empty() {
            self.config = loaded.config;
        }
    }

    /// Whoever wants to hear of an event of a service: what a service says of somebody counts more than what is said for all.
    fn recipients(&self, service: &str, wanted: impl Fn(&Recipient) -> bool) -> Vec<Recipient> {
        let own = self
            .config
            .services
            .iter()
            .find(|own| own.name.eq_ignore_ascii_case(service))
            .map_or(&[][..], |own| &own.recipients);
        let others = self.mail().recipients.iter();
        let others = others.filter(|all| own.iter().all(|own| own.address != all.address));
        own.iter()
            .chain(others)
            .filter(|recipient| wanted(recipient))
            .cloned()
            .collect()
    }

    fn add(&mut self, alert: MonitAlert) {
        let event = Event::from_text(&alert.event);
        let kind = event.map_or("", |(event, _)| event.keyword());
        let recipients = self.recipients(&alert.service, |recipient| recipient.wants(kind));
        if let Some((event, bad)) = event {
            let key = (alert.service.clone(), event);
            if bad {
                let alert = alert.clone();
                self.open.insert(key, Lasting { alert, cycles: 0 });
            } else {
                self.open.remove(&key);
            }
        }
        self.wait(alert, recipients);
    }

    fn wait(&mut self, alert: MonitAlert, recipients: Vec<Recipient>) {
        if recipients.is_empty() {
            return;
        }
        self.waiting.push_back((alert, recipients));
        let slots = self.mail().slots.unwrap_or(SLOTS).max(1);
        while self.waiting.len() as u64 > slots {
            if let Some((alert, _)) = self.waiting.pop_front() {
                tracing::error!(
                    service = alert.service,
                    event = alert.event,
                    "too many alerts wait to be mailed; one is given up"
                );
                self.forget(&alert);
            }
        }
    }

    /// `reminder on N cycles`.
    fn remind(&mut self) {
        let mut due = Vec::new();
        for ((_, event), lasting) in &mut self.open {
            lasting.cycles = lasting.cycles.saturating_add(1);
            due.push((lasting.alert.clone(), event.keyword(), lasting.cycles));
        }
        for (alert, kind, cycles) in due {
            let recipients = self.recipients(&alert.service, |recipient| {
                recipient.reminder > 0 && cycles % recipient.reminder == 0 && recipient.wants(kind)
            });
            self.wait(alert, recipients);
        }
    }

    async fn flush(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let mails: Vec<Vec<Letter>> = self
            .waiting
            .iter()
            .map(|(alert, recipients)| {
                let letter = |recipient| self.letter(alert, recipient);
                recipients.iter().map(letter).collect()
            })
            .collect();
        let mut problem = "there is no mail server ('set mailserver')".to_owned();
        for server in self.mail().servers.clone() {
            let timeout = self.mail().timeout.unwrap_or(Duration::from_secs(5));
            let (sent, result) = send(&server, &self.helo(), timeout, &mails).await;
            for (alert, _) in self.waiting.drain(..sent).collect::<Vec<_>>() {
                self.forget(&alert);
            }
            match result {
                Ok(()) => return,
                Err(error) => problem = format!("{}:{}: {error}", server.host, server.port),
            }
            // With what was sent a repetition would not be the same any more.
            if sent > 0 {
                break;
            }
        }
        tracing::error!(waiting = self.waiting.len(), problem, "cannot mail alerts");
        self.keep();
    }

    fn helo(&self) -> String {
        let hostname = self.mail().hostname.as_ref();
        hostname.unwrap_or(&self.hostname).clone()
    }

    /// Alerts that an earlier supervisor could not deliver.
    fn take_up(&mut self) {
        let Some(dir) = self.mail().queue.clone() else {
            return;
        };
        let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let mut files: Vec<PathBuf> = files.map(|entry| entry.path()).collect();
        files.retain(|file| {
            file.extension()
                .is_some_and(|extension| extension == "json")
        });
        files.sort();
        for file in files {
            let alert = std::fs::read(&file)
                .ok()
                .and_then(|text| serde_json::from_slice::<MonitAlert>(&text).ok());
            match alert {
                Some(alert) => self.add(alert),
                None => tracing::warn!(file = %file.display(), "this is no alert"),
            }
        }
    }

    fn place(&self, alert: &MonitAlert) -> Option<PathBuf> {
        let dir = self.mail().queue.as_ref()?;
        // The id is ours, but it comes back from a file.
        let plain = alert
            .id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-');
        plain.then(|| dir.join(format!("{}.json", alert.id)))
    }

    fn keep(&self) {
        for (alert, _) in &self.waiting {
            let Some(path) = self.place(alert).filter(|path| !path.exists()) else {
                continue;
            };
            let written = path
                .parent()
                .map_or(Ok(()), std::fs::create_dir_all)
                .and_then(|()| {
                    let text = serde_json::to_vec(alert).map_err(io::Error::other)?;
                    super::state::write_atomically(&path, &text, 0o600)
                });
            if let Err(error) = written {
                tracing::error!(path = %path.display(), %error, "cannot keep an alert");
            }
        }
    }

    fn forget(&self, alert: &MonitAlert) {
        if let Some(path) = self.place(alert) {
            // It was never written unless there was trouble.
            let _ = std::fs::remove_file(path);
        }
    }

    fn letter(&self, alert: &MonitAlert, recipient: &Recipient) -> Letter {
        let (own, all) = (&recipient.format, &self.mail().format);
        let pick = |own: &Option<String>, all: &Option<String>, default: &str| {
            let text = own.as_ref().or(all.as_ref());
            self.fill(text.map_or(default, String::as_str), alert)
        };
        let from = pick(&own.from, &all.from, "monit@$HOST");
        let subject = pick(
            &own.subject,
            &all.subject,
            "monit alert --  $EVENT $SERVICE",
        );
        let message = pick(
            &own.message,
            &all.message,
            "Service: $SERVICE\nEvent: $EVENT\nAction: $ACTION\nDate: $DATE\nHost: $HOST\nDescription: $DESCRIPTION",
        );
        let reply_to = own.reply_to.as_ref().or(all.reply_to.as_ref());
        let reply_to = reply_to.map_or(String::new(), |to| format!("Reply-To: {to}\n"));
        let (to, date, id) = (&recipient.address, &alert.date, &alert.id);
        let unique = OffsetDateTime::now_utc().unix_timestamp();
        let text = format!(
            "From: {from}\n{reply_to}To: {to}\nSubject: {}\nDate: {date}\nX-Mailer: monit {}\nMime-Version: 1.0\n\
             Content-Type: text/plain; charset=\"utf-8\"\nContent-Transfer-Encoding: 8bit\n\
             Message-id: <{unique}.{id}@{}>\n\n{message}",
            subject.replace(['\r', '\n'], " "),
            super::api::VERSION,
            self.helo(),
        );
        let to = recipient.address.clone();
        Letter { from, to, text }
    }

    fn fill(&self, text: &str, alert: &MonitAlert) -> String {
        text.replace("$HOST", &self.hostname)
            .replace("$DATE", &alert.date)
            .replace("$SERVICE", &alert.service)
            .replace("$EVENT", &alert.event)
            .replace("$ACTION", &alert.action)
            .replace("$DESCRIPTION", &alert.description)
    }
}

struct Letter {
    from: String,
    to: String,
    text: String,
}

impl Letter {
    /// Lines as SMTP wants them, and the dot at the end.
    fn data(&self) -> String {
        let mut out = String::with_capacity(self.text.len() + 64);
        for line in self.text.lines() {
            if line.starts_with('.') {
                out.push('.');
            }
            out.push_str(line);
            out.push_str("\r\n");
        }
        out + ".\r\n"
    }
}

/// How many alerts were taken, and what went wrong then.
async fn send(
    server: &MailServer,
    hostname: &str,
    timeout: Duration,
    mails: &[Vec<Letter>],
) -> (usize, io::Result<()>) {
    let mut sent = 0;
    let result = async {
        if server.tls {
            return Err(io::Error::other("TLS is not spoken to mail servers"));
        }
        let connect = TcpStream::connect((server.host.as_str(), server.port));
        let stream = tokio::time::timeout(timeout, connect).await??;
        let mut smtp = Smtp {
            stream: BufReader::new(stream),
            timeout,
        };
        smtp.answer().await?;
        if let Some((name, password)) = &server.credentials {
            smtp.say(&format!("EHLO {hostname}\r\n")).await?;
            let secret = STANDARD.encode(format!("\0{name}\0{password}"));
            smtp.say(&format!("AUTH PLAIN {secret}\r\n")).await?;
        } else {
            smtp.say(&format!("HELO {hostname}\r\n")).await?;
        }
        for letters in mails {
            for letter in letters {
                smtp.say(&format!("MAIL FROM: <{}>\r\n", letter.from))
                    .await?;
                smtp.say(&format!("RCPT TO: <{}>\r\n", letter.to)).await?;
                smtp.say("DATA\r\n").await?;
                smtp.say(&letter.data()).await?;
            }
            sent += 1;
        }
        smtp.say("QUIT\r\n").await
    }
    .await;
    (sent, result)
}

struct Smtp {
    stream: BufReader<TcpStream>,
    timeout: Duration,
}

impl Smtp {
    async fn say(&mut self, text: &str) -> io::Result<()> {
        let write = self.stream.get_mut().write_all(text.as_bytes());
        tokio::time::timeout(self.timeout, write).await??;
        self.answer().await
    }

    /// Something below 400.
    async fn answer(&mut self) -> io::Result<()> {
        loop {
            let mut line = Vec::new();
            let mut limited = tokio::io::AsyncReadExt::take(&mut self.stream, 4096);
            let read = limited.read_until(b'\n', &mut line);
            tokio::time::timeout(self.timeout, read).await??;
            match line[..] {
                [b'1'..=b'3', _, _, b'-', ..] => {}
                [b'1'..=b'3', _, _, ..] => return Ok(()),
                [] => return Err(io::ErrorKind::UnexpectedEof.into()),
                _ => {
                    let line = String::from_utf8_lossy(&line).trim().to_owned();
                    return Err(io::Error::other(format!("the server says '{line}'")));
                }
            }
        }
    }
}
