//! Has the agent install packages and jobs, and starts them. Upstream: instance_updater/state_applier.rb.

use serde_json::Value;

use super::{start, templates};
use crate::db;
use crate::deploy::Error;
use crate::deploy::scope::Scope;
use crate::deploy::subject::Subject;
use crate::manifest::State;
use crate::tasks::Step;

/// Installs what the spec of `subject` says and, if it should be started, starts it; waits for it unless told not to.
pub async fn run(
    scope: &Scope,
    subject: &mut Subject,
    canary: bool,
    wait: bool,
    step: &mut Step,
) -> Result<(), Error> {
    step.advance(10, "installing packages");
    let mut spec = subject.spec.apply();
    templates::sign_packages(scope, subject, &mut spec).await?;
    subject
        .agent(scope)?
        .send("apply", vec![Value::Object(spec)])
        .await?;
    step.advance(10, "configuring jobs");
    let tx = scope.db().begin().await?;
    let changes = db::instances::Changes {
        spec: Some(Value::Object(subject.spec.0.clone())),
        ..db::instances::Changes::default()
    };
    db::instances::update(&tx, subject.id, changes).await?;
    db::instances::set_templates(&tx, subject.id, &subject.templates).await?;
    tx.commit().await?;
    subject.fresh = false;
    templates::clean(scope, subject.id).await?;
    if subject.state == State::Started {
        start::run(scope, subject, canary, wait, step).await?;
        let changes = db::instances::Changes {
            state: Some("started".into()),
            ..db::instances::Changes::default()
        };
        db::instances::update(scope.db(), subject.id, changes).await?;
        subject.was = "started".into();
    }
    Ok(())
}

/// Tells a new VM's agent where it is, and learns the addresses of dynamic networks from it.
///
/// Where all addresses are the director's, there is nothing to learn, and the agent is told with the first `apply`.
/// Upstream: apply_vm_spec_step.rb.
pub async fn vm_spec(scope: &Scope, subject: &mut Subject) -> Result<(), Error> {
    let dynamic = |network: &Value| network.get("type").is_some_and(|kind| kind == "dynamic");
    if !subject.networks().values().any(dynamic) {
        return Ok(());
    }
    const TOLD: [&str; 5] = ["networks", "deployment", "job", "index", "id"];
    let spec: serde_json::Map<String, Value> = subject
        .spec
        .apply()
        .into_iter()
        .filter(|(key, _)| TOLD.contains(&key.as_str()))
        .collect();
    let agent = subject.agent(scope)?;
    agent.send("apply", vec![Value::Object(spec)]).await?;
    let networks = agent.get_state(false).await?.spec.networks;
    subject
        .spec
        .0
        .insert("networks".into(), Value::Object(networks.clone()));
    let vm = subject.vm()?.id;
    let tx = scope.db().begin().await?;
    let changes = db::vms::Changes {
        network_spec: Some(Value::Object(networks.clone())),
        ..db::vms::Changes::default()
    };
    db::vms::update(&tx, vm, changes).await?;
    let mut stored = db::instances::get(&tx, subject.id)
        .await?
        .map_or(Value::Null, |row| row.spec());
    if let Value::Object(stored) = &mut stored {
        stored.insert("networks".into(), Value::Object(networks));
    }
    let changes = db::instances::Changes {
        spec: Some(stored),
        ..db::instances::Changes::default()
    };
    db::instances::update(&tx, subject.id, changes).await?;
    Ok(tx.commit().await?)
}
