//! bosh-director

pub mod db;
pub mod deploy;
pub mod links;
pub mod manifest;
pub mod template;
pub mod variables;
