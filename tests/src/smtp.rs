//! A mail server that keeps what it is given: enough of RFC 5321 for any client to deliver to it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// One delivered message.
#[derive(Clone, Debug)]
pub struct Mail {
    /// When its last line arrived.
    pub at: Instant,
    /// The envelope's sender.
    pub from: String,
    /// The envelope's recipients.
    pub to: Vec<String>,
    /// Headers and body, dot-unstuffed.
    pub text: String,
}

/// The running server; it stops with the runtime it was started on.
#[derive(Clone, Debug)]
pub struct Sink {
    /// Where it listens.
    pub addr: SocketAddr,
    mails: Arc<Mutex<Vec<Mail>>>,
}

impl Sink {
    /// Listens on a free port of 127.0.0.1.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("binding the mail server")?;
        let sink = Self {
            addr: listener.local_addr()?,
            mails: Arc::default(),
        };
        let mails = sink.mails.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mails = mails.clone();
                tokio::spawn(async move {
                    if let Err(error) = converse(stream, &mails).await {
                        eprintln!("mail server: a client left in mid-conversation: {error:#}");
                    }
                });
            }
        });
        Ok(sink)
    }

    /// All that has arrived so far, oldest first.
    pub fn mails(&self) -> Vec<Mail> {
        self.mails
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

async fn converse(stream: TcpStream, mails: &Mutex<Vec<Mail>>) -> anyhow::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let (mut from, mut to) = (String::new(), Vec::new());
    write.write_all(b"220 sink.test ESMTP\r\n").await?;
    while let Some(line) = lines.next_line().await? {
        let verb = line
            .split_whitespace()
            .next()
            .unwrap_or_default()
            .to_ascii_uppercase();
        let reply = match verb.as_str() {
            "EHLO" => "250-sink.test\r\n250 8BITMIME",
            "MAIL" => {
                from = address(&line);
                to.clear();
                "250 ok"
            }
            "RCPT" => {
                to.push(address(&line));
                "250 ok"
            }
            "DATA" if to.is_empty() => "503 no recipients",
            "DATA" => {
                write.write_all(b"354 go on\r\n").await?;
                let mut text = String::new();
                loop {
                    let line = lines
                        .next_line()
                        .await?
                        .context("the connection ended inside DATA")?;
                    if line == "." {
                        break;
                    }
                    text.push_str(line.strip_prefix('.').unwrap_or(&line));
                    text.push('\n');
                }
                let mail = Mail {
                    at: Instant::now(),
                    from: from.clone(),
                    to: std::mem::take(&mut to),
                    text,
                };
                mails
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(mail);
                "250 kept"
            }
            "HELO" | "RSET" | "NOOP" => "250 ok",
            "QUIT" => {
                write.write_all(b"221 bye\r\n").await?;
                return Ok(());
            }
            _ => "502 not here",
        };
        write.write_all(format!("{reply}\r\n").as_bytes()).await?;
    }
    Ok(())
}

/// What stands between the angle brackets of `MAIL FROM:<a@b> SIZE=1`.
fn address(line: &str) -> String {
    let inner = line
        .split_once('<')
        .and_then(|(_, rest)| rest.split_once('>'));
    inner.map_or_else(String::new, |(address, _)| address.to_owned())
}
