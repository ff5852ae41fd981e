//! Tasks of the house: tidy, layers, facts, bench.

fn main() {}
