//! `drain`: lets the jobs finish what they do, before an update or the end. Source: upstream agent/action/drain.go.

use bosh_protocol::arguments::DrainType;
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
    let kind: DrainType = arguments.get(0)?;
    let next: Option<ApplySpec> = arguments.optional::<Option<ApplySpec>>(1)?.flatten();
    let current = agent.spec.get();
    let params = match kind {
        DrainType::Status => {
            return Err(Error::refused("Unexpected call with drain type 'status'"));
        }
        DrainType::Update => match &next {
            Some(next) => Params::update(&current, next),
            None => return Err(Error::refused("Drain update requires new spec")),
        },
        DrainType::Shutdown => {
            // The health monitor must not take the silence that follows for an accident.
            agent
                .bus
                .publish(subject::shutdown(&agent.settings.get().agent_id), &())
                .await;
            Params::shutdown(&current, next.as_ref())
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
