//! The file as written. Upstream's file carries keys of other versions and plugins: unknown ones are tolerated.

use serde::Deserialize;
use serde_yaml_ng::Value;

#[derive(Deserialize)]
pub(super) struct File {
    pub(super) http: Option<Http>,
    pub(super) mbus: Mbus,
    pub(super) director: DirectorOptions,
    #[serde(default)]
    pub(super) intervals: Intervals,
    pub(super) logfile: Option<String>,
    pub(super) loglevel: Option<String>,
    pub(super) plugins: Option<Vec<Plugin>>,
    pub(super) spool: Option<Spool>,
}

/// Ours: upstream keeps nothing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Spool {
    pub(super) dir: Option<String>,
    pub(super) max_alerts: Option<usize>,
    pub(super) max_bytes: Option<u64>,
    pub(super) max_age: Option<f64>,
}

#[derive(Deserialize)]
pub(super) struct Http {
    pub(super) port: Option<u16>,
}

#[derive(Deserialize)]
pub(super) struct Mbus {
    pub(super) endpoint: String,
    pub(super) server_ca_path: String,
    pub(super) client_certificate_path: String,
    pub(super) client_private_key_path: String,
    pub(super) connection_wait_timeout: Option<f64>,
}

/// How the director is reached; also inside the options of the plugins that call it.
#[derive(Clone, Deserialize)]
pub struct DirectorOptions {
    /// Its URL.
    pub endpoint: String,
    /// A local user, where the director has local users.
    pub user: Option<String>,
    /// That user's password.
    pub password: Option<String>,
    /// A UAA client, where the director trusts a UAA.
    pub client_id: Option<String>,
    /// That client's secret.
    pub client_secret: Option<String>,
    /// A PEM file; the machine's own roots where it is absent or empty.
    pub director_ca_cert: Option<String>,
    /// A PEM file for the UAA; the director's where it is absent or empty.
    pub uaa_ca_cert: Option<String>,
    /// The PEM key that the UAA signs tokens with; they are not checked where it is absent or empty.
    pub uaa_public_key: Option<String>,
}

#[derive(Default, Deserialize)]
pub(super) struct Intervals {
    pub(super) prune_events: Option<f64>,
    pub(super) poll_director: Option<f64>,
    pub(super) poll_grace_period: Option<f64>,
    pub(super) log_stats: Option<f64>,
    pub(super) analyze_agents: Option<f64>,
    pub(super) analyze_instances: Option<f64>,
    pub(super) agent_timeout: Option<f64>,
    pub(super) rogue_agent_alert: Option<f64>,
    pub(super) resurrection_config: Option<f64>,
}

#[derive(Deserialize)]
pub(super) struct Plugin {
    pub(super) name: String,
    pub(super) events: Option<Vec<String>>,
    pub(super) options: Option<PluginOptions>,
    /// This and what follows is ours; `notify` reads it.
    pub(super) id: Option<String>,
    pub(super) filter: Option<Value>,
    pub(super) group: Option<Value>,
    pub(super) limit: Option<Value>,
    pub(super) repeat: Option<f64>,
    pub(super) recovery: Option<bool>,
}

/// A plugin's options, which the plugin itself reads.
pub type PluginOptions = Value;
