//! DNS records for agents: a JSON blob of who is where, and telling agents that there is a newer one.
//!
//! - [`records`] makes the blob's contents, as bosh-dns and agents read them
//! - [`Publisher`] stores it when records have changed, and has agents fetch it
//!
//! Upstream: `bosh-director/lib/bosh/director/dns/`, `agent_broadcaster.rb`, `sync_dns_scheduler.rb`.

mod publisher;
pub mod records;

pub use publisher::{Error, Published, Publisher, Target, converge};
