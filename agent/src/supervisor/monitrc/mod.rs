//! monit 5.2.5's control files: text in, validated model out.
//!
//! - `lex.rs` cuts a file into tokens, dropping monit's noise words (`with`, `is`, `program`, ...);
//! - `parse.rs`, `set.rs`, `mail.rs`, `tests.rs` and `connect.rs` are a recursive descent over the tokens: services, settings,
//!   mail alerts, the `if` in services and connection tests; `words.rs` are monit's keywords;
//! - `model.rs` is what comes out;
//! - `load.rs` expands patterns and `include`, joins the files and checks what spans services (names, dependencies).
//!
//! The grammar is monit's own (its manual, section "The Monit control file"); a parser generator was rejected because its
//! errors do not say what was expected.

mod connect;
mod lex;
mod load;
mod mail;
mod model;
mod parse;
mod set;
mod tests;
mod words;

pub use load::{LoadResult, load, load_text};
pub use mail::{Mail, MailFormat, MailServer, Recipient};
pub use model::{
    Account, ApacheLimit, Check, Condition, Config, Connect, Effect, Endpoint, Exchange, Find,
    HashKind, Httpd, HttpdAllow, Kind, Location, Mode, Operator, Program, Protocol, Rate, Reaction,
    ResourceKind, ResourceLimit, RestartLimit, Service, Settings, Step, Transport, UrlContent,
    Verb, Watchdog,
};

use std::path::PathBuf;

/// Why a control file is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A token that does not belong there.
    #[error("{}:{line}: expected {expected}, found {found}", file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// From 1.
        line: usize,
        /// What could have stood there.
        expected: String,
        /// What stood there.
        found: String,
    },
    /// Well-formed, but not possible.
    #[error("{}:{line}: {problem}", file.display())]
    Invalid {
        /// The file.
        file: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// The file cannot be read.
    #[error("read {}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

#[cfg(test)]
mod grammar_tests;
