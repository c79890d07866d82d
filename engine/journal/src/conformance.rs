//! What every store must do, as checks that a store's own tests call with a fresh journal.
