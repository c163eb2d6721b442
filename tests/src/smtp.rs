//! A mail server that keeps what it is given: enough of RFC 5321 for any client to deliver to it, with STARTTLS (RFC 3207)
//! and AUTH PLAIN and LOGIN (RFC 4954) where it is asked to have them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

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
    /// Whether it came over TLS.
    pub tls: bool,
    /// By what mechanism its sender has shown who it is.
    pub auth: Option<String>,
    /// What the sender calls itself.
    pub hello: String,
}

/// What the server asks of its clients.
#[derive(Clone, Default)]
pub struct Rules {
    /// Offers STARTTLS, and takes no mail without.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// TLS from the first byte on.
    pub implicit_tls: bool,
    /// Takes mail from this user with this password alone.
    pub login: Option<(String, String)>,
}

/// The running server; it stops with the runtime it was started on.
#[derive(Clone, Debug)]
pub struct Sink {
    /// Where it listens.
    pub addr: SocketAddr,
    mails: Arc<Mutex<Vec<Mail>>>,
}

impl Sink {
    /// Listens on a free port of 127.0.0.1 and takes anything.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(Rules::default()).await
    }

    /// Listens on a free port of 127.0.0.1.
    pub async fn start_with(rules: Rules) -> anyhow::Result<Self> {
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
                let (mails, rules) = (mails.clone(), rules.clone());
                tokio::spawn(async move {
                    if let Err(error) = serve(stream, &rules, &mails).await {
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

async fn serve(stream: TcpStream, rules: &Rules, mails: &Mutex<Vec<Mail>>) -> anyhow::Result<()> {
    let acceptor = rules.tls.clone().map(TlsAcceptor::from);
    if let (true, Some(acceptor)) = (rules.implicit_tls, &acceptor) {
        let stream = acceptor.accept(stream).await?;
        converse(stream, rules, mails, true, true).await?;
        return Ok(());
    }
    let upgrade = converse(stream, rules, mails, false, true).await?;
    if let (Some(stream), Some(acceptor)) = (upgrade, acceptor) {
        let stream = acceptor.accept(stream).await?;
        converse(stream, rules, mails, true, false).await?;
    }
    Ok(())
}

/// Returns the stream where the client wants to go on over TLS.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    rules: &Rules,
    mails: &Mutex<Vec<Mail>>,
    tls: bool,
    greet: bool,
) -> anyhow::Result<Option<S>> {
    let mut stream = BufReader::new(stream);
    let (mut from, mut to) = (String::new(), Vec::new());
    let (mut hello, mut auth) = (String::new(), None);
    if greet {
        stream.write_all(b"220 sink.test ESMTP\r\n").await?;
    }
    while let Some(line) = line(&mut stream).await? {
        let mut words = line.split_whitespace();
        let verb = words.next().unwrap_or_default().to_ascii_uppercase();
        let barred = (rules.tls.is_some() && !tls) || (rules.login.is_some() && auth.is_none());
        let reply = match verb.as_str() {
            "EHLO" => {
                hello = words.next().unwrap_or_default().to_owned();
                let mut reply = "250-sink.test\r\n".to_owned();
                if rules.tls.is_some() && !tls {
                    reply.push_str("250-STARTTLS\r\n");
                } else if rules.login.is_some() {
                    reply.push_str("250-AUTH PLAIN LOGIN\r\n");
                }
                reply + "250 8BITMIME"
            }
            "STARTTLS" if rules.tls.is_some() && !tls => {
                stream.write_all(b"220 go on\r\n").await?;
                return Ok(Some(stream.into_inner()));
            }
            "AUTH" => {
                let (mechanism, first) = (words.next().unwrap_or_default(), words.next());
                let given = credentials(&mut stream, mechanism, first).await?;
                if given.is_some() && given == rules.login {
                    auth = Some(mechanism.to_ascii_uppercase());
                    "235 welcome".to_owned()
                } else {
                    "535 no".to_owned()
                }
            }
            "MAIL" if barred => "530 not like this".to_owned(),
            "MAIL" => {
                from = address(&line);
                to.clear();
                "250 ok".to_owned()
            }
            "RCPT" => {
                to.push(address(&line));
                "250 ok".to_owned()
            }
            "DATA" if to.is_empty() => "503 no recipients".to_owned(),
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await?;
                let mail = Mail {
                    at: Instant::now(),
                    from: from.clone(),
                    to: std::mem::take(&mut to),
                    text: text(&mut stream).await?,
                    tls,
                    auth: auth.clone(),
                    hello: hello.clone(),
                };
                mails
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(mail);
                "250 kept".to_owned()
            }
            "HELO" | "RSET" | "NOOP" => "250 ok".to_owned(),
            "QUIT" => {
                stream.write_all(b"221 bye\r\n").await?;
                return Ok(None);
            }
            _ => "502 not here".to_owned(),
        };
        stream.write_all(format!("{reply}\r\n").as_bytes()).await?;
    }
    Ok(None)
}

async fn line(stream: &mut (impl AsyncBufReadExt + Unpin)) -> anyhow::Result<Option<String>> {
    let mut line = String::new();
    let read = stream.read_line(&mut line).await?;
    Ok((read > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned()))
}

async fn text(stream: &mut (impl AsyncBufReadExt + Unpin)) -> anyhow::Result<String> {
    let mut text = String::new();
    loop {
        let line = line(stream)
            .await?
            .context("the connection ended inside DATA")?;
        if line == "." {
            return Ok(text);
        }
        text.push_str(line.strip_prefix('.').unwrap_or(&line));
        text.push('\n');
    }
}

/// User and password as PLAIN and LOGIN give them.
async fn credentials(
    stream: &mut (impl AsyncBufReadExt + AsyncWrite + Unpin),
    mechanism: &str,
    first: Option<&str>,
) -> anyhow::Result<Option<(String, String)>> {
    async fn ask(
        stream: &mut (impl AsyncBufReadExt + AsyncWrite + Unpin),
        prompt: &str,
    ) -> anyhow::Result<String> {
        stream
            .write_all(format!("334 {prompt}\r\n").as_bytes())
            .await?;
        let answer = line(stream)
            .await?
            .context("the connection ended in AUTH")?;
        decoded(&answer)
    }
    Ok(match mechanism.to_ascii_uppercase().as_str() {
        "PLAIN" => {
            let given = match first {
                Some(first) => decoded(first)?,
                None => ask(stream, "").await?,
            };
            let mut parts = given.split('\0').skip(1).map(str::to_owned);
            parts.next().zip(parts.next())
        }
        "LOGIN" => {
            let user = match first {
                Some(first) => decoded(first)?,
                None => ask(stream, "VXNlcm5hbWU6").await?,
            };
            Some((user, ask(stream, "UGFzc3dvcmQ6").await?))
        }
        _ => None,
    })
}

/// Base64, as RFC 4648 has it.
fn decoded(text: &str) -> anyhow::Result<String> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut held, mut bits) = (Vec::new(), 0u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let value = ALPHABET.iter().position(|known| *known == byte);
        held = held << 6 | value.context("this is not base64")? as u32;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
        }
    }
    Ok(String::from_utf8(bytes)?)
}

/// What stands between the angle brackets of `MAIL FROM:<a@b> SIZE=1`.
fn address(line: &str) -> String {
    let inner = line
        .split_once('<')
        .and_then(|(_, rest)| rest.split_once('>'));
    inner.map_or_else(String::new, |(address, _)| address.to_owned())
}
