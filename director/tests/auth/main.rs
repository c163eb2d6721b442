//! Who may do what: every route without credentials, with the wrong role and with the right one; logins that fail;
//! tokens; teams; the audit log.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod audit;
#[path = "../database/any.rs"]
mod database;
mod logins;
mod proxy;
mod routes;
#[path = "../http/support.rs"]
#[expect(dead_code, reason = "the tests of the HTTP interface need more of it")]
mod support;
mod teams;
mod tokens;
