//! nf_tables over netlink: messages, batches, dumps. By hand, for stemcells have no `nft`, and a crate for this is larger
//! than what it is needed for. Source: linux/netfilter/nf_tables.h, linux/netlink.h; upstream uses google/nftables.

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto,
    setsockopt, socket, sockopt::ReceiveTimeout,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

/// How long the kernel may take to answer. Seconds.
const TIMEOUT: i64 = 10;
const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;
/// NLM_F_CREATE
const CREATE: u16 = 0x400;
/// NLM_F_APPEND
const APPEND: u16 = 0x800;
const HEADER: usize = 16;
/// `inet`: IPv4 and IPv6.
const FAMILY: u8 = 1;

/// Attributes of one message, or of one attribute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes(Vec<u8>);

impl Attributes {
    pub(super) fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        let length = 4 + value.len();
        self.0.extend((length as u16).to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub(super) fn text(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes)
    }

    pub(super) fn number(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub(super) fn nested(self, kind: u16, inner: Attributes) -> Self {
        self.bytes(kind | 0x8000, &inner.0)
    }
}

/// Finds an attribute.
fn find(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    while bytes.len() >= 4 {
        let length = usize::from(u16::from_ne_bytes([bytes[0], bytes[1]]));
        let kind = u16::from_ne_bytes([bytes[2], bytes[3]]) & 0x3fff;
        let value = bytes.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
    None
}

/// What is to be done, all or nothing.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    messages: u32,
}

impl Batch {
    fn push(&mut self, kind: u16, flags: u16, attributes: &Attributes) {
        self.messages += 1;
        let kind = SUBSYSTEM << 8 | kind;
        message(
            &mut self.bytes,
            kind,
            flags | REQUEST | ACK,
            self.messages,
            FAMILY,
            &attributes.0,
        );
    }

    pub(super) fn add_table(&mut self, name: &str) {
        self.push(0, CREATE, &Attributes::default().text(1, name));
    }

    /// A chain that rules jump to, or one at the place where packets leave the machine, at this priority.
    pub(super) fn add_chain(&mut self, table: &str, name: &str, output: Option<i32>) {
        let mut chain = Attributes::default().text(1, table).text(3, name);
        if let Some(priority) = output {
            // NF_INET_LOCAL_OUT, NF_ACCEPT
            let hook = Attributes::default()
                .number(1, 3)
                .number(2, priority as u32);
            chain = chain.nested(4, hook).number(5, 1).text(7, "filter");
        }
        self.push(3, CREATE, &chain);
    }

    /// Removes all rules of a chain.
    pub(super) fn flush_chain(&mut self, table: &str, chain: &str) {
        self.push(8, 0, &Attributes::default().text(1, table).text(2, chain));
    }

    pub(super) fn add_rule(&mut self, table: &str, chain: &str, rule: &Attributes, comment: &str) {
        let mut message = Attributes::default()
            .text(1, table)
            .text(2, chain)
            .nested(4, rule.clone());
        if !comment.is_empty() {
            // Type 0 of libnftnl's user data: a comment, its length and its end.
            let mut data = vec![0, comment.len() as u8 + 1];
            data.extend(comment.as_bytes());
            data.push(0);
            message = message.bytes(7, &data);
        }
        self.push(6, CREATE | APPEND, &message);
    }

    pub(super) fn delete_rule(&mut self, table: &str, chain: &str, handle: u64) {
        let rule = Attributes::default()
            .text(1, table)
            .text(2, chain)
            .bytes(3, &handle.to_be_bytes());
        self.push(8, 0, &rule);
    }

    /// Does it. The first refusal is the error, and then nothing has changed.
    pub(super) fn commit(self) -> io::Result<()> {
        let mut bytes = Vec::new();
        // The subsystem takes the place of a resource's number, in network order.
        let resource = |bytes: &mut Vec<u8>, kind| {
            let at = bytes.len();
            message(bytes, kind, REQUEST, 0, 0, &[]);
            bytes[at + HEADER + 2..at + HEADER + 4].copy_from_slice(&SUBSYSTEM.to_be_bytes());
        };
        resource(&mut bytes, BATCH_BEGIN);
        bytes.extend(&self.bytes);
        resource(&mut bytes, BATCH_END);
        let socket = open()?;
        send(&socket, &bytes)?;
        let mut answered = 0;
        while answered < self.messages {
            for (kind, body) in split(&receive(&socket)?) {
                if kind == ERROR {
                    check(&body)?;
                    answered += 1;
                }
            }
        }
        Ok(())
    }
}

/// A rule that is there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) handle: u64,
    /// Empty if it has none.
    pub(super) comment: String,
}

