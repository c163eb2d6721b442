//! Heartbeats: as soon as there is a connection, every 30 seconds or as told, and at once when the state of the jobs changes.
//! Source: upstream agent/agent.go, whose first heartbeat leaves before there is a connection and is lost.

use std::sync::Arc;
use std::time::Duration;

use bosh_protocol::{Heartbeat, subject};
use tokio::time::MissedTickBehavior;

use crate::agent::Agent;
use crate::vitals;

/// As upstream, unless `env.bosh.agent.settings.heartbeat_interval` says otherwise; the health monitor calls an agent lost
/// after 60 seconds without one.
const INTERVAL: u32 = 30;

/// Sends heartbeats for ever.
pub async fn run(agent: Arc<Agent>) {
    let mut connections = agent.bus.connections();
    let mut changes = agent.supervisor.changes();
    let seconds = agent
        .settings
        .get()
        .env
        .bosh
        .agent
        .settings
        .heartbeat_interval
        .unwrap_or(INTERVAL)
        .max(1);
    let mut interval = tokio::time::interval(Duration::from_secs(seconds.into()));
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval.tick().await;
    let mut last_state = None;
    loop {
        let state = agent.supervisor.status().await;
        if agent.bus.is_connected() {
            send(&agent).await;
            last_state = Some(state);
        }
        // What changes without changing the aggregate is not worth a heartbeat.
        loop {
            tokio::select! {
                _ = interval.tick() => break,
                Ok(()) = connections.changed() => break,
                Ok(()) = changes.changed() => {
                    if last_state != Some(agent.supervisor.status().await) {
                        break;
                    }
                }
            }
        }
    }
}

async fn send(agent: &Agent) {
    match build(agent).await {
        Ok(heartbeat) => {
            let subject = subject::heartbeat(&agent.settings.get().agent_id);
            tracing::debug!(state = %heartbeat.job_state, "heartbeat");
            agent.bus.publish(subject, &heartbeat).await;
        }
        Err(error) => tracing::error!(
            error = &error as &dyn std::error::Error,
            "cannot take the heartbeat's vitals"
        ),
    }
}

async fn build(agent: &Agent) -> Result<Heartbeat, vitals::Error> {
    let spec = agent.spec.get();
    let processes = match agent.supervisor.processes().await {
        Ok(processes) => Some(processes.len() as u64),
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the supervisor does not say what it runs"
            );
            None
        }
    };
    Ok(Heartbeat {
        deployment: spec.deployment.clone(),
        job: spec.job.name.clone(),
        index: spec.index,
        job_state: agent.supervisor.status().await,
        vitals: agent.vitals.read(&*agent.platform).await?,
        node_id: spec.id.clone(),
        number_of_processes: processes,
    })
}
