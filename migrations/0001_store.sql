-- The catalogue of the sealed log. Every blob but the ranges and hashes of a commit is sealed; see src/store/.
CREATE TABLE store (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  format INTEGER NOT NULL,
  store_id BLOB NOT NULL
) STRICT;

CREATE TABLE data_keys (
  key_id INTEGER PRIMARY KEY,
  provider TEXT NOT NULL,
  wrapped BLOB NOT NULL,
  key_check BLOB NOT NULL
) STRICT;

CREATE TABLE secrets (
  name TEXT PRIMARY KEY,
  sealed BLOB NOT NULL
) STRICT;

CREATE TABLE streams (
  stream_id INTEGER PRIMARY KEY,
  sealed BLOB NOT NULL
) STRICT;

CREATE TABLE contracts (
  contract_id INTEGER PRIMARY KEY,
  sealed BLOB NOT NULL
) STRICT;

-- The tail: commits that are not compacted yet, one row each.
CREATE TABLE commits (
  commit_no INTEGER PRIMARY KEY,
  known_time INTEGER NOT NULL,
  ranges BLOB NOT NULL,
  leaf BLOB NOT NULL,
  record BLOB NOT NULL
) STRICT;

CREATE TABLE segments (
  segment_id INTEGER PRIMARY KEY,
  file TEXT NOT NULL UNIQUE,
  sealed BLOB NOT NULL
) STRICT;

-- What the compacted commits add up to. The tail is folded onto it.
CREATE TABLE state (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  generation INTEGER NOT NULL,
  sealed BLOB NOT NULL
) STRICT;
