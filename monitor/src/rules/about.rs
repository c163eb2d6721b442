//! Alerts about what the monitor itself stands on.

use crate::event::Alert;

/// The key of [`bus`].
pub const BUS: &str = "bus/disconnected";

/// The director cannot be asked. Source: upstream's runner.rb (`alert_director_error`).
pub fn director(reason: String, wall: i64) -> Alert {
    Alert {
        summary: reason,
        source: Some("hm".to_owned()),
        key: Some("director/unreachable".to_owned()),
        ..Alert::new(3, "Health monitor failed to connect to director", wall)
    }
}

/// The bus is gone, and with it every agent's voice. Upstream's monitor ends itself instead.
pub fn bus(wall: i64) -> Alert {
    let summary = "No agent can be heard until it is back. Their silence does not count.";
    Alert {
        summary: summary.to_owned(),
        source: Some("hm".to_owned()),
        key: Some(BUS.to_owned()),
        ..Alert::new(2, "Health monitor lost its connection to NATS", wall)
    }
}
