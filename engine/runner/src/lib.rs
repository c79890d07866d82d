//! Permit to calls to entries; verification and recovery.
