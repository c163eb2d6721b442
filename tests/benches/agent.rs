//! The agent: what it weighs.

use bosh_tests::paths;

use crate::table::{Better, Row, Table};

pub(crate) async fn measure(table: &mut Table) -> anyhow::Result<()> {
    println!("==> agent");
    table.add(Row {
        name: "agent: static binary".into(),
        value: std::fs::metadata(paths::static_agent()?)?.len() as f64 / 1e6,
        unit: "MB",
        target: 7.,
        better: Better::Lower,
        against: "upstream 23.5 + monit 0.9",
    });
    Ok(())
}
