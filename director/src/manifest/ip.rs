//! Arithmetic on IP addresses and blocks of them.
//!
//! Upstream: bosh/director/ip_addr_or_cidr.rb and ip_util.rb.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// A block of addresses: a base and a prefix length. A single address is a block of one.
///
/// Written `10.0.0.4/32`, as in upstream's `ip_addresses.address_str`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block {
    v6: bool,
    base: u128,
    prefix: u8,
}

impl Block {
    /// The block of `prefix` bits that holds `address`; host bits are cleared.
    pub fn containing(address: IpAddr, prefix: u8) -> Self {
        let (v6, base) = match address {
            IpAddr::V4(v4) => (false, u128::from(u32::from(v4))),
            IpAddr::V6(v6) => (true, u128::from(v6)),
        };
        Self::at(v6, base, prefix)
    }

    /// The block of one address.
    pub fn single(address: IpAddr) -> Self {
        Self::containing(address, if address.is_ipv6() { 128 } else { 32 })
    }

    /// The block of `prefix` bits that holds the address numbered `number`.
    pub fn at(v6: bool, number: u128, prefix: u8) -> Self {
        let bits = if v6 { 128 } else { 32 };
        let prefix = prefix.min(bits);
        Self {
            v6,
            base: number & !Self::host_mask(bits, prefix),
            prefix,
        }
    }

    fn host_mask(bits: u8, prefix: u8) -> u128 {
        match u32::from(bits - prefix) {
            128 => u128::MAX,
            host => (1u128 << host) - 1,
        }
    }

    /// Reads `10.0.0.1` or `10.0.0.0/24`, or the same of IPv6. The error is upstream's text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let invalid = || format!("Invalid IP or CIDR format: {text}");
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.trim().parse().map_err(|_| invalid())?;
        let bits = if address.is_ipv6() { 128 } else { 32 };
        let prefix = match prefix {
            None => bits,
            // A dotted mask is allowed where a length is.
            Some(prefix) => match prefix.parse::<u8>() {
                Ok(prefix) if prefix <= bits => prefix,
                _ => match prefix.parse::<Ipv4Addr>() {
                    Ok(mask)
                        if u32::from(mask).leading_ones() + u32::from(mask).trailing_zeros()
                            >= 32 =>
                    {
                        u8::try_from(u32::from(mask).leading_ones()).map_err(|_| invalid())?
                    }
                    _ => return Err(invalid()),
                },
            },
        };
        Ok(Self::containing(address, prefix))
    }

    /// Whether this is a block of IPv6 addresses.
    pub fn is_v6(&self) -> bool {
        self.v6
    }

    /// The length of its prefix in bits.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    fn bits(&self) -> u8 {
        if self.v6 { 128 } else { 32 }
    }

    /// The number of its first address.
    pub fn first(&self) -> u128 {
        self.base
    }

    /// The number of its last address.
    pub fn last(&self) -> u128 {
        self.base | Self::host_mask(self.bits(), self.prefix)
    }

    /// The first address alone.
    pub fn first_single(&self) -> Self {
        Self::at(self.v6, self.first(), self.bits())
    }

    /// The last address (an IPv4 network's broadcast) alone.
    pub fn last_single(&self) -> Self {
        Self::at(self.v6, self.last(), self.bits())
    }

    /// Whether it is a single address.
    pub fn is_single(&self) -> bool {
        self.prefix == self.bits()
    }

    /// How many addresses it holds; saturates for all of IPv6.
    pub fn count(&self) -> u128 {
        (self.last() - self.first()).saturating_add(1)
    }

    /// Its first address.
    pub fn address(&self) -> IpAddr {
        address(self.v6, self.base)
    }

    /// The mask that goes with its prefix, as `255.255.255.0`.
    pub fn netmask(&self) -> IpAddr {
        let all = Self::host_mask(self.bits(), 0);
        address(self.v6, all & !Self::host_mask(self.bits(), self.prefix))
    }

    /// Whether all of `other` lies in it.
    pub fn includes(&self, other: &Self) -> bool {
        self.v6 == other.v6 && self.first() <= other.first() && other.last() <= self.last()
    }

    /// Whether they share an address.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.v6 == other.v6 && self.first() <= other.last() && other.first() <= self.last()
    }

    /// Every block of `prefix` bits that begins in this one, lowest first.
    pub fn blocks(self, prefix: u8) -> impl Iterator<Item = Block> {
        let step = Self::host_mask(self.bits(), prefix.min(self.bits())).checked_add(1);
        let aligned = Self::at(self.v6, self.base, prefix).base;
        let start = if aligned == self.base {
            Some(self.base)
        } else {
            step.and_then(|step| aligned.checked_add(step))
        };
        let last = self.last();
        std::iter::successors(start, move |base| base.checked_add(step?))
            .take_while(move |base| *base <= last)
            .map(move |base| Self::at(self.v6, base, prefix))
    }
}

