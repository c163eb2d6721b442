//! The `bosh-stemcell-builder` program.

fn main() {}
