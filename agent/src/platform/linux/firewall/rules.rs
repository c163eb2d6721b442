//! What rules consist of: the expressions of nf_tables, as `nft` would compile them.
//! Source: linux/netfilter/nf_tables.h; upstream platform/firewall/nftables_firewall.go.

use super::netlink::Attributes;
use std::net::{IpAddr, Ipv4Addr};

const REGISTER: u32 = 1;
/// NFT_META_SKUID, NFT_META_NFPROTO, NFT_META_L4PROTO
const USER: u32 = 10;
const FAMILY: u32 = 15;
const PROTOCOL: u32 = 16;

/// One rule, built expression by expression.
#[derive(Default)]
pub(super) struct Rule(Attributes);

impl Rule {
    fn expression(self, name: &str, data: Attributes) -> Self {
        let expression = Attributes::default().text(1, name).nested(2, data);
        Self(self.0.nested(1, expression))
    }

    fn meta(self, key: u32) -> Self {
        let data = Attributes::default().number(1, REGISTER).number(2, key);
        self.expression("meta", data)
    }

    fn compare(self, equal: bool, value: &[u8]) -> Self {
        let data = Attributes::default()
            .number(1, REGISTER)
            .number(2, u32::from(!equal))
            .nested(3, Attributes::default().bytes(1, value));
        self.expression("cmp", data)
    }

    /// `base` is 1 for the network's header, 2 for the transport's.
    fn payload(self, base: u32, offset: u32, length: u32) -> Self {
        let data = Attributes::default()
            .number(1, REGISTER)
            .number(2, base)
            .number(3, offset)
            .number(4, length);
        self.expression("payload", data)
    }

    fn verdict(self, verdict: Attributes) -> Attributes {
        let data = Attributes::default()
            .number(1, 0)
            .nested(2, Attributes::default().nested(2, verdict));
        self.expression("immediate", data).0
    }

    /// `meta skuid UID`
    pub(super) fn of_user(self, uid: u32) -> Self {
        self.meta(USER).compare(true, &uid.to_ne_bytes())
    }

    /// `socket cgroupv2 level 2 PATH`; the kernel wants the directory's inode. The level is upstream's.
    pub(super) fn of_cgroup(self, inode: u64) -> Self {
        let data = Attributes::default()
            .number(1, 3)
            .number(2, REGISTER)
            .number(3, 2);
        self.expression("socket", data)
            .compare(true, &inode.to_ne_bytes())
    }

    /// `ip daddr ADDRESS tcp dport PORT`
    pub(super) fn to(self, address: IpAddr, port: u16) -> Self {
        let (family, rule) = (|kind: u8| [kind], self.meta(FAMILY));
        let rule = match address {
            // NFPROTO_IPV4, NFPROTO_IPV6
            IpAddr::V4(ip) => rule
                .compare(true, &family(2))
                .payload(1, 16, 4)
                .compare(true, &ip.octets()),
            IpAddr::V6(ip) => rule
                .compare(true, &family(10))
                .payload(1, 24, 16)
                .compare(true, &ip.octets()),
        };
        rule.meta(PROTOCOL)
            .compare(true, &[6])
            .payload(2, 2, 2)
            .compare(true, &port.to_be_bytes())
    }

    /// To monit's interface. monit listens to no IPv6.
    pub(super) fn at_monit(self) -> Self {
        self.to(IpAddr::V4(Ipv4Addr::LOCALHOST), super::MONIT_PORT)
    }

    /// `ct state established,related`
    pub(super) fn established(self) -> Self {
        let mask = (2u32 | 4).to_ne_bytes();
        let data = |value: &[u8]| Attributes::default().bytes(1, value);
        let state = Attributes::default().number(1, REGISTER).number(2, 0);
        let bitwise = Attributes::default()
            .number(1, REGISTER)
            .number(2, REGISTER)
            .number(3, 4)
            .nested(4, data(&mask))
            .nested(5, data(&[0; 4]));
        self.expression("ct", state)
            .expression("bitwise", bitwise)
            .compare(false, &[0; 4])
    }

    /// `log prefix "PREFIX"`
    pub(super) fn log(self, prefix: &str) -> Self {
        self.expression("log", Attributes::default().text(2, prefix))
    }

    pub(super) fn accept(self) -> Attributes {
        self.verdict(Attributes::default().number(1, 1))
    }

    pub(super) fn drop(self) -> Attributes {
        self.verdict(Attributes::default().number(1, 0))
    }

    pub(super) fn jump(self, chain: &str) -> Attributes {
        self.verdict(Attributes::default().number(1, -3i32 as u32).text(2, chain))
    }
}
