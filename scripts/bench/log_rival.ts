import { Database, type Statement } from "bun:sqlite";
import { randomBytes } from "node:crypto";
import { statSync } from "node:fs";
import { join } from "node:path";
import { hmac } from "../../src/base/digest.ts";
import { type Batch, type Column, rowsOf } from "../../src/contract/batch.ts";
import { deriveKey, KEY_BYTES, NONCE_BYTES, sealDerived } from "../../src/keys/xaes.ts";

export const BARE = "bare bun:sqlite, unsealed, unindexed, WAL, synchronous=FULL";
export const CLUSTERED = "a clustered table of sealed rows, WAL, synchronous=FULL";

const PRAGMAS = ["page_size = 4096", "journal_mode = WAL", "synchronous = FULL", "temp_store = memory"];

function closed(database: Database): number {
  database.run("PRAGMA wal_checkpoint(TRUNCATE)");
  const { size } = statSync(database.filename);
  database.close();
  return size;
}

function open(directory: string, file: string, table: string): Database {
  const database = new Database(join(directory, file), { create: true });
  for (const pragma of PRAGMAS) database.run(`PRAGMA ${pragma}`);
  database.run(table);
  return database;
}

/** An unindexed table in clear: prepared inserts are the most that SQLite can do. */
export function bareTable(directory: string) {
  const database = open(
    directory,
    "bare.db",
    "CREATE TABLE rows (place TEXT, at INTEGER, reading REAL, count INTEGER, amount REAL, kind TEXT)",
  );
  const insert: Statement = database.prepare("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?)");
  return {
    /** One transaction. */
    append: database.transaction((batch: Batch) => {
      const [place, at, reading, count, amount, kind] = batch.columns as readonly Column[];
      if (place?.kind !== "text" || kind?.kind !== "text" || at?.kind !== "number") throw new Error("other columns");
      if (reading?.kind !== "number" || count?.kind !== "number" || amount?.kind !== "number") throw new Error("other");
      for (let i = 0; i < batch.length; i++) {
        insert.run(
          place.dictionary[place.codes[i]!]!,
          at.values[i]!,
          reading.values[i]!,
          count.values[i]!,
          amount.values[i]!,
          kind.dictionary[kind.codes[i]!]!,
        );
      }
    }),
    sum(): { reading: number; amount: number } {
      let reading = 0;
      let amount = 0;
      const rows = database.query<{ reading: number; amount: number }, []>("SELECT reading, amount FROM rows");
      for (const row of rows.iterate()) {
        reading += row.reading;
        amount += row.amount;
      }
      return { reading, amount };
    },
    /** Rows and sums in whole hundredths: whole numbers add up exactly in any order. */
    cents(): { rows: number; reading: number; amount: number } {
      const sum = "CAST(round(reading * 100) AS INTEGER)";
      const query = `SELECT count(*) AS rows, sum(${sum}) AS reading, sum(${sum.replace("reading", "amount")}) AS amount FROM rows`;
      return database.query<{ rows: number; reading: number; amount: number }, []>(query).get()!;
    },
    /** Bytes of the file once all of it is in there. */
    close: (): number => closed(database),
  };
}

/** The table that one would make for as-of reads: clustered by entity and time, each row sealed by itself. */
export function clusteredTable(directory: string) {
  const database = open(
    directory,
    "clustered.db",
    "CREATE TABLE rows (entity BLOB, at INTEGER, sequence INTEGER, sealed BLOB, PRIMARY KEY (entity, at, sequence)) WITHOUT ROWID",
  );
  const insert = database.prepare("INSERT INTO rows VALUES (?, ?, ?, ?)");
  const key = randomBytes(KEY_BYTES);
  const derived = deriveKey(key, randomBytes(NONCE_BYTES));
  const digests = new Map<string, Uint8Array>();
  let sequence = 0;
  const digestOf = (place: string) => {
    let digest = digests.get(place);
    if (!digest) {
      digest = hmac(key, place).subarray(0, 8);
      digests.set(place, digest);
    }
    return digest;
  };
  return {
    append: database.transaction((batch: Batch) => {
      const plain = new DataView(new ArrayBuffer(25));
      for (const row of rowsOf(batch)) {
        plain.setFloat64(0, row.reading as number);
        plain.setFloat64(8, row.amount as number);
        plain.setInt32(16, row.count as number);
        plain.setUint8(20, (row.kind as string).charCodeAt(0));
        const nonce = randomBytes(12);
        const sealed = sealDerived(derived, nonce, new Uint8Array(plain.buffer), nonce);
        insert.run(digestOf(row.place as string), row.at as number, sequence++, Buffer.concat([nonce, sealed]));
      }
    }),
    /** Bytes of the file once all of it is in there. */
    close: (): number => closed(database),
  };
}
