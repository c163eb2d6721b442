//! `email`: digests by SMTP, one per kind of event and interval. Source: upstream's plugins/email.rb.
//!
//! Options: `recipients`, `interval` (seconds, 10), `smtp`: `from host port domain tls auth user password`. A digest that
//! cannot be sent is kept and tried again with the next one; beyond [`KEPT`] events the oldest are given up.

use std::time::Duration;

use async_trait::async_trait;
use lettre::message::{Mailbox, header::ContentType};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::Plugin;
use crate::event::{Event, Kind};
use crate::sync::chain;

const KEPT: usize = 1_000;

#[derive(Deserialize)]
pub(super) struct Options {
    recipients: Vec<String>,
    interval: Option<f64>,
    smtp: Smtp,
}

#[derive(Deserialize)]
struct Smtp {
    from: String,
    host: String,
    port: u16,
    domain: Option<String>,
    #[serde(default)]
    tls: bool,
    auth: Option<String>,
    user: Option<String>,
    password: Option<String>,
}

pub(super) struct Email {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
    interval: Duration,
    waiting: [(Kind, Vec<String>); 2],
}

impl Email {
    pub(super) fn new(options: Options) -> Result<Self, String> {
        let Options {
            recipients,
            interval,
            smtp,
        } = options;
        let mailbox = |key: &str, text: &str| {
            text.parse::<Mailbox>()
                .map_err(|error| format!("{key}: {text:?}: {error}"))
        };
        let interval = interval.unwrap_or(10.);
        let interval = Duration::try_from_secs_f64(interval)
            .ok()
            .filter(|interval| !interval.is_zero());
        let mut builder =
            AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&smtp.host).port(smtp.port);
        if let Some(domain) = smtp.domain {
            builder = builder.hello_name(ClientId::Domain(domain));
        }
        if smtp.tls {
            let parameters = TlsParameters::new(smtp.host.clone())
                .map_err(|error| format!("smtp.tls: {error}"))?;
            builder = builder.tls(Tls::Required(parameters));
        }
        if let Some(auth) = smtp.auth {
            let mechanism = match auth.as_str() {
                "plain" => Mechanism::Plain,
                "login" => Mechanism::Login,
                other => return Err(format!("smtp.auth: expected plain or login, found {other}")),
            };
            let credentials = Credentials::new(
                smtp.user.unwrap_or_default(),
                smtp.password.unwrap_or_default(),
            );
            builder = builder
                .credentials(credentials)
                .authentication(vec![mechanism]);
        }
        Ok(Self {
            transport: builder.timeout(Some(Duration::from_secs(30))).build(),
            from: mailbox("smtp.from", &smtp.from)?,
            to: recipients
                .iter()
                .map(|recipient| mailbox("recipients", recipient))
                .collect::<Result<_, _>>()?,
            interval: interval.ok_or("interval: expected a positive number of seconds")?,
            waiting: [(Kind::Alert, Vec::new()), (Kind::Heartbeat, Vec::new())],
        })
    }

    fn take(&mut self, event: &Event) {
        let text = match event {
            Event::Alert(alert) => alert.to_plain_text(),
            Event::Heartbeat(heartbeat) => heartbeat.to_string(),
        };
        for (_, texts) in self
            .waiting
            .iter_mut()
            .filter(|(kind, _)| *kind == event.kind())
        {
            if texts.len() == KEPT {
                tracing::error!("email: {KEPT} events wait to be sent; giving the oldest up");
                texts.remove(0);
            }
            texts.push(text.clone());
        }
    }

    async fn flush(&mut self) {
        for index in 0..self.waiting.len() {
            let (kind, texts) = &self.waiting[index];
            if texts.is_empty() {
                continue;
            }
            match self.send(*kind, texts).await {
                Ok(()) => self.waiting[index].1.clear(),
                Err(error) => tracing::error!("email: failed to send, trying again: {error}"),
            }
        }
    }

    async fn send(&self, kind: Kind, texts: &[String]) -> Result<(), String> {
        let noun = match kind {
            Kind::Alert => "alert",
            Kind::Heartbeat => "heartbeat",
        };
        let plural = if texts.len() == 1 { "" } else { "s" };
        let mut message = Message::builder()
            .from(self.from.clone())
            .subject(format!(
                "{} {noun}{plural} from BOSH Health Monitor",
                texts.len()
            ))
            .header(ContentType::TEXT_PLAIN);
        for to in &self.to {
            message = message.to(to.clone());
        }
        let body = texts
            .iter()
            .fold(String::new(), |body, text| body + text + "\n");
        let message = message.body(body).map_err(|error| error.to_string())?;
        self.transport
            .send(message)
            .await
            .map_err(|error| chain(&error))?;
        Ok(())
    }
}

#[async_trait]
impl Plugin for Email {
    async fn run(mut self: Box<Self>, mut events: mpsc::Receiver<Event>) {
        let mut due = interval(self.interval);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let empty = self.waiting.iter().all(|(_, texts)| texts.is_empty());
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.take(&event),
                    None => return self.flush().await,
                },
                _ = due.tick(), if !empty => self.flush().await,
            }
        }
    }
}
