//! Reads the journal behind a cursor and tells people: Slack, or the terminal.
