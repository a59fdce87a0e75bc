/**
 * What a query need not read: random histories with corrections, moves and withdrawals, and random conditions on them. The
 * answer from the rows that pruning leaves must be the answer from all rows. And memory: a stream larger than the bound is
 * refused before it is read, and answered where the bound or a condition lets it.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import fc from "fast-check";
import type { MlpeError } from "../../src/base/errors.ts";
import type { Row } from "../../src/base/row.ts";
import { formatInstant } from "../../src/base/time.ts";
import { batchOf } from "../../src/contract/batch.ts";
import { streamContract } from "../../src/contract/contract.ts";
import type { ScanOptions, Store, StoredRows } from "../../src/store/port.ts";
import { query } from "../../src/store/query.ts";
import { type LogStore, openStore } from "../../src/store/store.ts";
import { storeHome } from "../support/store_home.ts";

const visits = streamContract({
  name: "visits",
  fields: { id: "int", place: "string?", gate: "int?", seen: "timestamp?", amount: "double?", note: "string?" },
  entity: ["place", "gate"],
  eventTime: "seen",
  recordId: ["id"],
});
const START = Date.UTC(2024, 0, 1) * 1000;
const HOUR = 3_600_000_000;
const home = storeHome();
let store: LogStore;

const place = fc.constantFrom("JFK", "LGA", "", null);
const gate = fc.constantFrom(1, -2, null);
/** Hours after the start, some of them a microsecond later: bounds are met and missed. */
const seen = fc
  .tuple(fc.integer({ min: 0, max: 6 }), fc.constantFrom(0, 0, 1))
  .map(([hours, micros]) => START + hours * HOUR + micros);
const visit = fc.record({
  id: fc.integer({ min: 0, max: 40 }),
  place,
  gate,
  seen: fc.option(seen, { nil: null, freq: 9 }),
  amount: fc.option(fc.integer({ min: -5, max: 5 }), { nil: null }),
  note: fc.constantFrom("2024-01-01", "x", null),
  dead: fc.boolean(),
});

const held = new Map<number, Row>();

/** As ingestion writes it: a record that moves is withdrawn at its old place first. */
async function commitHistory(commits: readonly (readonly (Row & { dead: boolean })[])[]): Promise<void> {
  for (const rows of commits) {
    const appended: { row: Row; dead: boolean }[] = [];
    for (const { dead, ...row } of rows) {
      const known = held.get(row.id as number);
      const moved = known && (known.place !== row.place || known.gate !== row.gate || known.seen !== row.seen);
      if (moved) appended.push({ row: known, dead: true });
      if (dead && known && !moved) appended.push({ row: known, dead: true });
      else appended.push({ row, dead: false });
      if (dead && known && !moved) held.delete(row.id as number);
      else held.set(row.id as number, row);
    }
    await store.commit({
      appends: [
        {
          stream: "curated/visits",
          batch: batchOf(
            visits,
            appended.map(({ row }) => row),
          ),
          tombstones: Uint8Array.from(appended, ({ dead }) => (dead ? 1 : 0)),
        },
      ],
    });
  }
}

beforeAll(async () => {
  store = await openStore(home.options);
  const history = fc.sample(fc.array(visit, { minLength: 1, maxLength: 30 }), { numRuns: 24, seed: 7 });
  await commitHistory(history.slice(0, 16) as never);
  await store.compact();
  await commitHistory(history.slice(16) as never);
}, 30_000);

afterAll(async () => {
  await store.close();
  home.remove();
});

/** The same store, which reads everything whatever it is asked for. */
const unpruned = (whole: Store): Store => ({
  ...whole,
  scan: (stream, { from: _from, to: _to, entity: _entity, ...options }: ScanOptions = {}) =>
    whole.scan(stream, options),
});

const instantText = fc.oneof(
  seen.map(formatInstant),
  fc.constantFrom("2024-01-01", "2024-01-02", "2023-12-31", "2024-01-01T05:00:00+02:00", "2024-01-01 03:00:00.000001Z"),
);
const operator = fc.constantFrom("<", "<=", ">", ">=", "=");
const quotedText = (text: string | null) => (text === null ? "null" : `'${text}'`);
const timeCondition = (prefix: string) =>
  fc.oneof(
    fc
      .tuple(fc.constantFrom("event_time", "seen", "SEEN", '"seen"'), operator, instantText, fc.boolean())
      .map(([column, op, text, turned]) =>
        turned ? `'${text}' ${op} ${prefix}${column}` : `${prefix}${column} ${op} '${text}'`,
      ),
    fc.tuple(instantText, instantText).map(([a, b]) => `${prefix}event_time between '${a}' and '${b}'`),
  );
const otherCondition = (prefix: string) =>
  fc.oneof(
    place.map((value) => `${prefix}place = ${quotedText(value)}`),
    gate.map((value) => `${prefix}gate = ${value}`),
    fc.constantFrom("amount > 0", "note is null", "note = '2024-01-01'", "id < 20").map((text) => `${prefix}${text}`),
  );
const condition = (prefix = "") => fc.oneof(timeCondition(prefix), otherCondition(prefix));
const where = (prefix = "") =>
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc.array(condition(prefix), { minLength: 1, maxLength: 4 }).map((all) => all.join(" and ")),
    },
    fc.tuple(condition(prefix), condition(prefix), condition(prefix)).map(([a, b, c]) => `(${a} or ${b}) and (${c})`),
    fc.tuple(condition(prefix), condition(prefix)).map(([a, b]) => `not (${a}) and ${b}`),
    fc
      .tuple(place, gate, condition(prefix))
      .map(([p, g, c]) => `(${prefix}place = ${quotedText(p)} and ${g} = ${prefix}gate) and ${c}`),
  );
