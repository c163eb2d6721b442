//! `make bench`: the table of design.md, each row beside its target, on the screen and in `target/bench.json`.
//!
//! `bench [PART]` runs one of `agent`, `monitor`, `director`. Nothing here asserts a speed: a slow row is a row.

mod agent;
mod director;
mod monitor;
mod table;

use anyhow::bail;
use bosh_tests::paths;
use table::Table;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let only = std::env::args().nth(1);
    let wanted = |part: &str| only.as_deref().is_none_or(|only| only == part);
    if let Some(only) = &only
        && !["agent", "monitor", "director"].contains(&only.as_str())
    {
        bail!("there is no part {only:?}; expected agent, monitor or director");
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut table = Table::default();
    if wanted("agent") {
        agent::measure(&mut table).await?;
    }
    if wanted("monitor") {
        monitor::measure(&mut table).await?;
    }
    if wanted("director") {
        director::measure(&mut table).await?;
    }
    table.print();
    table.write(&paths::checkout().join("target/bench.json"))
}
