//! Brings an instance's processes up: pre-start, start, wait until they run, post-start. Upstream: starter.rb.

use std::time::Duration;

use bosh_director_api::Code;
use bosh_protocol::arguments::RunScriptOptions;
use bosh_protocol::{JobState, State};
use tokio::time::Instant;

use crate::deploy::Error;
use crate::deploy::scope::Scope;
use crate::deploy::subject::Subject;
use crate::tasks::Step;

/// Shortest and longest pause between two looks once the shortest watch time has passed.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Starts what was applied; unless told not to `wait`, fails when it does not run within the watch time.
pub async fn run(
    scope: &Scope,
    subject: &Subject,
    canary: bool,
    wait: bool,
    step: &mut Step,
) -> Result<(), Error> {
    let agent = subject.agent(scope)?;
    step.advance(10, "executing pre-start");
    scope
        .task
        .debug(format!("Running pre-start for {}", subject.display()));
    agent
        .run_script("pre-start", &RunScriptOptions::default())
        .await?;
    step.advance(20, "starting jobs");
    scope
        .task
        .debug(format!("Starting instance {}", subject.display()));
    agent.start().await?;
    if !wait {
        return Ok(());
    }
    let watch = if canary {
        subject.update.canary_watch_time
    } else {
        subject.update.update_watch_time
    };
    running(
        scope,
        subject,
        Duration::from_millis(watch.min),
        Duration::from_millis(watch.max),
    )
    .await?;
    step.advance(10, "executing post-start");
    scope
        .task
        .debug(format!("Running post-start for {}", subject.display()));
    agent
        .run_script("post-start", &RunScriptOptions::default())
        .await?;
    Ok(())
}

/// Looks for the first time after `min`, then ever less often until `max`.
async fn running(
    scope: &Scope,
    subject: &Subject,
    min: Duration,
    max: Duration,
) -> Result<(), Error> {
    let agent = subject.agent(scope)?;
    let begin = Instant::now();
    let mut pause = min;
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = scope.task.cancellation().cancelled() => {}
        }
        scope.task.checkpoint()?;
        let state = agent.get_state(false).await?;
        if state.job_state == JobState::Running {
            return Ok(());
        }
        let left = max.saturating_sub(begin.elapsed());
        if left.is_zero() {
            return Err(not_running(subject, &state));
        }
        pause = ((begin.elapsed() - min.min(begin.elapsed())) / 4)
            .clamp(PAUSE.0, PAUSE.1)
            .min(left);
    }
}

fn not_running(subject: &Subject, state: &State) -> Error {
    let failing: Vec<&str> = state
        .processes
        .iter()
        .filter(|process| process.state != "running")
        .map(|process| process.name.as_str())
        .collect();
    let mut message = format!("'{}' is not running after update.", subject.display());
    if !failing.is_empty() {
        message += &format!(" Review logs for failed jobs: {}", failing.join(", "));
    }
    Error::new(Code::AgentJobNotRunning, message)
}
