//! Sets up or cleans up ssh access.

use bosh_protocol::arguments::SshParams;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::app::Director;
use crate::db::instances::Instance;
use crate::db::{self, DeploymentId};
use crate::deploy::load::Rows;
use crate::deploy::scope::Scope;
use crate::tasks::{Context, Error};

/// Sets up or cleans up ssh access.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ssh {
    /// The deployment.
    pub deployment_id: DeploymentId,
    /// The request, as the client sent it: `command`, `params`, `target`.
    pub request: serde_json::Value,
}

/// Which instances: of one group or of all, by uuid or index.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Target {
    job: Option<String>,
    ids: Option<Vec<Value>>,
    indexes: Option<Vec<Value>>,
}

impl Target {
    fn matches(&self, instance: &Instance) -> bool {
        if self.job.as_ref().is_some_and(|job| *job != instance.job) {
            return false;
        }
        let named = |list: &[Value]| {
            list.iter().any(|wanted| match wanted {
                Value::String(text) => {
                    text == instance.uuid() || *text == instance.index.to_string()
                }
                Value::Number(number) => number.as_i64() == Some(i64::from(instance.index)),
                _ => false,
            })
        };
        match (&self.ids, &self.indexes) {
            (Some(ids), _) if !ids.is_empty() => named(ids),
            (_, Some(indexes)) if !indexes.is_empty() => named(indexes),
            _ => true,
        }
    }

    /// As upstream prints its query.
    fn describe(&self) -> String {
        let parts = [
            self.job.as_ref().map(|job| format!(":job=>\"{job}\"")),
            self.ids
                .as_ref()
                .filter(|ids| !ids.is_empty())
                .map(|ids| format!(":uuid=>{}", json!(ids))),
            self.indexes
                .as_ref()
                .filter(|list| !list.is_empty())
                .map(|list| format!(":index=>{}", json!(list))),
        ];
        format!(
            "{{{}}}",
            parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
        )
    }
}

impl Ssh {
    /// Runs the task.
    pub async fn run(self, director: &Director, task: &Context) -> Result<String, Error> {
        let Some(deployment) = db::deployments::get(&director.db, self.deployment_id).await? else {
            return Err(Error::other(format!(
                "deployment {} is gone",
                self.deployment_id
            )));
        };
        let command = self.request["command"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let target: Target = match &self.request["target"] {
            Value::Null => Target::default(),
            target => serde_json::from_value(target.clone())?,
        };
        let params: SshParams = match &self.request["params"] {
            Value::Null => SshParams::default(),
            params => serde_json::from_value(params.clone())?,
        };
        let scope = Scope::new(director, task, deployment).await?;
        let rows = Rows::of(&scope).await?;
        let mut results = Vec::new();
        for instance in rows
            .instances
            .iter()
            .filter(|instance| target.matches(instance))
        {
            let Some(vm) = rows.active_vm(instance.id) else {
                continue;
            };
            let name = instance.name();
            let user = [&params.user_regex, &params.user]
                .into_iter()
                .find(|user| !user.is_empty());
            let mut event = scope.instance_event(
                &format!("{command} ssh"),
                "instance",
                Some(name.clone()),
                &name,
            );
            event.context = Some(json!({"user": user}));
            let answer = scope.agent(vm, &name)?.ssh(&command, &params).await;
            event.error = answer.as_ref().err().map(ToString::to_string);
            task.event(event).await?;
            let mut result = serde_json::to_value(answer?)?;
            result["id"] = json!(instance.uuid);
            result["index"] = json!(instance.index);
            result["job"] = json!(instance.job);
            if let Some(gateway) = &director.config.default_ssh_options {
                result["gateway_host"] = json!(gateway.host);
                result["gateway_user"] = json!(gateway.user);
            }
            results.push(result);
        }
        if results.is_empty() {
            let message = format!(
                "No instance with a VM in deployment '{}' matched filter {}",
                scope.name(),
                target.describe()
            );
            return Err(Error::other(message));
        }
        task.result_line(&results)?;
        Ok(String::new())
    }
}
