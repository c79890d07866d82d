-- Version 2: what is old may leave the journal once it is in a file.

-- Where the `archived` entries are, each telling of one file; every entry up to its `last` is in a file.
CREATE TABLE segment (record INTEGER PRIMARY KEY, last INTEGER NOT NULL UNIQUE) STRICT;

-- Still nothing is deleted that is not in a file, or that is needed: whoever asks.
DROP TRIGGER entry_is_never_deleted;
CREATE TRIGGER entry_is_never_deleted BEFORE DELETE ON entry
WHEN old.seq > (SELECT coalesce(max(last), 0) FROM segment)
  OR old.kind = 'archived'
  OR EXISTS (SELECT 1 FROM incident WHERE id = old.incident AND closed_seq IS NULL)
BEGIN SELECT raise(ABORT, 'the journal is append-only'); END;

CREATE TRIGGER delivery_is_deleted_when_archived BEFORE DELETE ON delivery
WHEN old.seq > (SELECT coalesce(max(last), 0) FROM segment)
  OR EXISTS (SELECT 1 FROM pending WHERE seq = old.seq)
BEGIN SELECT raise(ABORT, 'a delivery is kept until it is archived'); END;
