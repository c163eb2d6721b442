//! The `bosh-monitor` program.

fn main() {}
