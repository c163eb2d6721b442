//! A whole director on this machine, from nothing: `bosh-director micro --dir DIR`.
//!
//! - [`Options`] is what the command line says; [`State`] what was decided and is kept in DIR/micro.json, secrets included
//! - [`files`] writes everything under DIR from that: certificates, director.yml, health_monitor.yml, the CPI's files
//! - [`run`] starts it all; [`down`] removes what it left on this machine
//!
//! Everything lives under DIR, and is upstream's own kind of file: the same director can be run with
//! `bosh-director serve -c DIR/config/director.yml`.

mod down;
mod files;
mod machine;
mod options;
mod run;
mod state;

pub use down::down;
pub use options::{Options, Subnet};
pub use run::run;
pub use state::State;
