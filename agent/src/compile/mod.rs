//! Package compilation: `compile_package` and `compile_package_with_signed_url`.
//!
//! | module | what |
//! |---|---|
//! | [`Compiler`] | fetch source and dependencies, run `packaging`, upload the result |
//! | [`release`] | `bosh-agent compile`: all packages of a release's tarball |
//! | [`packaging`] | running the script: its environment, its log files, its end |

mod compiler;
mod error;
pub mod packaging;
pub mod release;

pub use compiler::{Compiled, Compiler, Dependency, Package};
pub use error::Error;
