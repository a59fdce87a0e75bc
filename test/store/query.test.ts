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
        [1, "EWR", "2013-01-01T10:00:00Z", 5, 2n ** 60n + 1n, "2013-01-01", 0],
        [2, "LGA", "2013-01-01T11:30:00Z", 7, 2n ** 60n + 2n, "2013-01-01", 1],
      ],
    });
  });

  test("sees every stored row in _versions", async () => {
    const { rows } = await query(
      await filled(),
      "select flight, origin, _sequence, _commit_no, _tombstone from departures_versions order by _sequence",
    );
    expect(rows).toEqual([
      [1, "EWR", 0, 1, 0],
      [2, "JFK", 1, 1, 0],
      [3, null, 2, 1, 0],
      [2, "LGA", 3, 2, 0],
      [3, null, 4, 2, 1],
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
    }
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