const statement = fc.oneof(
  where().map((w) => `select id, place, gate, seen, amount, event_time from visits where ${w}`),
  where().map((w) => `select count(*), sum(amount), max(event_time) from visits v where ${w}`),
  where().map((w) => `select _sequence, id, _tombstone from visits_versions where ${w}`),
  fc
    .tuple(where("a."), where("b."))
    .map(
      ([a, b]) => `select a.id, b.id, b.seen from visits a left join visits b on a.id = b.id + 1 where ${a} and ${b}`,
    ),
  fc
    .tuple(where("a."), fc.constantFrom("left", "right", "full"))
    .map(([a, side]) => `select a.id, b.id from visits a ${side} join visits_versions b on a.id = b.id where ${a}`),
  fc
    .tuple(where(), where())
    .map(([a, b]) => `select id from visits where ${a} union all select id from visits where ${b}`),
  fc
    .tuple(where(), where())
    .map(
      ([a, b]) =>
        `with v as (select * from visits where ${a}) select id, seen from v where exists (select 1 from visits where ${b})`,
    ),
);

/** Instants are spelled as exact as those that were read: where less is read, they may be shorter. */
const plain = (rows: unknown) => JSON.stringify(rows).replaceAll(".000000Z", "Z");

test("the answer from what pruning leaves is the answer from all rows", async () => {
  let saved = 0;
  await fc.assert(
    fc.asyncProperty(statement, async (sql) => {
      const [pruned, whole] = [await query(store, sql), await query(unpruned(store), sql)];
      expect(plain(pruned.rows)).toEqual(plain(whole.rows));
      const read = (result: typeof pruned) => result.read.reduce((sum, table) => sum + table.read, 0);
      expect(read(pruned)).toBeLessThanOrEqual(read(whole));
      saved += read(whole) - read(pruned);
    }),
    { numRuns: 250 },
  );
  expect(saved).toBeGreaterThan(1000);
}, 60_000);

const readOf = async (sql: string) => {
  const [table] = (await query(store, sql)).read;
  return table!.read / table!.stored;
};

test("conditions that stand alone or under AND prune; others don't", async () => {
  expect(await readOf("select id from visits")).toBe(1);
  expect(await readOf("select id from visits where event_time >= '2024-01-01T05:00:00Z'")).toBeLessThan(0.5);
  expect(await readOf("select id from visits where (id > 3 and 'JFK' = place) and gate = 1")).toBeLessThan(0.5);
  expect(await readOf("select id from visits where event_time < '2024-01-01T03:00:00Z' or id = 1")).toBe(1);
  expect(await readOf("select id from visits where place = 'JFK'")).toBe(1);
  const twice = "select a.id from visits a join visits b using (id) where a.event_time < '2024-01-01T03:00:00Z'";
  expect(await readOf(twice)).toBe(1);
});

test("rows of contracts that disagree on time, entity or identity are all read", async () => {
  const moved = streamContract({ ...visitsParts, eventTime: "later", recordId: ["id"] });
  for (const [contract, at] of [
    [streamContract({ ...visitsParts, eventTime: "seen", recordId: ["id"] }), START],
    [moved, START + HOUR],
  ] as const) {
    const batch = batchOf(contract, [{ id: 1, seen: at, later: at + 9 * HOUR }]);
    await store.commit({ appends: [{ stream: "curated/moves", batch }] });
  }
  expect(await readOf("select id from moves where seen >= '2024-01-01T00:30:00Z'")).toBe(1);
});
const visitsParts = {
  name: "moves",
  fields: { id: "int", seen: "timestamp?", later: "timestamp?" },
  entity: ["id"],
} as const;

test("memory has a bound in bytes, which names the table and what to do", async () => {
  const long = streamContract({
    name: "long",
    fields: { id: "int", at: "timestamp", text: "string" },
    entity: ["id"],
    eventTime: "at",
    recordId: ["id"],
  });
  const rows = Array.from({ length: 8_000 }, (_, id) => ({ id, at: START + id * HOUR, text: `${id}`.repeat(300) }));
  await store.commit({ appends: [{ stream: "curated/long", batch: batchOf(long, rows) }] });
  await store.compact();
  let given = 0;
  const counting: Store = {
    ...store,
    async *scan(stream, options): AsyncIterable<StoredRows> {
      for await (const part of store.scan(stream, options)) {
        if (options?.columns?.includes("text")) given += part.batch.length;
        yield part;
      }
    },
  };
  const memory = 2 << 20;
  const error = (await query(counting, "select max(text) from long", { memory }).catch(
    (thrown) => thrown,
  )) as MlpeError;
  expect([error.code, error.place]).toEqual(["store.query_too_large", "curated/long"]);
  expect(error.message).toContain('"long" needs more memory than the query has left (1.');
  expect(error.fix).toContain("--memory");
  expect(given).toBeLessThan(rows.length);
  expect((await query(store, "select count(id) from long", { memory })).rows).toEqual([[8_000]]);
  const late = `select min(id), max(length(text)) from long where event_time > '${formatInstant(START + 7_990 * HOUR)}'`;
  expect((await query(store, late, { memory })).rows).toEqual([[7_991, 1_200]]);
  expect((await query(store, "select max(length(text)) from long", { memory: 64 << 20 })).rows).toEqual([[1_200]]);
  // Telling versions apart counts too.
  const versions = await query(store, "select count(*) from long", { memory: 64 << 10 }).catch((thrown) => thrown);
  expect((versions as MlpeError).code).toBe("store.query_too_large");
});
