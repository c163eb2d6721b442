//! From a request to its reply: find the method, start a task or wait for the result, put errors into words.

use std::sync::Arc;

use bosh_protocol::{AgentTask, AgentTaskId, Method, Response};
use serde::Serialize;
use serde_json::Value;

use super::error::Context as _;
use super::tasks::{Cancel, Lane};
use super::*;
use crate::agent::Agent;

/// Answers one request.
pub async fn dispatch(agent: &Arc<Agent>, request: Request) -> Response {
    let method: Method = match request.method.parse() {
        Ok(method) => method,
        Err(error) => {
            tracing::error!(method = request.method, "unknown method");
            return Response::exception(format!("{error}"));
        }
    };
    tracing::info!(%method, "request");
    if method.is_loggable() {
        tracing::debug!(%method, arguments = %request, "arguments");
    }
    if method.is_asynchronous(request.protocol) {
        return start_task(agent, method, request);
    }
    let (_never, cancel) = Cancel::pair();
    match call(agent.clone(), method, request, cancel).await {
        Ok(value) => Response::Value(value),
        Err(error) => {
            let message = error.chain();
            tracing::error!(%method, error = message, "request failed");
            Response::exception(format!("Action Failed {method}: {message}"))
        }
    }
}

fn start_task(agent: &Arc<Agent>, method: Method, request: Request) -> Response {
    let id = AgentTaskId::new(uuid::Uuid::new_v4().to_string());
    if method.is_persistent()
        && let Err(error) = agent.tasks.persistent().add(&id, method.as_str()).plain()
    {
        let message = error.chain();
        tracing::error!(%method, error = message, "cannot remember the task");
        return Response::exception(format!("Action Failed {method}: {message}"));
    }
    let lane = match method {
        Method::FetchLogs
        | Method::FetchLogsWithSignedUrl
        | Method::UploadBlob
        | Method::ListDisk => Lane::Parallel,
        _ => Lane::Ordered,
    };
    let cancellable = matches!(method, Method::Drain | Method::RunErrand);
    let working = agent.clone();
    let started = agent
        .tasks
        .start(id.clone(), lane, cancellable, move |cancel| {
            Box::pin(async move {
                call(working, method, request, cancel)
                    .await
                    .map_err(|error| error.chain())
            })
        });
    match started.map(|()| serde_json::to_value(AgentTask::running(id))) {
        Ok(Ok(task)) => Response::Value(task),
        Ok(Err(error)) => Response::exception(format!("Create Task Failed {method}: {error}")),
        Err(error) => Response::exception(format!("Create Task Failed {method}: {error}")),
    }
}

/// Settles the persistent tasks of an agent process that ended in the middle of them.
pub fn resume(agent: &Agent) {
    let unfinished = match agent.tasks.persistent().load() {
        Ok(unfinished) => unfinished,
        Err(error) => {
            // Callers will be told that there is no such task.
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "cannot read the tasks to resume"
            );
            return;
        }
    };
    for (id, task) in unfinished {
        tracing::info!(task = %id, method = task.method, "resume");
        let result = match task.method.parse::<Method>() {
            // The settings and networks it was about are in use since this start.
            Ok(method) if method.is_persistent() => Ok(Value::from("ok")),
            Ok(_) => Err("not supported".to_owned()),
            Err(error) => {
                tracing::error!(task = %id, %error, "forget it");
                agent.tasks.forget(&id);
                continue;
            }
        };
        agent.tasks.insert_finished(id, result);
    }
}

async fn call(
    agent: Arc<Agent>,
    method: Method,
    mut request: Request,
    cancel: Cancel,
) -> Result<Value, Error> {
    let agent = &agent;
    let protocol = request.protocol;
    // What takes no arguments takes a list all the same.
    let mut arguments = |required| request.arguments(required);
    match method {
        Method::Ping => {
            arguments(0)?;
            value(ping::run().await)
        }
        Method::Info => {
            arguments(0)?;
            value(info::run().await)
        }
        Method::GetState => value(get_state::run(agent, arguments(0)?).await),
        Method::Prepare => value(prepare::run(agent, arguments(1)?).await),
        Method::Apply => value(apply::run(agent, arguments(1)?).await),
        Method::Start => value(start::run(agent).await),
        Method::Stop => value(stop::run(agent, protocol).await),
        Method::Drain => value(drain::run(agent, arguments(1)?, cancel).await),
        Method::RunScript => value(run_script::run(agent, arguments(2)?).await),
        Method::RunErrand => value(run_errand::run(agent, arguments(0)?, cancel).await),
        Method::CompilePackage => value(compile_package::run(agent, arguments(5)?).await),
        Method::CompilePackageWithSignedUrl => {
            value(compile_package_with_signed_url::run(agent, arguments(1)?).await)
        }
        Method::GetTask => value(get_task::run(agent, arguments(1)?).await),
        Method::CancelTask => value(cancel_task::run(agent, arguments(1)?).await),
        Method::ListDisk => value(list_disk::run(agent).await),
        Method::MountDisk => value(mount_disk::run(agent, arguments(1)?).await),
        Method::UnmountDisk => value(unmount_disk::run(agent, arguments(1)?).await),
        Method::MigrateDisk => value(migrate_disk::run(agent).await),
        Method::AddPersistentDisk => value(add_persistent_disk::run(agent, arguments(2)?).await),
        Method::RemovePersistentDisk => {
            value(remove_persistent_disk::run(agent, arguments(1)?).await)
        }
        Method::AddDynamicDisk => value(add_dynamic_disk::run(agent, arguments(2)?).await),
        Method::RemoveDynamicDisk => value(remove_dynamic_disk::run(agent, arguments(1)?).await),
        Method::FetchLogs => value(fetch_logs::run(agent, arguments(2)?).await),
        Method::FetchLogsWithSignedUrl => {
            value(fetch_logs_with_signed_url::run(agent, arguments(1)?).await)
        }
        Method::BundleLogs => value(bundle_logs::run(agent, arguments(1)?).await),
        Method::Ssh => value(ssh::run(agent, arguments(2)?).await),
        Method::SyncDns => value(sync_dns::run(agent, arguments(3)?).await),
        Method::SyncDnsWithSignedUrl => {
            value(sync_dns_with_signed_url::run(agent, arguments(1)?).await)
        }
        Method::UpdateSettings => value(update_settings::run(agent, arguments(1)?).await),
        Method::UploadBlob => value(upload_blob::run(agent, arguments(1)?).await),
        Method::Shutdown => value(shutdown::run(agent).await),
        Method::PrepareNetworkChange => value(prepare_network_change::run(agent).await),
        Method::PrepareConfigureNetworks => value(prepare_configure_networks::run(agent).await),
        Method::ConfigureNetworks => value(configure_networks::run(agent).await),
        Method::ReleaseApplySpec => value(release_apply_spec::run(agent).await),
        Method::RemoveFile => value(remove_file::run(arguments(1)?).await),
        Method::DeleteArpEntries => value(delete_arp_entries::run(agent, arguments(1)?).await),
    }
}

fn value<T: Serialize>(result: Result<T, Error>) -> Result<Value, Error> {
    serde_json::to_value(result?).map_err(|error| Error::Other(Box::new(error)))
}
