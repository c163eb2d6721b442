//! The `bosh-agent-fake` program.

fn main() {}
