//! `release_apply_spec`: the apply spec of a release that was baked into the stemcell, as micro BOSHes were.
//! Source: upstream agent/action/release_apply_spec.go.

use serde_json::Value;

use super::{Error, error::Context as _};
use crate::agent::Agent;

pub(super) async fn run(agent: &Agent) -> Result<Value, Error> {
    let path = agent.dirs().base().join("micro/apply_spec.json");
    let bytes = tokio::fs::read(&path)
        .await
        .context("Opening micro apply spec file")?;
    serde_json::from_slice(&bytes).context("Unmarshalling release apply spec")
}
