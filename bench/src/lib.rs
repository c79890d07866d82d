//! Benchmarks; one command prints a table.
