import type { Database } from "bun:sqlite";
import storeTables from "../../migrations/0001_store.sql" with { type: "text" };
import upkeepTables from "../../migrations/0002_upkeep.sql" with { type: "text" };
import { sha256Hex } from "../base/digest.ts";
import { storeErrors } from "./errors.ts";

export interface Migration {
  readonly number: number;
  readonly name: string;
  readonly sql: string;
}

/** Every migration, in order; numbers are gapless from 1 and a released one is never edited. */
export const migrations: readonly Migration[] = [
  { number: 1, name: "store", sql: storeTables },
  { number: 2, name: "upkeep", sql: upkeepTables },
];

/**
 * Brings the tables up to date in one transaction. Throws store.newer_format where the applied migrations are not a
 * beginning of ours: later, edited or reordered ones.
 */
export function migrate(database: Database, list: readonly Migration[] = migrations): void {
  database.run(
    "CREATE TABLE IF NOT EXISTS migrations (number INTEGER PRIMARY KEY, name TEXT NOT NULL, digest TEXT NOT NULL) STRICT",
  );
  const applied = checkMigrations(database, list);
  if (applied === list.length) return;
  database.transaction(() => {
    for (const { number, name, sql } of list.slice(applied)) {
      database.run(sql);
      database.run("INSERT INTO migrations VALUES (?, ?, ?)", [number, name, sha256Hex(sql)]);
    }
  })();
}

/** How many of the migrations are applied; throws as `migrate` does. */
export function checkMigrations(database: Database, list: readonly Migration[] = migrations): number {
  const applied = database
    .query<{ number: number; name: string; digest: string }, []>("SELECT * FROM migrations ORDER BY number")
    .all();
  applied.forEach((row, index) => {
    const ours = list[index];
    if (!ours) {
      throw storeErrors.error(
        "newer_format",
        `the store has migration ${row.number} (${row.name}), which is not known here`,
      );
    }
    if (ours.number !== row.number || ours.name !== row.name || sha256Hex(ours.sql) !== row.digest) {
      throw storeErrors.error("newer_format", `migration ${row.number} (${row.name}) is not the one that was applied`);
    }
  });
  return applied.length;
}
