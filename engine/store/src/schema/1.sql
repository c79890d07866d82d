-- Version 1. Instants are microseconds since 1970 UTC; places are those of the journal, from 1.

-- The journal itself. `text` is the canonical JSON that `hash` seals; the other columns are copies
-- out of it by which it is found.
CREATE TABLE entry (
  seq INTEGER PRIMARY KEY,
  at INTEGER NOT NULL,
  kind TEXT NOT NULL,
  incident TEXT,
  alarm TEXT,
  ledger INTEGER NOT NULL,
  text TEXT NOT NULL,
  prev BLOB NOT NULL,
  hash BLOB NOT NULL
) STRICT;
CREATE INDEX entry_incident ON entry (incident, seq) WHERE incident IS NOT NULL;
CREATE INDEX entry_alarm ON entry (alarm, seq) WHERE alarm IS NOT NULL;
CREATE INDEX entry_ledger ON entry (seq) WHERE ledger = 1;

CREATE TRIGGER entry_is_never_changed BEFORE UPDATE ON entry
BEGIN SELECT raise(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER entry_is_never_deleted BEFORE DELETE ON entry
BEGIN SELECT raise(ABORT, 'the journal is append-only'); END;

-- Deliveries as they were received. `seq` is the place of their `received` entry.
CREATE TABLE delivery (
  seq INTEGER PRIMARY KEY,
  source TEXT NOT NULL,
  message TEXT NOT NULL,
  sender TEXT NOT NULL,
  received_at INTEGER NOT NULL,
  headers TEXT NOT NULL,
  body BLOB NOT NULL,
  UNIQUE (source, message)
) STRICT;
CREATE TRIGGER delivery_is_never_changed BEFORE UPDATE ON delivery
BEGIN SELECT raise(ABORT, 'a delivery is kept as it was received'); END;

-- Deliveries that no entry has decided yet: apart, so that deciding does not rewrite a body.
CREATE TABLE pending (seq INTEGER PRIMARY KEY) STRICT;

CREATE TABLE incident (
  id TEXT PRIMARY KEY,
  alarm TEXT NOT NULL,
  opened_seq INTEGER NOT NULL,
  closed_seq INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX incident_open ON incident (id) WHERE closed_seq IS NULL;

CREATE TABLE reader (name TEXT PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE memo (
  reader TEXT NOT NULL,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (reader, key)
) STRICT, WITHOUT ROWID;
