//! Bytes to alarms: one file per source, and the signatures that prove who sent them.
