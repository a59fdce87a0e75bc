import { describe, expect, test } from "bun:test";
import { MlpeError } from "../../src/base/errors.ts";
import type { Row } from "../../src/base/row.ts";
import { parseInstant } from "../../src/base/time.ts";
import { batchOf } from "../../src/contract/batch.ts";
import { streamContract } from "../../src/contract/contract.ts";
import { query } from "../../src/store/query.ts";
import { MemoryStore } from "../support/memory_store.ts";

const departures = streamContract({
  name: "departures",
  fields: {
    flight: "int",
    origin: "string?",
    departed: "timestamp",
    delay: "double?",
    big: "long?",
    day: "date?",
    ok: "boolean?",
  },
  entity: ["origin"],
  eventTime: "departed",
  recordId: ["flight"],
});
const scores = streamContract({
  name: "scores",
  fields: { score_id: "string", score: "double?" },
  recordId: ["score_id"],
});

const at = (text: string) => parseInstant(text)!;

async function filled(extra: readonly Row[] = []): Promise<MemoryStore> {
  const store = new MemoryStore({ now: () => at("2024-01-01T00:00:00Z") });
  const commit = (stream: string, contract: typeof departures, rows: readonly Row[], tombstones?: Uint8Array) =>
    store.commit({ appends: [{ stream, batch: batchOf(contract, rows), ...(tombstones ? { tombstones } : {}) }] });
  const row = (flight: number, origin: string | null, departed: string, delay: number | null) => ({
    flight,
    origin,
    departed: at(departed),
    delay,
    big: 2n ** 60n + BigInt(flight),
    day: 15_706,
    ok: flight % 2 === 0,
  });
  await commit("curated/departures", departures, [
    row(1, "EWR", "2013-01-01T10:00:00Z", 5),
    row(2, "JFK", "2013-01-01T11:00:00Z", -3),
    row(3, null, "2013-01-02T09:00:00Z", null),
  ]);
  // A correction of 2, a withdrawal of 3.
  await commit(
    "curated/departures",
    departures,
    [row(2, "LGA", "2013-01-01T11:30:00Z", 7), row(3, null, "2013-01-02T09:00:00Z", null)],
    Uint8Array.of(0, 1),
  );
  await commit("scores/late", scores, [{ score_id: "a", score: 0.5 }]);
  await commit("ledger", scores, [{ score_id: "l", score: null }]);
  if (extra.length > 0) await commit("curated/departures", departures, extra);
  return store;
}

async function failureOf(sql: string, limits = {}): Promise<MlpeError> {
  const error = await query(await filled(), sql, limits).catch((thrown) => thrown);
  if (!(error instanceof MlpeError)) throw new Error(`no MlpeError: ${JSON.stringify(error)}`);
  return error;
}

