//! `run_errand`: bin/run of one job, the first one if none is named.

use bosh_protocol::arguments::ErrandResult;

use super::arguments::Arguments;
use super::tasks::Cancel;
use super::{Error, error::Context as _};
use crate::agent::Agent;
use crate::script::errand;

pub(super) async fn run(
    agent: &Agent,
    mut arguments: Arguments,
    mut cancel: Cancel,
) -> Result<ErrandResult, Error> {
    let spec = agent.spec.get();
    let job = match arguments.optional::<String>(0)? {
        Some(name) if spec.job.templates.iter().any(|job| job.name == name) => name,
        Some(name) => return Err(Error::refused(format!("Could not find errand {name}"))),
        None if spec.job.template.is_empty() => {
            return Err(Error::refused(
                "At least one job template is required to run an errand",
            ));
        }
        None => spec.job.template.clone(),
    };
    errand::run(agent.dirs(), &job, &mut cancel)
        .await
        .context("Running errand script")
}
