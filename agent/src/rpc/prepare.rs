//! `prepare`: downloads and unpacks what a spec needs, while what is there still runs.

use bosh_protocol::ApplySpec;

use super::arguments::Arguments;
use super::{Error, error::Context as _};
use crate::agent::Agent;

pub(super) async fn run(agent: &Agent, mut arguments: Arguments) -> Result<&'static str, Error> {
    let desired: ApplySpec = arguments.get(0)?;
    agent
        .tools()
        .applier
        .prepare(&desired)
        .await
        .context("Preparing apply spec")?;
    Ok("prepared")
}
