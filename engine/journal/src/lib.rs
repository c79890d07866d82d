//! The append-only record: the trait, the one in memory, and the conformance suite every store passes.
