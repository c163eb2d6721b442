//! `logger`: events into the monitor's own log. Source: upstream's plugins/logger.rb.

use std::sync::Arc;

use async_trait::async_trait;
use serde_yaml_ng::Mapping;

use super::target::{Failure, Manner, Target};
use crate::event::{Alert, Heartbeat};

pub(super) struct Logger {
    json: bool,
}

/// Upstream takes no options at all, or `format: json` and whatever else.
pub(super) fn new(options: Mapping) -> Result<(Logger, Manner), String> {
    let json = match options.get("format").map(serde_yaml_ng::Value::as_str) {
        Some(Some("json")) => true,
        Some(_) => return Err("format: expected json".to_owned()),
        None if options.is_empty() => false,
        None => return Err("format: expected json, or no options at all".to_owned()),
    };
    let manner = Manner {
        // What the log is written to is no worse a place than the spool.
        durable: false,
        ..Manner::default()
    };
    Ok((Logger { json }, manner))
}

#[async_trait]
impl Target for Logger {
    async fn alerts(&mut self, alerts: &[Arc<Alert>]) -> Result<(), Failure> {
        for alert in alerts {
            match self.json {
                true => tracing::info!("{}", alert.to_hash()),
                false => tracing::info!("[ALERT] {alert}"),
            }
        }
        Ok(())
    }

    async fn heartbeats(&mut self, heartbeats: &[Arc<Heartbeat>]) -> Result<(), Failure> {
        for heartbeat in heartbeats {
            match self.json {
                true => tracing::info!("{}", heartbeat.to_json()),
                false => tracing::info!("[HEARTBEAT] {heartbeat}"),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_those_that_upstream_takes() {
        let new =
            |text: &str| new(serde_yaml_ng::from_str(text).unwrap()).map(|(logger, _)| logger.json);
        assert_eq!(new("{}"), Ok(false));
        assert_eq!(new("{format: json}"), Ok(true));
        assert_eq!(new("{format: json, more: x}"), Ok(true));
        assert!(
            new("{format: blargh}")
                .unwrap_err()
                .starts_with("format: expected json")
        );
        assert!(new("{foofoo: {}}").is_err());
    }
}
