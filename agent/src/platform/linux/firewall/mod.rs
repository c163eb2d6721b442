//! Who may speak to monit's interface and to the message bus: root, and jobs that ask for monit.
//!
//! | module | what |
//! |---|---|
//! | `netlink` | nf_tables, as the kernel is told |
//! | `rules` | what rules consist of |
//! | [`access`] | `bosh-enable-monit-access`, by which jobs ask |
//!
//! The table is `inet bosh_agent`. Its chains `monit_access` and `nats_access` are the agent's and made anew; rules of
//! `monit_access_jobs` are the jobs' and stay. Source: upstream platform/firewall.

pub mod access;
mod netlink;
mod rules;

use super::Linux;
use bosh_protocol::Secret;
use netlink::Batch;
use rules::Rule;
use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

const TABLE: &str = "bosh_agent";
const MONIT: &str = "monit_access";
const MONIT_JOBS: &str = "monit_access_jobs";
const NATS: &str = "nats_access";
const MONIT_PORT: u16 = 2822;
/// How long a name may take to be found; the connection waits for it.
const LOOKUP: Duration = Duration::from_secs(5);
/// Just before the chains of others that filter.
const PRIORITY: i32 = -1;

impl Linux {
    /// A machine without nf_tables is no error: upstream goes on without, and so does ours.
    pub(super) fn protect_monit(&self) {
        if self.options.use_monit_iptables_firewall {
            tracing::info!("the stemcell protects monit's interface by itself");
            return;
        }
        match monit() {
            Ok(()) => tracing::info!("only root reaches monit's interface"),
            Err(error) => tracing::warn!(%error, "cannot protect monit's interface"),
        }
    }

    /// Every address that the message bus has now.
    pub(super) async fn protect_nats(&self, urls: &[Secret]) {
        let mut targets = Vec::new();
        for (host, port) in urls.iter().filter_map(target) {
            let found = tokio::net::lookup_host((host.as_str(), port));
            match tokio::time::timeout(LOOKUP, found).await {
                Ok(Ok(found)) => targets.extend(found),
                Ok(Err(error)) => tracing::warn!(host, %error, "cannot find the message bus"),
                Err(_) => tracing::warn!(host, "cannot find the message bus in time"),
            }
        }
        if targets.is_empty() {
            return;
        }
        match nats(&targets) {
            Ok(()) => tracing::debug!(?targets, "only root reaches the message bus"),
            Err(error) => tracing::warn!(%error, "cannot protect the message bus"),
        }
    }
}

fn monit() -> io::Result<()> {
    let mut batch = Batch::default();
    batch.add_table(TABLE);
    batch.add_chain(TABLE, MONIT_JOBS, None);
    batch.add_chain(TABLE, MONIT, Some(PRIORITY));
    batch.flush_chain(TABLE, MONIT);
    for rule in [
        Rule::default().jump(MONIT_JOBS),
        Rule::default().established().accept(),
        Rule::default().of_user(0).at_monit().accept(),
        Rule::default().at_monit().drop(),
    ] {
        batch.add_rule(TABLE, MONIT, &rule, "");
    }
    batch.commit()
}

fn nats(targets: &[SocketAddr]) -> io::Result<()> {
    let mut batch = Batch::default();
    batch.add_table(TABLE);
    batch.add_chain(TABLE, NATS, Some(PRIORITY));
    batch.flush_chain(TABLE, NATS);
    let established = Rule::default().established().accept();
    batch.add_rule(TABLE, NATS, &established, "");
    for target in targets {
        let (ip, port) = (target.ip(), target.port());
        let root = Rule::default().of_user(0).to(ip, port).accept();
        batch.add_rule(TABLE, NATS, &root, "");
        let others = Rule::default().to(ip, port).drop();
        batch.add_rule(TABLE, NATS, &others, "");
    }
    batch.commit()
}

/// Host and port of a URL; `None` for what is no NATS, as where the agent itself is the server.
fn target(url: &Secret) -> Option<(String, u16)> {
    let url = url.expose().trim();
    if url.is_empty() || url.starts_with("https://") {
        return None;
    }
    let Ok(parsed) = reqwest::Url::parse(url) else {
        tracing::info!("the message bus has no URL that could be protected");
        return None;
    };
    let host = parsed
        .host_str()?
        .trim_start_matches('[')
        .trim_end_matches(']');
    let port = parsed.port().filter(|port| *port > 0)?;
    let host = host
        .parse::<IpAddr>()
        .map_or(host.to_owned(), |ip| ip.to_string());
    (!host.is_empty()).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_of_nats_only() {
        let of = |url: &str| target(&url.into());
        let found = |host: &str, port| Some((host.to_owned(), port));
        assert_eq!(of("nats://10.0.0.6:4222"), found("10.0.0.6", 4222));
        assert_eq!(of("nats://u:p@n.example.com:1"), found("n.example.com", 1));
        assert_eq!(of(" tls://[fd00::6]:4222 "), found("fd00::6", 4222));
        for none in [
            "",
            "https://u:p@0.0.0.0:6868",
            "nats://host",
            "nats://:4222",
            "nonsense",
        ] {
            assert_eq!(of(none), None, "{none}");
        }
    }
}
