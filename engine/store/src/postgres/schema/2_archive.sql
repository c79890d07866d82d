-- What is old may leave the journal once it is in a file.

-- Where the `archived` entries are, each telling of one file; every entry up to its `last` is in a file.
CREATE TABLE segment (record BIGINT PRIMARY KEY, last BIGINT NOT NULL UNIQUE);

-- Still nothing is deleted that is not in a file, or that is needed: whoever asks.
CREATE FUNCTION refuse_deletion() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF old.seq > (SELECT coalesce(max(last), 0) FROM segment)
    OR old.kind = 'archived'
    OR EXISTS (SELECT 1 FROM incident WHERE id = old.incident AND closed_seq IS NULL)
  THEN RAISE EXCEPTION 'the journal is append-only';
  END IF;
  RETURN old;
END $$;
CREATE FUNCTION refuse_removal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF old.seq > (SELECT coalesce(max(last), 0) FROM segment)
    OR EXISTS (SELECT 1 FROM pending WHERE seq = old.seq)
  THEN RAISE EXCEPTION 'a delivery is kept until it is archived';
  END IF;
  RETURN old;
END $$;
DROP TRIGGER entry_is_never_changed ON entry;
CREATE TRIGGER entry_is_never_changed BEFORE UPDATE ON entry
  FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER entry_is_deleted_when_archived BEFORE DELETE ON entry
  FOR EACH ROW EXECUTE FUNCTION refuse_deletion();
CREATE TRIGGER delivery_is_deleted_when_archived BEFORE DELETE ON delivery
  FOR EACH ROW EXECUTE FUNCTION refuse_removal();
