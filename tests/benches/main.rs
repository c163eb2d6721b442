//! `make bench`: the table of design.md, each row beside its target, on the screen and in `target/bench.json`.
//!
//! `bench [PART]` runs one of `agent`, `monitor`, `director`. Nothing here asserts a speed: a slow row is a row.
//!
//! - `table`: the rows;
//! - `agent`, `services`, `install`: the agent's rows, the job it supervises, the package it installs;
//! - `peer`: the agent as a supervisor alone, beside monit itself;
//! - `monitor`: the health monitor's rows;
//! - `director`, `site`, `cargo`, `cpi`: the director's rows, a director to measure, what is uploaded to it, and a CPI of
//!   almost no cost, which is this program under another name;
//! - `blobs`: a web server for agents, tarballs.

mod agent;
mod blobs;
mod cargo;
mod cpi;
mod director;
mod install;
mod monitor;
mod peer;
mod services;
mod site;
mod table;

use std::path::Path;

use anyhow::{bail, ensure};
use bosh_tests::paths;
use table::Table;

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args_os();
    let program = args.next().unwrap_or_default();
    if Path::new(&program).file_name() == Some(cpi::NAME.as_ref()) {
        return cpi::main(args);
    }
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(bench(std::env::args().nth(1)))
}

async fn bench(only: Option<String>) -> anyhow::Result<()> {
    let wanted = |part: &str| only.as_deref().is_none_or(|only| only == part);
    if let Some(only) = &only
        && !["agent", "monitor", "director"].contains(&only.as_str())
    {
        bail!("there is no part {only:?}; expected agent, monitor or director");
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut table = Table::default();
    // A part that cannot be measured does not take the others' rows with it.
    let mut failed = Vec::new();
    if wanted("agent")
        && let Err(error) = agent::measure(&mut table).await
    {
        failed.push(format!("agent: {error:#}"));
    }
    if wanted("monitor")
        && let Err(error) = monitor::measure(&mut table).await
    {
        failed.push(format!("monitor: {error:#}"));
    }
    if wanted("director")
        && let Err(error) = director::measure(&mut table).await
    {
        failed.push(format!("director: {error:#}"));
    }
    table.print();
    table.write(&paths::checkout().join("target/bench.json"))?;
    ensure!(
        failed.is_empty(),
        "not measured to the end: {}",
        failed.join("; ")
    );
    Ok(())
}
