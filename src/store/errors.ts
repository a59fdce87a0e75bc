import { errorTable } from "../base/errors.ts";

export const storeErrors = errorTable("store", {
  stale_writer: {
    kind: "conflict",
    meaning: "A commit expected a cursor or reader position that has since moved: another writer went on from there.",
    fix: "Read the position again and go on from it; nothing of the refused commit was written.",
    retryable: true,
  },
  bad_position: {
    kind: "invalid",
    meaning: "A reader's position is no commit number: a whole number from 0 on.",
    fix: "Commit the number of the last commit that the reader has folded; nothing of this commit was written.",
  },
  beyond_head: {
    kind: "conflict",
    meaning:
      "A position to go on reading from is later than the log: it is of another store, or this one was rolled back.",
    fix: "Find out which (`mlpe audit verify --checkpoint`), then begin again without a position, or go on from an earlier one.",
  },
  interrupted: {
    kind: "unavailable",
    meaning: "The server stops: an erasure or a rotation of keys was left at a safe point.",
    fix: "Start the server again: it goes on with it by itself, and says in its log when it is done.",
  },
  closed: { kind: "unavailable", meaning: "The store is closed.", fix: "Start MLPE again on this data directory." },
  locked: {
    kind: "unavailable",
    meaning: "Another process has this data directory open for writing.",
    fix: "Stop that process, or use another data directory. Commands that only read may run beside a running server, and so may `mlpe views export`, `mlpe score`, `mlpe drift`, `mlpe erase`, `mlpe retain`, `mlpe keys rotate`, `mlpe keys rewrap` and deployments, which ask it.",
  },
  unfinished_restore: {
    kind: "conflict",
    meaning: "A restore into this directory was killed before it was done, or is at it now.",
    fix: "Run `mlpe restore` again: it begins anew.",
  },
  read_only_directory: {
    kind: "unavailable",
    meaning: "The data directory can't be written, and what was asked for needs that.",
    fix: "Copy the directory to where this user may write, and name the copy with --data.",
  },
  read_only: {
    kind: "refused",
    meaning: "The store was opened for reading only.",
    fix: "Open it for writing, with no other writer running.",
  },
  not_a_store: {
    kind: "missing",
    meaning: "The directory holds no MLPE store.",
    fix: "Name the data directory of a project that has run before, or run `mlpe run` to make one.",
  },
  newer_format: {
    kind: "unsupported",
    meaning: "The store was written by a later version of MLPE, or its migrations were altered.",
    fix: "Use the version of MLPE that wrote it, or a later one.",
  },
  damaged: {
    kind: "damaged",
    meaning: "Stored bytes are not what was written.",
    fix: "Restore the data directory from a backup; `mlpe audit verify` lists everything that is damaged.",
  },
  failed_fold: {
    kind: "unavailable",
    meaning: "A fold of the log could not be saved; nothing that was committed is lost.",
    fix: "Look at the disk's space and health; it is tried again, and without it the next start takes longer.",
    retryable: true,
  },
  too_many_files: {
    kind: "unavailable",
    meaning: "The operating system lets this process have no more files open.",
    fix: "Raise the limit (`ulimit -n`, or LimitNOFILE of the service). Nothing is damaged by that.",
    retryable: true,
  },
  overtaken: {
    kind: "unavailable",
    meaning: "Segments were merged or rewritten faster than a reader beside the server could open them.",
    fix: "Run the command again, on a machine with less to do or while the server is stopped. Nothing is damaged by that.",
    retryable: true,
  },
  rekeyed: {
    kind: "unavailable",
    meaning: "The store got new data keys since it was opened here.",
    fix: "Run the command again: it then opens the store with its new keys.",
    retryable: true,
  },
  writer_ended: {
    kind: "unavailable",
    meaning: "The thread that writes the log is gone: nothing can be committed any more.",
    fix: "Start MLPE again: what was acknowledged is in the log. The log lines before say why the thread ended.",
  },
  compaction_ended: {
    kind: "unavailable",
    meaning: "The thread that compacts the log ended while it was at work: nothing is lost, and the tail is as it was.",
    fix: "It is started again by itself; the log lines before say why it ended.",
    retryable: true,
  },
  failed_write: {
    kind: "unavailable",
    meaning: "The operating system refused a write to the data directory.",
    fix: "Free space on the disk and check that the directory is writable; nothing of the commit was written.",
    retryable: true,
  },
  full: {
    kind: "unavailable",
    meaning: "The disk of the data directory is full, or below `space.hard`: nothing of the commit was written.",
    fix: "Free space on that disk, or lower `space.hard`; MLPE goes on by itself once there is room.",
    retryable: true,
  },
  too_large: {
    kind: "too_large",
    meaning: "One commit is larger than the log takes.",
    fix: "Commit fewer rows at once.",
  },
  old_engine: {
    kind: "unsupported",
    meaning: "The SQLite inside this program is too old to be trusted with the log.",
    fix: "Use a build of MLPE with SQLite 3.51.3 or later.",
  },
  query_invalid: {
    kind: "invalid",
    meaning: "A query is not SQL that SQLite understands, or names a column that is not there.",
    fix: "Correct the query.",
  },
  query_refused: {
    kind: "refused",
    meaning: "A query is something else than one SELECT over the stored streams.",
    fix: "Write one SELECT; nothing can be changed through a query.",
  },
  unknown_table: {
    kind: "missing",
    meaning: "A query names a table that is no stream of the store.",
    fix: "Name one of the tables that the message lists.",
  },
  query_too_large: {
    kind: "too_large",
    meaning: "A query reads or gives more rows, or needs more memory, than the limit.",
    fix: "Add conditions or a LIMIT, or raise the limit.",
  },
  query_too_long: {
    kind: "too_large",
    meaning: "A query takes longer than the limit.",
    fix: "Add conditions, or raise the limit.",
  },
  query_ended: {
    kind: "internal",
    meaning: "The thread that answers a query is gone.",
    fix: "Run the query again; if it ends again, report it with the query.",
  },
  nothing_to_erase: {
    kind: "refused",
    meaning: "Nothing is stored of the entity that is to be erased, so its name may be mistaken.",
    fix: "Check the field and its value; --receipt tells of an erasure that was done. With --ahead it is recorded all the same: rows of it that come later are dropped.",
  },
  not_erased: {
    kind: "missing",
    meaning: "The log tells of no erasure of that entity.",
    fix: "Name it by the same fields and values as the erasure did, or erase it.",
  },
  unknown_stream: {
    kind: "missing",
    meaning: "There is no stream of that name in the store.",
    fix: "Name one of the streams that the message lists.",
  },
  export_refused: {
    kind: "invalid",
    meaning: "The rows of a stream can't be one table as asked.",
    fix: "Name other columns or bounds.",
  },
  export_too_large: {
    kind: "too_large",
    meaning: "The stream has more records than the latest version can be found of at once.",
    fix: "Export with --versions, which needs no memory for it, and take the greatest _sequence of each record id.",
  },
  backup_failed: {
    kind: "unavailable",
    meaning: "A backup or a restored directory can't be written, or what it copies can't be read.",
    fix: "Name a place that exists, that this user may write to, with space for a copy of the data directory.",
  },
  bad_backup: {
    kind: "damaged",
    meaning: "A file is no backup, or not what was written; nothing was restored.",
    fix: "Take another copy of the backup.",
  },
  not_empty: {
    kind: "refused",
    meaning: "The directory to restore into holds something.",
    fix: "Name a directory that is empty or not there; nothing is ever restored over other data.",
  },
});
