//! Has the agent fetch packages while the old ones still run. Upstream: prepare_instance_step.rb.

use serde_json::Value;

use super::templates::sign_packages;
use crate::deploy::Error;
use crate::deploy::scope::Scope;
use crate::deploy::subject::Subject;

/// Prepares the instance's VM for what is going to be applied.
pub async fn run(scope: &Scope, subject: &Subject) -> Result<(), Error> {
    let mut spec = subject.spec.apply();
    sign_packages(scope, subject, &mut spec).await?;
    subject
        .agent(scope)?
        .send("prepare", vec![Value::Object(spec)])
        .await?;
    Ok(())
}

/// Prepares a VM that is to take over: packages only, for its jobs are rendered with addresses it has not got yet.
pub async fn inactive(scope: &Scope, subject: &Subject) -> Result<(), Error> {
    let Some(vm) = subject.inactive.last() else {
        return Err(Error::other(
            "no inactive VM available to prepare for instance",
        ));
    };
    let mut spec = subject.spec.jobless();
    sign_packages(scope, subject, &mut spec).await?;
    scope
        .agent(vm, &subject.name())?
        .send("prepare", vec![Value::Object(spec)])
        .await?;
    Ok(())
}