describe("a query", () => {
  test("sees the latest version of each record, with its types", async () => {
    expect(await query(await filled(), "select * from departures order by flight")).toMatchObject({
      columns: ["flight", "origin", "departed", "delay", "big", "day", "ok"],
      rows: [
        [1, "EWR", "2013-01-01T10:00:00Z", 5, 2n ** 60n + 1n, "2013-01-01", false],
        [2, "LGA", "2013-01-01T11:30:00Z", 7, 2n ** 60n + 2n, "2013-01-01", true],
      ],
    });
  });

  test("sees every stored row in _versions", async () => {
    const { rows } = await query(
      await filled(),
      "select flight, origin, _sequence, _commit_no, _tombstone from departures_versions order by _sequence",
    );
    expect(rows).toEqual([
      [1, "EWR", 0, 1, false],
      [2, "JFK", 1, 1, false],
      [3, null, 2, 1, false],
      [2, "LGA", 3, 2, false],
      [3, null, 4, 2, true],
    ]);
  });

  test("gives booleans where a column of the answer is one, and numbers where it only began as one", async () => {
    const store = await filled();
    const rows = async (sql: string) => (await query(store, sql)).rows;
    expect(await rows("select d.ok as fine, ok + 1, not ok from (select * from departures) d order by flight")).toEqual(
      [
        [false, 1, 1],
        [true, 2, 0],
      ],
    );
    expect(await rows("select flight from departures where ok = 1 and ok is true")).toEqual([[2]]);
    expect((await rows("select ok from departures union all select 7 union all select null")).flat().sort()).toEqual([
      0,
      1,
      7,
      null,
    ]);
  });

  test("names streams in several ways, joins, counts and groups", async () => {
    const store = await filled();
    const first = async (sql: string) => (await query(store, sql)).rows[0];
    expect(await first("select count(*) from departures")).toEqual([2]);
    expect(await first('select count(*) from "curated/departures"')).toEqual([2]);
    expect(await first("select count(*) from curated_departures_versions")).toEqual([5]);
    expect(await first("SELECT SCORE FROM SCORES_LATE;")).toEqual([0.5]);
    expect(await first("select score_id from ledger -- all")).toEqual(["l"]);
    expect(await first("select avg(delay) / 2 from departures where origin in ('EWR', 'LGA')")).toEqual([3]);
    expect(await first("with late as (select flight from departures where delay > 6) select flight from late")).toEqual(
      [2],
    );
    expect(await first("select a.flight, b.flight from departures a join departures b on b.flight > a.flight")).toEqual(
      [1, 2],
    );
    expect(await first("select delay / 2 from departures where flight = 1")).toEqual([2.5]);
    expect(await first("select value from json_each('[7]')")).toEqual([7]);
  });

  test("compares instants as instants, at any precision and offset", async () => {
    const half = {
      flight: 9,
      origin: "EWR",
      departed: at("2013-01-01T10:00:00.5Z"),
      delay: 0,
      big: null,
      day: null,
      ok: null,
    };
    for (const store of [await filled(), await filled([half])]) {
      const flights = async (where: string) =>
        (await query(store, `select flight from departures where ${where} order by departed, flight`)).rows.flat();
      const fine = store === undefined ? [] : await flights("flight = 9");
      expect(await flights("departed = '2013-01-01T10:00:00Z'")).toEqual([1]);
      expect(await flights("departed <= '2013-01-01 05:00:00-05:00'")).toEqual([1]);
      expect(await flights("departed > '2013-01-01T10:00:00Z'")).toEqual([...fine, 2]);
      expect(await flights("departed < '2013-01-01T10:00:00.25Z'")).toEqual([1]);
      expect(await flights("departed >= '2013-01-01'")).toEqual([1, ...fine, 2]);
      // As SQL writes them, without T and without an offset: UTC, as is all that is stored.
      expect(await flights("departed = '2013-01-01 10:00:00'")).toEqual([1]);
      expect(await flights("event_time > '2013-01-01 10:00'")).toEqual([...fine, 2]);
      expect(await flights("'2013-01-01T11:00:00' < departed")).toEqual([2]);
      expect(await flights("departed between '2013-01-01 09:00:00' and '2013-01-01 10:00:00'")).toEqual([1]);
      expect(await flights("departed in ('2013-01-01 10:00:00')")).toEqual([1]);
      expect(await flights("(departed) > datetime('2013-01-01 09:30:00', '+1 hour')")).toEqual([2]);
      expect(await flights("departed > date ('2013-01-02', '-1 day')")).toEqual([1, ...fine, 2]);
      expect(await flights("departed < CURRENT_TIMESTAMP and departed < current_date")).toEqual([1, ...fine, 2]);
      expect(await flights("departed < '2013' or departed >= '2013-02'")).toEqual([]);
      expect(await flights("date(departed) = '2013-01-01' and strftime('%H', departed) = '10'")).toEqual([1, ...fine]);
      expect(await flights("coalesce(departed, 'none') <> 'none'")).toEqual([1, ...fine, 2]);
      const renamed =
        "select flight from (select flight, departed as d from departures) where d > '2013-01-01 10:30:00'";
      expect((await query(store, renamed)).rows).toEqual([[2]]);
      const latest = "select origin from departures group by 1 having max(departed) > '2013-01-01 10:30:00'";
      expect((await query(store, latest)).rows).toEqual([["LGA"]]);
      expect(await flights("day = '2013-01-01T00:00:00Z'")).toEqual([1, 2]);
      expect(await flights("day < '2013-01-01 00:00:01'")).toEqual([1, 2]);
    }
  });

  test("refuses what is compared with instants and days and is neither", async () => {
    const store = await filled();
    const bad = {
      "departed > '2013-1-1'": "departed holds instants, and '2013-1-1' is none",
      "departed between '2013-01-01' and 'now'": "departed holds instants, and 'now' is none",
      "departed > 1356998400": "departed holds instants, and 1356998400 is none",
      "day >= '01.01.2013'": "day holds days, and '01.01.2013' is none",
    };
    for (const [where, message] of Object.entries(bad)) {
      const refused = query(store, `select 1 from departures where ${where}`);
      await expect(refused).rejects.toMatchObject({ code: "store.query_invalid", message });
    }
  });

  test("texts stay what they are, and a name in double quotes is a name", async () => {
    const text = "2013-01-01T10:00:00+01:00";
    const store = await filled([
      { flight: 9, origin: text, departed: at("2013-01-01T10:00:00.5Z"), delay: null, big: null, day: null, ok: null },
    ]);
    const flights = async (where: string) => (await query(store, `select flight from departures where ${where}`)).rows;
    expect(await flights(`origin = '${text}'`)).toEqual([[9]]);
    expect(await flights(`origin in ('x', '${text}')`)).toEqual([[9]]);
    expect(await flights(`json_extract(json_object('a', origin), '$.a') = '${text}'`)).toEqual([[9]]);
    expect(await flights(`departures."origin" = '${text}' and "departures"."flight" = 9`)).toEqual([[9]]);
    for (const where of [`"orgin" = 'JFK'`, `origin = "JFK"`]) {
      const refused = query(store, `select flight from departures where ${where}`);
      await expect(refused).rejects.toMatchObject({
        code: "store.query_invalid",
        fix: expect.stringContaining("single quotes"),
      });
    }
    const odd =
      'with "a `b" as (select "flight" as "f ""1""" from "curated/departures") select * from "a `b" order by "f ""1"""';
    expect(await query(store, odd)).toMatchObject({ columns: ['f "1"'], rows: [[1], [2], [9]] });
  });

  test("says which computed columns are doubles, whatever their values", async () => {
    const store = await filled();
    const { types } = await query(store, "select avg(flight), count(*), max(delay) * 2, origin, null from departures");
    expect(types).toEqual(["double", undefined, "double", "string", undefined]);
    const sums = await query(store, "select sum(flight), sum(delay), avg(flight) from departures where flight < 1");
    expect(sums.types).toEqual([undefined, undefined, undefined]); // all null
  });
});

