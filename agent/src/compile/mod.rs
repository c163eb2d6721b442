//! Package compilation: `compile_package` and `compile_package_with_signed_url`.
//!
//! | module | what |
//! |---|---|
//! | [`Compiler`] | fetch source and dependencies, run `packaging`, upload the result |
//! | [`packaging`] | running the script: its environment, its log files, its end |

mod compiler;
mod error;
pub mod packaging;

pub use compiler::{Compiled, Compiler, Dependency, Package};
pub use error::Error;
