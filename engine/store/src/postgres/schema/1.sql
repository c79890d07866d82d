-- Version 1. Instants are microseconds since 1970 UTC; places are those of the journal, from 1.
-- Texts that are looked up are compared byte by byte, whatever the database's language.

-- The end of the journal. Whoever writes locks this one row until the commit, so entries become
-- visible in the order of their places.
CREATE TABLE head (
  id SMALLINT PRIMARY KEY CHECK (id = 1),
  seq BIGINT NOT NULL,
  hash BYTEA NOT NULL
);

-- The journal itself. `text` is the canonical JSON that `hash` seals; the other columns are copies
-- out of it by which it is found.
CREATE TABLE entry (
  seq BIGINT PRIMARY KEY,
  at BIGINT NOT NULL,
  kind TEXT COLLATE "C" NOT NULL,
  incident TEXT COLLATE "C",
  alarm TEXT COLLATE "C",
  ledger BOOLEAN NOT NULL,
  text TEXT COLLATE "C" NOT NULL,
  prev BYTEA NOT NULL,
  hash BYTEA NOT NULL
);
CREATE INDEX entry_incident ON entry (incident, seq) WHERE incident IS NOT NULL;
CREATE INDEX entry_alarm ON entry (alarm, seq) WHERE alarm IS NOT NULL;
CREATE INDEX entry_ledger ON entry (seq) WHERE ledger;

-- Deliveries as they were received. `seq` is the place of their `received` entry.
CREATE TABLE delivery (
  seq BIGINT PRIMARY KEY,
  source TEXT COLLATE "C" NOT NULL,
  message TEXT COLLATE "C" NOT NULL,
  sender TEXT COLLATE "C" NOT NULL,
  received_at BIGINT NOT NULL,
  headers TEXT COLLATE "C" NOT NULL,
  body BYTEA NOT NULL,
  UNIQUE (source, message)
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'the journal is append-only'; END $$;
CREATE TRIGGER entry_is_never_changed BEFORE UPDATE OR DELETE ON entry
  FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER delivery_is_never_changed BEFORE UPDATE ON delivery
  FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- Deliveries that no entry has decided yet: apart, so that deciding does not rewrite a body.
CREATE TABLE pending (seq BIGINT PRIMARY KEY);

CREATE TABLE incident (
  id TEXT COLLATE "C" PRIMARY KEY,
  alarm TEXT COLLATE "C" NOT NULL,
  opened_seq BIGINT NOT NULL,
  closed_seq BIGINT
);
CREATE INDEX incident_open ON incident (id) WHERE closed_seq IS NULL;

CREATE TABLE reader (name TEXT COLLATE "C" PRIMARY KEY, at BIGINT NOT NULL);

CREATE TABLE memo (
  reader TEXT COLLATE "C" NOT NULL,
  key TEXT COLLATE "C" NOT NULL,
  value TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (reader, key)
);
