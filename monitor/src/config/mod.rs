//! `health_monitor.yml`. Source: upstream's bosh-monitor/config.rb and jobs/health_monitor/templates.

mod own;
mod raw;
mod resolved;

pub use own::{Login, Own};
pub use raw::{DirectorOptions, PluginOptions};
pub use resolved::{Config, Error, Intervals, Mbus, Plugin, Spool};
