-- Data keys of one stream and period, sealed under the store's own data key.
CREATE TABLE stream_keys (
  key_id INTEGER PRIMARY KEY,
  sealed BLOB NOT NULL
) STRICT;

-- Saved folds, which spare a reader the history: deleting one costs time and never truth.
CREATE TABLE folds (
  fold_id INTEGER PRIMARY KEY,
  file TEXT NOT NULL UNIQUE,
  sealed BLOB NOT NULL
) STRICT;

-- What compaction did, newest last; bounded.
CREATE TABLE upkeep (
  upkeep_id INTEGER PRIMARY KEY,
  sealed BLOB NOT NULL
) STRICT;
