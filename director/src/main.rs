//! The `bosh-director` program.

fn main() {}
