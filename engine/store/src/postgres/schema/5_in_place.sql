-- The few rows that every group, sync, beat or step of a reader changes. With room in their page a new version is put
-- beside the old one without touching an index, and whoever comes next clears away what is old before
-- it is a long way through it.
ALTER TABLE head SET (fillfactor = 10);
ALTER TABLE synced SET (fillfactor = 10);
ALTER TABLE instance SET (fillfactor = 10);
ALTER TABLE reader SET (fillfactor = 10);
