//! A connection that is written to: graphite, tsdb, riemann and syslog, in the clear or over TLS.
//!
//! These protocols, but for Riemann's, acknowledge nothing. So what was written counts as delivered when the kernel of the
//! other side has acknowledged every byte; a peer that hangs, resets or has gone is noticed then, and the message is sent
//! again over a new connection.

use std::io;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);

/// How long a message may take until it is acknowledged.
const SEND: Duration = Duration::from_secs(15);

trait Duplex: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Duplex for T {}

/// Where to, and the connection, if there is one.
pub(super) struct Stream {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    open: Option<Open>,
}

struct Open {
    io: Box<dyn Duplex>,
    /// The socket below, to ask what it has yet to send.
    socket: std::os::fd::OwnedFd,
}

impl Stream {
    pub(super) fn new(
        host: String,
        port: u16,
        tls: Option<(TlsConnector, ServerName<'static>)>,
    ) -> Self {
        Self {
            host,
            port,
            tls,
            open: None,
        }
    }

    /// Sends a message whole.
    pub(super) async fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.with(SEND, async |open| {
            open.io.write_all(message).await?;
            open.io.flush().await?;
            open.acknowledged().await
        })
        .await
    }

    /// Sends a message, and reads an answer that begins with its length in four bytes, at most `most`.
    pub(super) async fn ask(&mut self, message: &[u8], most: usize) -> io::Result<Vec<u8>> {
        self.with(SEND, async |open| {
            open.io.write_all(message).await?;
            open.io.flush().await?;
            let length = open.io.read_u32().await? as usize;
            if length > most {
                return Err(io::Error::other(format!("an answer of {length} bytes")));
            }
            let mut answer = vec![0; length];
            open.io.read_exact(&mut answer).await?;
            Ok(answer)
        })
        .await
    }

    /// Does something with the connection, which is closed unless it goes well.
    async fn with<T>(
        &mut self,
        limit: Duration,
        work: impl AsyncFnOnce(&mut Open) -> io::Result<T>,
    ) -> io::Result<T> {
        let (host, port) = (&self.host, self.port);
        let place =
            |error: io::Error| io::Error::new(error.kind(), format!("{host}:{port}: {error}"));
        // Taken, not borrowed: whoever is cancelled in here leaves no connection in the middle of a message.
        let kept = self
            .open
            .take()
            .and_then(|mut open| matches!(open.peer(), Peer::There).then_some(open));
        let mut open = match kept {
            Some(open) => open,
            None => match timeout(CONNECT, self.connect()).await {
                Ok(open) => open.map_err(place)?,
                Err(_) => return Err(place(io::ErrorKind::TimedOut.into())),
            },
        };
        match timeout(limit, work(&mut open)).await {
            Ok(Ok(value)) => {
                self.open = Some(open);
                Ok(value)
            }
            Ok(Err(error)) => Err(place(error)),
            Err(_) => Err(place(io::Error::new(
                io::ErrorKind::TimedOut,
                "nothing is taken",
            ))),
        }
    }

    async fn connect(&self) -> io::Result<Open> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await?;
        tcp.set_nodelay(true)?;
        let socket = std::os::fd::AsFd::as_fd(&tcp).try_clone_to_owned()?;
        let io: Box<dyn Duplex> = match &self.tls {
            Some((connector, name)) => Box::new(connector.connect(name.clone(), tcp).await?),
            None => Box::new(tcp),
        };
        Ok(Open { io, socket })
    }

    /// Says goodbye.
    pub(super) async fn close(&mut self) {
        if let Some(mut open) = self.open.take() {
            // The messages are acknowledged; nothing depends on the goodbye.
            _ = timeout(Duration::from_secs(1), open.io.shutdown()).await;
        }
    }
}

impl Open {
    /// What has become of the other side. What it may say is not listened to.
    fn peer(&mut self) -> Peer {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let mut said = [0; 512];
        loop {
            let mut buffer = tokio::io::ReadBuf::new(&mut said);
            match std::pin::Pin::new(&mut self.io).poll_read(&mut context, &mut buffer) {
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => return Peer::Ended,
                Poll::Ready(Ok(())) => {}
                // Over TLS: gone without a goodbye.
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Peer::Ended;
                }
                Poll::Ready(Err(error)) => return Peer::Failed(error),
                Poll::Pending => return Peer::There,
            }
        }
    }

    /// Waits until the other side's kernel has everything.
    async fn acknowledged(&mut self) -> io::Result<()> {
        let begun = Instant::now();
        loop {
            let mut waiting = 0;
            // SAFETY: the descriptor is open for as long as `self.socket`, and the request writes one int to the pointer.
            unsafe { unsent(self.socket.as_raw_fd(), &raw mut waiting) }?;
            // A reset empties the queue as well. One that has ended its own side may still have read ours.
            if let Peer::Failed(error) = self.peer() {
                return Err(error);
            }
            if waiting == 0 {
                return Ok(());
            }
            // A round trip at home is far below a millisecond, and elsewhere some dozens.
            let pause = begun.elapsed() / 4;
            sleep(pause.clamp(Duration::from_micros(200), Duration::from_millis(50))).await;
        }
    }
}

/// The other side of a connection.
enum Peer {
    There,
    /// It will say no more.
    Ended,
    Failed(io::Error),
}

nix::ioctl_read_bad!(
    /// SIOCOUTQ: how many bytes the other side has not acknowledged.
    unsent,
    nix::libc::TIOCOUTQ,
    nix::libc::c_int
);

/// A TLS client that trusts these CAs (a PEM file), or the machine's own, and that may show a certificate.
pub(super) fn connector(
    ca: Option<&str>,
    identity: Option<(&str, &str)>,
) -> Result<TlsConnector, String> {
    let mut roots = rustls::RootCertStore::empty();
    match ca.filter(|path| !path.is_empty()) {
        Some(path) => {
            for certificate in certificates("ca_cert", path)? {
                roots
                    .add(certificate)
                    .map_err(|error| format!("ca_cert: {path}: {error}"))?;
            }
        }
        None => {
            // One that cannot be read is one that is not trusted.
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let config = match identity {
        Some((certificate, key)) => {
            let pair = PrivateKeyDer::from_pem_file(key).map_err(|error| {
                format!("client_key: {key}: expected a private key in PEM: {error}")
            })?;
            config
                .with_client_auth_cert(certificates("client_cert", certificate)?, pair)
                .map_err(|error| format!("client_cert: {certificate}: {error}"))?
        }
        None => config.with_no_client_auth(),
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

fn certificates(key: &str, path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(format!("{key}: {path}: expected certificates in PEM")),
        Err(error) => Err(format!(
            "{key}: {path}: expected certificates in PEM: {error}"
        )),
    }
}
