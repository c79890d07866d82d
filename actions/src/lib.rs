//! The action catalogue and the ports it goes through.