describe("a query is refused", () => {
  const cases: [string, string, string][] = [
    ["", "query_invalid", ""],
    ["selekt 1", "query_invalid", ""],
    ["select 1; select 2", "query_refused", ""],
    ["delete from departures", "query_refused", "SELECT"],
    ["insert into departures values (1)", "query_refused", "SELECT"],
    ["create table x (a)", "query_refused", "SELECT"],
    ["attach 'x.db' as x", "query_refused", "SELECT"],
    ["pragma database_list", "query_refused", "SELECT"],
    ["vacuum into 'x.db'", "query_refused", "SELECT"],
    ["select * from pragma_database_list()", "query_refused", "json_each"],
    ["select * from main.departures", "query_refused", "departures"],
    ["select * from departures where flight = ?", "query_refused", "SELECT"],
    ["select * from sqlite_master", "unknown_table", "Tables: departures, ledger, scores_late."],
    ["select * from departure", "unknown_table", "Did you mean departures?"],
    ["select no_such from departures", "query_invalid", "departures has flight, origin"],
    ["select load_extension('x')", "query_invalid", ""],
  ];
  for (const [sql, code, fix] of cases) {
    test(`: ${sql}`, async () => {
      const failure = await failureOf(sql);
      expect([failure.code, failure.message]).toEqual([`store.${code}`, failure.message]);
      expect(failure.fix).toContain(fix);
    });
  }

  test("when it reads or gives too much", async () => {
    expect((await failureOf("select * from departures_versions", { rows: 4 })).code).toBe("store.query_too_large");
    expect((await failureOf("select count(*) from departures", { read: 4 })).code).toBe("store.query_too_large");
    expect((await query(await filled(), "select * from departures_versions", { rows: 5, read: 5 })).rows).toHaveLength(
      5,
    );
  });
});
