-- Several instances share the journal.

-- Who writes here. `number` is never given twice. Both instants are the database's: since when an
-- instance has been heard without a gap, and until when it is believed to live.
CREATE TABLE instance (
  number BIGINT PRIMARY KEY,
  name TEXT COLLATE "C" NOT NULL,
  version TEXT COLLATE "C" NOT NULL,
  since TIMESTAMPTZ NOT NULL,
  until TIMESTAMPTZ NOT NULL
);
-- Nobody: has what was written before, and what was given up.
INSERT INTO instance (number, name, version, since, until)
  VALUES (0, 'nobody', '', '1970-01-01 00:00:00+00', '1970-01-01 00:00:00+00');

-- The last number given, and the oldest version that a program must know to write here.
ALTER TABLE head ADD COLUMN instances BIGINT NOT NULL DEFAULT 0;
ALTER TABLE head ADD COLUMN oldest BIGINT NOT NULL DEFAULT 3;

-- Who wrote an entry; not part of what is sealed.
ALTER TABLE entry ADD COLUMN writer BIGINT NOT NULL DEFAULT 0;

-- Who is to decide a delivery as long as it lives.
ALTER TABLE pending ADD COLUMN receiver BIGINT NOT NULL DEFAULT 0;
CREATE INDEX pending_receiver ON pending (receiver, seq);

-- Who works on an incident.
ALTER TABLE incident ADD COLUMN holder BIGINT NOT NULL DEFAULT 0;
CREATE INDEX incident_held ON incident (holder, id) WHERE closed_seq IS NULL;

-- Work that one instance at a time does, such as a reader's.
CREATE TABLE post (name TEXT COLLATE "C" PRIMARY KEY, holder BIGINT NOT NULL);
