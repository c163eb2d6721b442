//! Who asks, and what they may.
//!
//! - `Gate` is around every endpoint: it finds out who asks ([`Users`](local::Users) or [`Tokens`](uaa::Tokens)),
//!   slows guessing down ([`Throttle`](throttle::Throttle)) and writes the audit log
//! - [`User`] is someone who proved who they are, with their scopes
//! - [`Permission`] is what an endpoint needs, and which scopes give it
//!
//! Upstream: api/local_identity_provider.rb, api/uaa_identity_provider.rb, permission_authorizer.rb,
//! api/extensions/request_logger.rb.

mod gate;
mod key;
mod local;
mod permission;
mod throttle;
mod uaa;
mod user;

pub(super) use gate::{Gate, guard};
pub(super) use permission::Permission;
pub(super) use user::{Asking, User};
