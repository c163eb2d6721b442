//! The `bosh-local-cpi` program.

fn main() {}
