//! `info`: what the agent can.

use bosh_protocol::state::Info;

use super::Error;

pub(super) async fn run() -> Result<Info, Error> {
    Ok(Info { api_version: 1 })
}
