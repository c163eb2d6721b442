//! ICMP echo. A datagram socket where the kernel allows it, else a raw one, which needs root.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, connect, socket};
use tokio::net::UdpSocket;

/// The response time of the first answer out of `count` requests.
pub(super) async fn ping(host: &str, count: u32, timeout: Duration) -> Result<Duration, String> {
    let address = tokio::net::lookup_host((host, 0))
        .await
        .map_err(|error| format!("cannot resolve {host}: {error}"))?;
    let address = address
        .filter_map(|address| match address.ip() {
            IpAddr::V4(ip) => Some(ip),
            IpAddr::V6(_) => None,
        })
        .next()
        .ok_or_else(|| format!("{host} has no IPv4 address"))?;
    let (socket, raw) =
        open(address).map_err(|error| format!("cannot open an ICMP socket: {error}"))?;
    for sequence in 0..count {
        let begin = Instant::now();
        let answer = tokio::time::timeout(
            timeout,
            exchange(&socket, raw, u16::try_from(sequence).unwrap_or(0)),
        )
        .await;
        match answer {
            Ok(Ok(())) => return Ok(begin.elapsed()),
            Ok(Err(error)) => return Err(format!("cannot ping {host}: {error}")),
            Err(_) => {}
        }
    }
    Err(format!("{host} does not answer {count} pings"))
}

fn open(address: Ipv4Addr) -> io::Result<(UdpSocket, bool)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let open = |kind| socket(AddressFamily::Inet, kind, flags, SockProtocol::Icmp);
    let (fd, raw) = match open(SockType::Datagram) {
        Ok(fd) => (fd, false),
        Err(Errno::EACCES | Errno::EPERM | Errno::EPROTONOSUPPORT) => (open(SockType::Raw)?, true),
        Err(error) => return Err(error.into()),
    };
    let target = nix::sys::socket::SockaddrStorage::from(SocketAddr::new(IpAddr::V4(address), 0));
    connect(std::os::fd::AsRawFd::as_raw_fd(&fd), &target)?;
    // Only send, recv and readiness are used, which are the same for all sockets.
    Ok((UdpSocket::from_std(std::net::UdpSocket::from(fd))?, raw))
}

async fn exchange(socket: &UdpSocket, raw: bool, sequence: u16) -> io::Result<()> {
    let token = uuid::Uuid::new_v4();
    let mut packet = vec![8, 0, 0, 0, 0x6d, 0x6f];
    packet.extend(sequence.to_be_bytes());
    packet.extend(token.as_bytes());
    let sum = checksum(&packet).to_be_bytes();
    packet[2..4].copy_from_slice(&sum);
    socket.send(&packet).await?;
    let mut buffer = [0; 512];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // A raw socket hears everything, with the IP header in front.
        let skip = if raw {
            usize::from(buffer[0] & 0xf) * 4
        } else {
            0
        };
        let answer = buffer.get(skip..length).unwrap_or_default();
        if answer.first() == Some(&0) && answer.get(8..24) == Some(token.as_bytes().as_slice()) {
            return Ok(());
        }
    }
}

fn checksum(packet: &[u8]) -> u16 {
    let words = packet
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    #[tokio::test]
    async fn this_machine_answers() {
        assert!(
            super::ping("127.0.0.1", 3, Duration::from_secs(5))
                .await
                .is_ok()
        );
    }
}
