/** `mlpe query` as typed: formats, files, bounds, and what it says of what it read. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync, statSync } from "node:fs";
import { tableFromIPC } from "apache-arrow";
import { parseInstant } from "../../src/base/time.ts";
import { batchOf } from "../../src/contract/batch.ts";
import { streamContract } from "../../src/contract/contract.ts";
import { openEngine } from "../../src/runtime/engine.ts";
import { createDesk, type Desk } from "../support/world.ts";

const departures = streamContract({
  name: "departures",
  fields: {
    id: "int",
    carrier: "string",
    departed: "timestamp",
    dep_delay: "double?",
    day: "date",
    on_time: "boolean",
  },
  entity: ["carrier"],
  eventTime: "departed",
  recordId: ["id"],
});
const kinds = streamContract({
  name: "kinds",
  fields: {
    id: "int",
    flag: "boolean?",
    whole: "long?",
    small: "float?",
    number: "double?",
    text: "string?",
    raw: "bytes?",
    at: "timestamp?",
    day: "date?",
  },
  recordId: ["id"],
});
const KINDS = [
  [
    1,
    true,
    2n ** 53n + 1n,
    0.5,
    0.1,
    "a, b",
    Uint8Array.of(0, 255),
    parseInstant("2013-01-02T03:04:05.000006Z")!,
    15_707,
  ],
  [2, false, -1, 1, Number.POSITIVE_INFINITY, "", new Uint8Array(), parseInstant("2013-01-02T03:04:05Z")!, -1],
  [3, null, null, null, null, null, null, null, null],
] as const;
let desk: Desk;

beforeAll(async () => {
  desk = createDesk();
  desk.write("mlpe.yaml", "site: here\nkeys: { path: key }\ndata: data\n");
  const engine = await openEngine(desk.world, { config: desk.path("mlpe.yaml") }, "write");
  const rows = ["2013-09-30T23:59:59Z", "2013-10-01T00:00:00Z", "2013-11-02T10:00:00Z", "2013-12-24T10:00:00Z"].map(
    (departed, id) => ({
      id,
      carrier: id % 2 === 0 ? "UA" : "B6",
      departed: parseInstant(departed)!,
      dep_delay: id * 10,
      day: 15_000 + id,
      on_time: id === 3,
    }),
  );
  await engine.store.commit({ appends: [{ stream: "curated/departures", batch: batchOf(departures, rows) }] });
  const names = kinds.fields.map(({ name }) => name);
  const all = KINDS.map((values) => Object.fromEntries(names.map((name, at) => [name, values[at] ?? null])));
  await engine.store.commit({ appends: [{ stream: "curated/kinds", batch: batchOf(kinds, all) }] });
  await engine.close();
}, 30_000);
afterAll(() => desk.remove());

const SQL = "select carrier, avg(dep_delay) from departures where event_time >= '2013-10-01' group by 1";

test("the README's query works as written, and says what it read", async () => {
  const ran = await desk.run("query", SQL, "--format", "csv");
  expect([ran.exit, ran.output, ran.errors]).toEqual([
    0,
    "carrier,avg(dep_delay)\r\nB6,20\r\nUA,20",
    "departures: 3 of 4 stored rows read",
  ]);
  const json = JSON.parse((await desk.run("query", SQL, "--json")).output);
  expect(json.read).toEqual([{ table: "departures", stream: "curated/departures", stored: 4, read: 3 }]);
});

test("an Arrow file has the types of the table's columns, and fitting ones for what was computed", async () => {
  const sql =
    "select *, id / 2.0 as half, id * 2.0 as twice, count(*) as n, max(departed) as last, null as none from departures group by id";
  const ran = await desk.run("query", sql, "--format", "arrow", "--output", "answer.arrows", "--json");
  expect(ran.errors).toBe("");
  expect([ran.exit, JSON.parse(ran.output).rows]).toEqual([0, 4]);
  const path = desk.path("answer.arrows");
  expect(statSync(path).mode & 0o777).toBe(0o600);
  const table = tableFromIPC(readFileSync(path));
  expect(table.schema.fields.map(({ name, type }) => `${name} ${type}`)).toEqual([
    "id Int32",
    "carrier Utf8",
    "departed Timestamp<MICROSECOND, UTC>",
    "dep_delay Float64",
    "day Date32<DAY>",
    "on_time Bool",
    "half Float64",
    "twice Float64",
    "n Int64",
    "last Utf8",
    "none Utf8",
  ]);
  expect(table.get(3)!.toJSON()).toEqual({
    id: 3,
    carrier: "B6",
    departed: Date.UTC(2013, 11, 24, 10),
    dep_delay: 30,
    day: 15_003 * 86_400_000,
    on_time: true,
    half: 1.5,
    twice: 6,
    n: 1n,
    last: "2013-12-24T10:00:00Z",
    none: null,
  });
  const again = await desk.run("query", sql, "--format", "arrow", "--output", "answer.arrows");
  expect(again.errors).toContain("cli.output_exists");
});

test("each format gives each type as the contract has it", async () => {
  const columns = "id, flag, whole, small, number, text, raw, at, day";
  const asked = (format: string) => desk.run("query", `select ${columns} from kinds order by id`, "--format", format);
  const lines = (await asked("json")).output.split("\n");
  expect(lines).toEqual([
    '{"id":1,"flag":true,"whole":9007199254740993,"small":0.5,"number":0.1,"text":"a, b","raw":"AP8=","at":"2013-01-02T03:04:05.000006Z","day":"2013-01-02"}',
    '{"id":2,"flag":false,"whole":-1,"small":1,"number":"Infinity","text":"","raw":"","at":"2013-01-02T03:04:05.000000Z","day":"1969-12-31"}',
    '{"id":3,"flag":null,"whole":null,"small":null,"number":null,"text":null,"raw":null,"at":null,"day":null}',
  ]);
  expect((await asked("csv")).output.split("\r\n")).toEqual([
    columns.replaceAll(" ", ""),
    '1,true,9007199254740993,0.5,0.1,"a, b",AP8=,2013-01-02T03:04:05.000006Z,2013-01-02',
    '2,false,-1,1,Infinity,"","",2013-01-02T03:04:05.000000Z,1969-12-31',
    "3,,,,,,,,",
  ]);
  const table = (await asked("table")).output.split("\n").map((line) => line.trim().split(/\s{2,}/));
  expect(table.find(([id]) => id === "1")!.slice(0, 5)).toEqual(["1", "true", "9007199254740993", "0.5", "0.1"]);
  await desk.run("query", `select ${columns} from kinds order by id`, "--format", "arrow", "--output", "kinds.arrows");
  const arrow = tableFromIPC(readFileSync(desk.path("kinds.arrows")));
  const types = ["Int32", "Bool", "Int64", "Float32", "Float64", "Utf8", "Binary", "Timestamp<MICROSECOND, UTC>"];
  expect(arrow.schema.fields.map(({ type }) => String(type))).toEqual([...types, "Date32<DAY>"]);
  expect([...arrow.getChild("flag")!]).toEqual([true, false, null]);
  expect([...arrow.getChild("whole")!]).toEqual([9007199254740993n, -1n, null]);
  expect([...arrow.getChild("raw")!].map((raw) => raw && [...raw])).toEqual([[0, 255], [], null]);
  const { rows } = JSON.parse((await desk.run("query", "select flag, number from kinds order by id", "--json")).output);
  expect(rows).toEqual([
    [true, 0.1],
    [false, "Infinity"],
    [null, null],
  ]);
});

test.each([
  [["--read", "2"], "--read"],
  [["--rows", "1"], "--rows"],
])("a bound that is met says how to raise it: %p", async (flags, fix) => {
  const ran = await desk.run("query", "select * from departures", ...flags);
  expect(ran.errors).toContain("store.query_too_large");
  expect(ran.errors).toContain(fix);
  expect(ran.exit).not.toBe(0);
});