fn address(v6: bool, number: u128) -> IpAddr {
    if v6 {
        IpAddr::V6(Ipv6Addr::from(number))
    } else {
        IpAddr::V4(Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)))
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address(), self.prefix)
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Block {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

impl Serialize for Block {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Block {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// The addresses from `first` to `last` as the fewest blocks.
pub fn span(first: Block, last: Block) -> Vec<Block> {
    let mut blocks = Vec::new();
    if first.v6 != last.v6 {
        return blocks;
    }
    let bits = first.bits();
    let (mut from, to) = (first.first(), last.last());
    while from <= to {
        let mut prefix = bits;
        while prefix > 0 {
            let wider = Block::at(first.v6, from, prefix - 1);
            if wider.first() != from || wider.last() > to {
                break;
            }
            prefix -= 1;
        }
        let block = Block::at(first.v6, from, prefix);
        blocks.push(block);
        match block.last().checked_add(1) {
            Some(next) => from = next,
            None => break,
        }
    }
    blocks
}

/// Reads an address, a block or `first - last` as the blocks it covers. The error is upstream's text.
pub fn parse_range(text: &str) -> Result<Vec<Block>, String> {
    let parts: Vec<&str> = text.split('-').map(str::trim).collect();
    match parts.as_slice() {
        [one] => Ok(vec![Block::parse(one)?]),
        [first, last] => {
            let (first, last) = (Block::parse(first)?, Block::parse(last)?);
            if !first.is_single() || !last.is_single() {
                return Err(format!("Invalid IP range format: {text}"));
            }
            Ok(span(first, last))
        }
        _ => Err(format!("Invalid IP range format: {text}")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn block(text: &str) -> Block {
        Block::parse(text).unwrap()
    }

    #[test]
    fn blocks_are_read_and_written() {
        for (text, shown, mask) in [
            ("10.0.0.7", "10.0.0.7/32", "255.255.255.255"),
            ("10.0.0.7/24", "10.0.0.0/24", "255.255.255.0"),
            ("10.0.0.7/255.255.0.0", "10.0.0.0/16", "255.255.0.0"),
            (
                "fd00::1",
                "fd00::1/128",
                "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            ),
            ("FD00::1/64", "fd00::/64", "ffff:ffff:ffff:ffff::"),
            ("0.0.0.0/0", "0.0.0.0/0", "0.0.0.0"),
        ] {
            assert_eq!(block(text).to_string(), shown);
            assert_eq!(block(text).netmask().to_string(), mask);
        }
        for text in [
            "",
            "10.0.0",
            "10.0.0.1/33",
            "fd00::/129",
            "x",
            "10.0.0.1/x",
            "10.0.0.1/255.0.255.0",
        ] {
            assert_eq!(
                Block::parse(text),
                Err(format!("Invalid IP or CIDR format: {text}"))
            );
        }
        assert_eq!(block("10.0.0.0/24").last_single(), block("10.0.0.255"));
        assert_eq!(block("::/0").count(), u128::MAX);
    }

    #[test]
    fn ranges_are_the_fewest_blocks() {
        let text = |range: &str| {
            let blocks = parse_range(range).unwrap();
            blocks
                .iter()
                .map(Block::to_string)
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(
            text("10.0.0.2 - 10.0.0.9"),
            "10.0.0.2/31 10.0.0.4/30 10.0.0.8/31"
        );
        assert_eq!(text("10.0.0.0-10.0.0.255"), "10.0.0.0/24");
        assert_eq!(
            text("255.255.255.254-255.255.255.255"),
            "255.255.255.254/31"
        );
        assert_eq!(text("fd00::1-fd00::2"), "fd00::1/128 fd00::2/128");
        assert_eq!(text("10.0.0.9-10.0.0.2"), "");
        for range in ["1-2-3", "10.0.0.0/24-10.0.1.0"] {
            assert_eq!(
                parse_range(range),
                Err(format!("Invalid IP range format: {range}"))
            );
        }
    }

    #[test]
    fn a_block_is_cut_into_blocks() {
        let cut = |text: &str, prefix: u8| -> Vec<String> {
            block(text)
                .blocks(prefix)
                .map(|block| block.to_string())
                .collect()
        };
        assert_eq!(cut("10.0.0.0/30", 32).len(), 4);
        assert_eq!(
            cut("10.0.0.0/28", 30),
            ["10.0.0.0/30", "10.0.0.4/30", "10.0.0.8/30", "10.0.0.12/30"]
        );
        assert_eq!(cut("10.0.0.2/31", 30), Vec::<String>::new());
        assert_eq!(cut("255.255.255.252/30", 32).len(), 4);
    }

    proptest! {
        #[test]
        fn a_span_is_what_it_spans(first in any::<u32>(), length in 0u32..5000) {
            let last = first.saturating_add(length);
            let single = |number: u32| Block::at(false, number.into(), 32);
            let blocks = span(single(first), single(last));
            let count: u128 = blocks.iter().map(Block::count).sum();
            prop_assert_eq!(count, u128::from(last - first) + 1);
            prop_assert_eq!(blocks.first().unwrap().first(), u128::from(first));
            prop_assert_eq!(blocks.last().unwrap().last(), u128::from(last));
            for pair in blocks.windows(2) {
                prop_assert_eq!(pair[0].last() + 1, pair[1].first());
            }
        }
    }
}
