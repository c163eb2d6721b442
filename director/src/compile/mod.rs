//! Compilation: packages become what instances install, on VMs that exist for nothing else.
//!
//! - [`Requirements`] says what has to be there compiled, what is, and in which order the rest comes; pure
//! - [`dependency_key`] is what a package was compiled against, as one string
//! - [`run`] compiles what is missing, on as many VMs as the cloud config allows ([`vms`])
//!
//! Upstream: deployment_plan/stages/package_compile_stage.rb, deployment_plan/compilation_instance_pool.rb.

mod key;
mod package;
mod requirements;
mod run;
mod vms;

pub use key::dependency_key;
pub use requirements::{Requirement, Requirements, package_ids};
pub(crate) use run::find;
pub use run::{run, table};

use bosh_director_api::Code;

/// Why packages cannot be compiled.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither source nor anything compiled for these stemcells.
    #[error("{0}")]
    MissingSource(String),
}

impl From<Error> for crate::tasks::Error {
    fn from(error: Error) -> Self {
        Self::because(Code::PackageMissingSourceCode.number(), error)
    }
}
