//! Links: what jobs offer to each other and want of each other, across groups and deployments.
//!
//! [`resolve`] matches every link that a job consumes with one provider, and yields what `link('x')` in a
//! template sees. Pure: links of other deployments are handed in as [`External`].
//!
//! - [`model`] is what is kept;
//! - `offers` and `wants` read manifest and job specs;
//! - `resolve` brings them together.
//!
//! Upstream: links/links_parser.rb, links_manager.rb, link_{providers,consumers}_parser.rb.

pub mod model;
mod offers;
mod resolve;
mod wants;

pub use model::{Consumer, External, Found, Others, Provider, Resolved};
pub use resolve::{choose_addresses, resolve};
