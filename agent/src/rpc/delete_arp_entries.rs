//! `delete_arp_entries`: forgets the hardware addresses of VMs that have been made anew.

use bosh_protocol::arguments::DeleteArpEntries;
use serde_json::{Map, Value};

use super::Error;
use super::arguments::Arguments;
use crate::agent::Agent;

pub(super) async fn run(
    agent: &Agent,
    mut arguments: Arguments,
) -> Result<Map<String, Value>, Error> {
    let entries: DeleteArpEntries = arguments.get(0)?;
    for address in entries.ips {
        let Ok(ip) = address.parse() else {
            tracing::warn!(address, "no such address in any ARP cache");
            continue;
        };
        // Most of them were never there.
        if let Err(error) = agent.platform.delete_arp_entry(ip).await {
            tracing::debug!(%ip, error = &error as &dyn std::error::Error, "delete from the ARP cache");
        }
    }
    Ok(Map::new())
}