/// The rules of a chain.
pub(super) fn rules(table: &str, chain: &str) -> io::Result<Vec<Rule>> {
    let socket = open()?;
    let mut bytes = Vec::new();
    let attributes = Attributes::default().text(1, table).text(2, chain);
    let kind = SUBSYSTEM << 8 | 7;
    message(&mut bytes, kind, REQUEST | DUMP, 1, FAMILY, &attributes.0);
    send(&socket, &bytes)?;
    let mut rules = Vec::new();
    loop {
        for (kind, body) in split(&receive(&socket)?) {
            match kind {
                DONE => return Ok(rules),
                ERROR => check(&body)?,
                _ => rules.extend(parse_rule(body.get(4..).unwrap_or_default())),
            }
        }
    }
}

fn parse_rule(attributes: &[u8]) -> Option<Rule> {
    let handle = find(attributes, 3)?.try_into().ok()?;
    let comment = find(attributes, 7).and_then(|data| {
        let text = data.get(2..2 + usize::from(*data.get(1)?))?;
        (data[0] == 0).then(|| {
            String::from_utf8_lossy(text)
                .trim_end_matches('\0')
                .to_owned()
        })
    });
    Some(Rule {
        handle: u64::from_be_bytes(handle),
        comment: comment.unwrap_or_default(),
    })
}

fn message(out: &mut Vec<u8>, kind: u16, flags: u16, number: u32, family: u8, attributes: &[u8]) {
    let length = (HEADER + 4 + attributes.len()) as u32;
    out.extend(length.to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(flags.to_ne_bytes());
    out.extend(number.to_ne_bytes());
    out.extend([0; 4]);
    out.extend([family, 0, 0, 0]);
    out.extend(attributes);
}

fn open() -> io::Result<OwnedFd> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkNetFilter,
    )?;
    setsockopt(&socket, ReceiveTimeout, &TimeVal::seconds(TIMEOUT))?;
    Ok(socket)
}

fn send(socket: &OwnedFd, bytes: &[u8]) -> io::Result<()> {
    let kernel = NetlinkAddr::new(0, 0);
    sendto(socket.as_raw_fd(), bytes, &kernel, MsgFlags::empty())?;
    Ok(())
}

fn receive(socket: &OwnedFd) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; 1 << 16];
    let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
    buffer.truncate(length);
    Ok(buffer)
}

/// Messages by kind, without their headers.
fn split(mut bytes: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut messages = Vec::new();
    while let Some(length) = bytes
        .first_chunk()
        .map(|length| u32::from_ne_bytes(*length))
    {
        let length = length as usize;
        let (Some(kind), Some(body)) = (bytes.get(4..6), bytes.get(HEADER..length)) else {
            break;
        };
        messages.push((u16::from_ne_bytes([kind[0], kind[1]]), body.to_vec()));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    messages
}

/// An acknowledgement, or what was wrong.
fn check(body: &[u8]) -> io::Result<()> {
    match body.first_chunk().map(|code| i32::from_ne_bytes(*code)) {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(-code)),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_found_again() {
        let all = Attributes::default()
            .text(1, "ab")
            .number(2, 7)
            .nested(4, Attributes::default().bytes(3, &[9]));
        assert_eq!(all.0.len() % 4, 0);
        assert_eq!(find(&all.0, 1), Some(&b"ab\0"[..]));
        assert_eq!(find(&all.0, 2), Some(&[0, 0, 0, 7][..]));
        assert_eq!(find(find(&all.0, 4).unwrap(), 3), Some(&[9][..]));
        assert_eq!(find(&all.0, 5), None);
        assert_eq!(find(&[200, 0, 1, 0, 1], 1), None, "longer than there is");
        assert_eq!(find(&[0, 0, 0, 0, 0], 1), None, "no length at all");
    }

    #[test]
    fn broken_messages_end_what_is_read() {
        assert!(split(&[1, 2, 3]).is_empty());
        assert!(split(&[255; 32]).is_empty());
        assert!(split(&[0; 32]).is_empty());
        assert!(check(&[]).is_err());
        let refused = check(&(-nix::libc::ENOENT).to_ne_bytes()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::NotFound);
    }
}
