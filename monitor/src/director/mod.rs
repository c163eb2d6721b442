//! Asks the director, as a local user or with a token of its UAA.

mod client;
mod uaa;

pub use client::{Director, Error};
pub use uaa::Error as UaaError;
