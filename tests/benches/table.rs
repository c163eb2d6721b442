//! Rows beside their targets.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

/// Which way is up.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Better {
    Lower,
    Higher,
}

/// One measured number.
#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    pub(crate) target: f64,
    pub(crate) better: Better,
    /// What it is measured against: upstream's figure, or a peer in the same run.
    pub(crate) against: &'static str,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

impl Table {
    /// Adds a row and shows it at once.
    pub(crate) fn add(&mut self, row: Row) {
        println!("    {}: {}", row.name, number(row.value));
        self.rows.push(row);
    }

    /// Shows all rows.
    pub(crate) fn print(&self) {
        let width = self
            .rows
            .iter()
            .map(|row| row.name.len())
            .max()
            .unwrap_or_default();
        println!(
            "\n{:width$}  {:>12}  {:>12}  {:14} against",
            "what", "value", "target", "unit"
        );
        for row in &self.rows {
            let (sign, met) = match row.better {
                Better::Lower => ("<=", row.value <= row.target),
                Better::Higher => (">=", row.value >= row.target),
            };
            let target = format!("{sign} {}", number(row.target));
            let missed = if met { "" } else { "  MISSED" };
            println!(
                "{:width$}  {:>12}  {target:>12}  {:14} {}{missed}",
                row.name,
                number(row.value),
                row.unit,
                row.against
            );
        }
    }

    /// Writes all rows as a JSON list.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        std::fs::write(path, serde_json::to_string_pretty(&self.rows)?)
            .with_context(|| format!("writing {}", path.display()))
    }
}

/// The middle one, in seconds.
pub(crate) fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times
        .get(times.len() / 2)
        .copied()
        .unwrap_or_default()
        .as_secs_f64()
}

fn number(value: f64) -> String {
    match value {
        value if value >= 1000. => format!("{value:.0}"),
        value if value >= 10. => format!("{value:.1}"),
        value => format!("{value:.3}"),
    }
}
