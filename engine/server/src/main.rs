//! The untoil binary.

fn main() {}
