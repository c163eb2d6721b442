//! Every plugin against a listener that speaks its protocol, through the dispatcher and as the configuration file asks for
//! it; and what happens to the others, and to its alerts, when a target hangs, refuses, resets or fails.

mod chat_and_http;
mod configuration;
mod email;
mod faults;
mod json;
mod pace;
mod spool;
mod streams;
mod support;
