-- Who gives up the lock of `head` before its commit is on the disk changes its own row here afterwards,
-- in a commit that waits for the disk: what stands before it is on the disk then, too. The row with an
-- instance's number is for the connection that writes, the one with its negative for its others.
CREATE TABLE synced (instance BIGINT PRIMARY KEY, seq BIGINT NOT NULL);
