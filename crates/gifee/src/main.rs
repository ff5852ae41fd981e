//! The gifee binary.

fn main() {}
