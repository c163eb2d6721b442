//! Takes an instance's processes down: pre-stop, drain, stop, post-stop. Upstream: stopper.rb.

use std::collections::BTreeMap;
use std::time::Duration;

use bosh_protocol::arguments::RunScriptOptions;
use serde_json::{Value, json};

use crate::agents::Agent;
use crate::deploy::Error;
use crate::deploy::plan::decision::Change;
use crate::deploy::scope::Scope;
use crate::deploy::subject::Subject;
use crate::manifest::State;
use crate::tasks::Step;

/// What comes next, as scripts are told in their environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// The VM stays.
    KeepVm,
    /// The VM goes, the instance stays.
    DeleteVm,
    /// The instance goes.
    DeleteInstance,
    /// The deployment goes.
    DeleteDeployment,
}

impl Intent {
    fn env(self) -> BTreeMap<String, String> {
        let word = |gone: bool| if gone { "delete" } else { "keep" };
        [
            ("BOSH_VM_NEXT_STATE", self != Self::KeepVm),
            (
                "BOSH_INSTANCE_NEXT_STATE",
                matches!(self, Self::DeleteInstance | Self::DeleteDeployment),
            ),
            ("BOSH_DEPLOYMENT_NEXT_STATE", self == Self::DeleteDeployment),
        ]
        .into_iter()
        .map(|(name, gone)| (name.to_owned(), word(gone).to_owned()))
        .collect()
    }
}

/// Stops what runs on the instance's VM. Nothing to do without one, or when its agent does not answer; a VM made
/// moments ago has nothing to stop.
pub async fn run(
    scope: &Scope,
    subject: &Subject,
    intent: Intent,
    target: State,
    mut step: Option<&mut Step>,
) -> Result<(), Error> {
    let mut advance = |percent, status| {
        if let Some(step) = &mut step {
            step.advance(percent, status);
        }
    };
    if subject.compilation || subject.vm.is_none() || subject.unresponsive || subject.fresh {
        return Ok(());
    }
    let agent = subject.agent(scope)?;
    if subject.skip_drain {
        advance(10, "skipped pre-stop & drain");
        scope.task.debug(format!(
            "Skipping pre-stop and drain for '{}'",
            subject.display()
        ));
    } else {
        advance(5, "executing pre-stop");
        scope
            .task
            .debug(format!("Running pre-stop for {}", subject.display()));
        agent
            .run_script("pre-stop", &RunScriptOptions { env: intent.env() })
            .await?;
        advance(5, "executing drain");
        scope
            .task
            .debug(format!("Running drain for {}", subject.display()));
        let last = intent != Intent::KeepVm
            || target != State::Started
            || subject.replaces_vm()
            || subject.has(Change::PersistentDisk);
        drain(
            scope,
            subject,
            &agent,
            if last { "shutdown" } else { "update" },
        )
        .await?;
    }
    advance(20, "stopping jobs");
    scope
        .task
        .debug(format!("Stopping instance {}", subject.display()));
    agent.stop().await?;
    advance(10, "executing post-stop");
    scope
        .task
        .debug(format!("Running post-stop for {}", subject.display()));
    agent
        .run_script("post-stop", &RunScriptOptions::default())
        .await?;
    Ok(())
}

/// Drains, and asks again for as long as the scripts say so (a negative number: "ask again after as many seconds").
async fn drain(scope: &Scope, subject: &Subject, agent: &Agent, kind: &str) -> Result<(), Error> {
    let mut arguments = vec![json!(kind)];
    arguments.push(Value::Object(subject.spec.apply()));
    loop {
        let answer = agent.send_cancellable("drain", arguments).await?;
        let Some(seconds) = answer.as_i64() else {
            return Err(Error::other(format!(
                "drain: expected a number of seconds, got {answer}"
            )));
        };
        if seconds != 0 {
            scope.task.debug(format!(
                "'{}' is draining: {}s",
                subject.display(),
                seconds.unsigned_abs()
            ));
            let wait = Duration::from_secs(seconds.unsigned_abs());
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = scope.task.cancellation().cancelled() => {}
            }
            scope.task.checkpoint()?;
        }
        if seconds >= 0 {
            return Ok(());
        }
        arguments = vec![json!("status")];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_learn_what_comes_next() {
        let words = |intent: Intent| intent.env().into_values().collect::<Vec<_>>();
        // Deployment, instance, VM: the map is sorted by name.
        assert_eq!(words(Intent::KeepVm), ["keep", "keep", "keep"]);
        assert_eq!(words(Intent::DeleteVm), ["keep", "keep", "delete"]);
        assert_eq!(words(Intent::DeleteInstance), ["keep", "delete", "delete"]);
        assert_eq!(
            words(Intent::DeleteDeployment),
            ["delete", "delete", "delete"]
        );
    }
}
