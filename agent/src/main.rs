//! The `bosh-agent` program.

fn main() {}
