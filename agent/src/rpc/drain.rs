//! `drain`: lets the jobs finish what they do, before an update or the end. Source: upstream agent/action/drain.go.

use bosh_protocol::{ApplySpec, subject};

use super::arguments::Arguments;
use super::tasks::Cancel;
use super::{Error, error::Context as _};
use crate::agent::Agent;
use crate::script::drain::{self, Params};

pub(super) async fn run(
    agent: &Agent,
    mut arguments: Arguments,
    cancel: Cancel,
) -> Result<i64, Error> {
    let kind: String = arguments.get(0)?;
    let next: Option<ApplySpec> = arguments.optional(1)?;
    let current = agent.spec.get();
    let params = match kind.as_str() {
        "status" => {
            return Err(Error::refused("Unexpected call with drain type 'status'"));
        }
        "update" => match &next {
            Some(next) => Params::update(&current, next),
            None => return Err(Error::refused("Drain update requires new spec")),
        },
        "shutdown" => {
            // The health monitor must not take the silence that follows for an accident.
            agent
                .bus
                .publish(subject::shutdown(&agent.settings.get().agent_id), &())
                .await;
            Params::shutdown(&current, next.as_ref())
        }
        _ => {
            return Err(Error::refused(format!("Unknown drain type '{kind}'")));
        }
    };
    agent
        .supervisor
        .unmonitor()
        .await
        .context("Unmonitoring services")?;
    let jobs: Vec<String> = current.jobs().iter().map(|job| job.name.clone()).collect();
    drain::run(agent.dirs(), &jobs, &params, &cancel)
        .await
        .plain()?;
    Ok(0)
}
