//! `run_script`: a lifecycle script of all jobs.

use bosh_protocol::arguments::RunScriptOptions;
use serde_json::{Map, Value};

use super::arguments::Arguments;
use super::{Error, error::Context as _};
use crate::agent::Agent;
use crate::script::lifecycle;

pub(super) async fn run(
    agent: &Agent,
    mut arguments: Arguments,
) -> Result<Map<String, Value>, Error> {
    let name: String = arguments.get(0)?;
    let options: RunScriptOptions = arguments.get(1)?;
    if name.is_empty() || name.contains('/') {
        return Err(Error::refused(format!(
            "Script name must be a plain file name, got '{name}'"
        )));
    }
    let spec = agent.spec.get();
    let jobs: Vec<String> = spec.jobs().iter().map(|job| job.name.clone()).collect();
    lifecycle::run(agent.dirs(), &jobs, &name, &options.env)
        .await
        .plain()?;
    Ok(Map::new())
}
