//! Connection tests: connect, then talk.

use std::io;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket, UnixDatagram, UnixStream};

use super::facts::PortFacts;
use super::{protocols, tls};
use crate::supervisor::monitrc::{Connect, Endpoint, Protocol, Transport, UrlContent};
use crate::supervisor::service::Outcome;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// The other end of a connection, whatever it goes over.
pub(super) struct Wire {
    inner: Inner,
    buffer: Vec<u8>,
}

enum Inner {
    Stream(Box<dyn Stream>),
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

/// Nobody may answer more than this.
const LONGEST_ANSWER: usize = 1 << 20;

impl Wire {
    async fn open(connect: &Connect) -> io::Result<Self> {
        let inner = match (&connect.endpoint, &connect.transport) {
            (Endpoint::Tcp(host, port), Transport::Stream) => {
                Inner::Stream(Box::new(TcpStream::connect((host.as_str(), *port)).await?))
            }
            (Endpoint::Tcp(host, port), Transport::Tls(md5)) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                Inner::Stream(Box::new(tls::connect(stream, host, md5.as_ref()).await?))
            }
            (Endpoint::Tcp(host, port), Transport::Datagram) => {
                let address = tokio::net::lookup_host((host.as_str(), *port))
                    .await?
                    .next();
                let address = address.ok_or_else(|| io::Error::other("the host has no address"))?;
                let any = if address.is_ipv4() {
                    "0.0.0.0:0"
                } else {
                    "[::]:0"
                };
                let socket = UdpSocket::bind(any).await?;
                socket.connect(address).await?;
                Inner::Udp(socket)
            }
            (Endpoint::Unix(path), Transport::Datagram) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                Inner::Unix(socket)
            }
            (Endpoint::Unix(path), _) => Inner::Stream(Box::new(UnixStream::connect(path).await?)),
        };
        Ok(Self {
            inner,
            buffer: Vec::new(),
        })
    }

    pub(super) fn is_stream(&self) -> bool {
        matches!(self.inner, Inner::Stream(_))
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.inner {
            Inner::Stream(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
            Inner::Udp(socket) => socket.send(bytes).await.map(drop),
            Inner::Unix(socket) => socket.send(bytes).await.map(drop),
        }
    }

    /// More into the buffer; false at the end.
    async fn fill(&mut self) -> io::Result<bool> {
        if self.buffer.len() > LONGEST_ANSWER {
            return Err(io::Error::other("the answer is too long"));
        }
        let mut chunk = vec![0; 16 << 10];
        let length = match &mut self.inner {
            Inner::Stream(stream) => stream.read(&mut chunk).await?,
            Inner::Udp(socket) => socket.recv(&mut chunk).await?,
            Inner::Unix(socket) => socket.recv(&mut chunk).await?,
        };
        self.buffer.extend_from_slice(&chunk[..length]);
        Ok(length > 0)
    }

    /// Exactly so many bytes.
    pub(super) async fn exact(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < length {
            if !self.fill().await? {
                return Err(io::Error::other("the answer ends too early"));
            }
        }
        Ok(self.buffer.drain(..length).collect())
    }

    /// What comes next, at least something.
    pub(super) async fn some(&mut self) -> io::Result<Vec<u8>> {
        if self.buffer.is_empty() && !self.fill().await? {
            return Err(io::Error::other(
                "the connection was closed without an answer",
            ));
        }
        Ok(std::mem::take(&mut self.buffer))
    }

    /// What has come so far, and what comes next if there is more.
    pub(super) async fn more(&mut self) -> io::Result<&[u8]> {
        if !self.fill().await? {
            return Err(io::Error::other("the connection was closed"));
        }
        Ok(&self.buffer)
    }

    pub(super) fn seen(&self) -> &[u8] {
        &self.buffer
    }

    pub(super) fn clear(&mut self) {
        self.buffer.clear();
    }

    /// A line without its end.
    pub(super) async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if !self.fill().await? {
                return Err(io::Error::other(
                    "the connection was closed in the middle of a line",
                ));
            }
        }
    }

    /// Everything until the end, at most `limit` bytes.
    pub(super) async fn rest(&mut self, limit: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < limit && self.fill().await? {}
        self.buffer.truncate(limit);
        Ok(std::mem::take(&mut self.buffer))
    }
}

/// The test of one connection.
pub(super) async fn test(connect: &Connect, content: Option<&UrlContent>) -> (Outcome, PortFacts) {
    let begin = Instant::now();
    let mut facts = facts(connect);
    let talk = async {
        let mut wire = Wire::open(connect)
            .await
            .map_err(|error| format!("cannot open a connection: {error}"))?;
        protocols::talk(&mut wire, connect, content).await
    };
    let result = match tokio::time::timeout(connect.timeout.max(Duration::from_secs(1)), talk).await
    {
        Ok(result) => result,
        Err(_) => Err(format!("no answer within {} s", connect.timeout.as_secs())),
    };
    let place = match &connect.endpoint {
        Endpoint::Tcp(..) => format!(
            "INET[{}{}] via {}",
            facts.place, facts.request, facts.transport
        ),
        Endpoint::Unix(_) => format!("UNIX[{}]", facts.place),
    };
    let outcome = match result {
        Ok(()) => {
            facts.response = Some(begin.elapsed());
            Outcome::Succeeded(format!("connection succeeded to {place}"))
        }
        Err(problem) => Outcome::Failed(format!(
            "failed protocol test [{}] at {place} -- {problem}",
            facts.protocol
        )),
    };
    (outcome, facts)
}

fn facts(connect: &Connect) -> PortFacts {
    let (place, host, port) = match &connect.endpoint {
        Endpoint::Tcp(host, port) => (format!("{host}:{port}"), host.clone(), *port),
        Endpoint::Unix(path) => (path.display().to_string(), String::new(), 0),
    };
    let (protocol, request) = match &connect.protocol {
        Protocol::Default => ("DEFAULT".to_owned(), String::new()),
        Protocol::Http { request, .. } => ("HTTP".to_owned(), request.clone()),
        Protocol::Generic(_) => ("GENERIC".to_owned(), String::new()),
        Protocol::Named(name) => (name.to_ascii_uppercase(), String::new()),
        Protocol::ApacheStatus(_) => ("APACHESTATUS".to_owned(), String::new()),
        Protocol::Sip { .. } => ("SIP".to_owned(), String::new()),
        Protocol::Radius(_) => ("RADIUS".to_owned(), String::new()),
    };
    let transport = match connect.transport {
        Transport::Stream => "TCP",
        Transport::Datagram => "UDP",
        Transport::Tls(_) => "TCPSSL",
    };
    PortFacts {
        place,
        host,
        port,
        request,
        protocol,
        transport,
        response: None,
    }
}
