/**
 * What other programs read of what the executable writes: Parquet by pyarrow and DuckDB, Arrow by pyarrow, from a file and
 * over HTTP. Types and values are compared with the contracts and with what `mlpe query` answers.
 */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { parseInstant } from "../../../src/base/time.ts";
import { type Field, type FieldType, parseContract } from "../../../src/contract/contract.ts";
import type { House } from "./demo.ts";
import { keyed, on, type Placed, ROOT } from "./program.ts";
import { copyOf } from "./project.ts";

const ARROW: Readonly<Record<FieldType, string>> = {
  boolean: "bool",
  int: "int32",
  long: "int64",
  float: "float",
  double: "double",
  string: "string",
  enum: "dictionary<values=string, indices=int32, ordered=0>",
  bytes: "binary",
  timestamp: "timestamp[us, tz=UTC]",
  date: "date32[day]",
};
const DUCKDB: Readonly<Record<FieldType, string>> = {
  boolean: "BOOLEAN",
  int: "INTEGER",
  long: "BIGINT",
  float: "FLOAT",
  double: "DOUBLE",
  string: "VARCHAR",
  enum: "VARCHAR",
  bytes: "BLOB",
  timestamp: "TIMESTAMP WITH TIME ZONE",
  date: "DATE",
};
const VERSIONS: readonly Pick<Field, "name" | "type">[] = [
  { name: "_sequence", type: "long" },
  { name: "_commit_no", type: "long" },
  { name: "_known_time", type: "timestamp" },
  { name: "_tombstone", type: "boolean" },
];
const ROWS_SHOWN = 400;

interface Told {
  readonly types: Readonly<Record<string, string>>;
  readonly rows: number;
  readonly first: readonly (readonly unknown[])[];
  /** Of each column how many values, the least and the greatest. */
  readonly summary: Readonly<Record<string, readonly unknown[]>>;
}

async function readBack(kind: "parquet" | "arrow" | "http", place: string) {
  const python = process.env.MLPE_TEST_PYTHON ?? "";
  if (python === "") throw new Error("set MLPE_TEST_PYTHON to a Python that has pyarrow and duckdb; .ci/run makes one");
  const child = Bun.spawn([python, join(ROOT, "test/e2e/read_back.py"), kind, place], {
    stdout: "pipe",
    stderr: "pipe",
  });
  const [output, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  if (code !== 0) throw new Error(`read_back.py ${kind} exits with ${code}: ${errors.slice(-3_000)}`);
  return JSON.parse(output) as { readonly pyarrow: Told; readonly duckdb?: Told };
}

export function readerTests(house: House): void {
  const { program } = house;
  type Fields = readonly Pick<Field, "name" | "type">[];

  const fieldsOf = async (dataset: string): Promise<Fields> => {
    const path = `schemas/nycflights/${dataset}.avsc`;
    return [...parseContract(await Bun.file(join(ROOT, path)).text(), path).fields, ...VERSIONS];
  };
  const query = async (project: Placed, sql: string, ...flags: string[]) => {
    const ran = await program.run(["query", sql, "--rows", "1000000", ...flags, ...on(project)], keyed(project));
    if (ran.code !== 0) throw new Error(ran.errors);
    return ran.json<{ rows: unknown[][] }>();
  };
  /** What the query engine says of the same stream, in the spelling that `read_back.py` has. */
  const expected = async (project: Placed, table: string, fields: Fields): Promise<Omit<Told, "types">> => {
    const like = (value: unknown, type: FieldType) =>
      type === "timestamp" && typeof value === "string" ? parseInstant(value) : value;
    const names = fields.map(({ name }) => `"${name}"`);
    const first = await query(project, `select ${names} from ${table} order by _sequence limit ${ROWS_SHOWN}`);
    const counts = names.map((name) => `count(${name}), min(${name}), max(${name})`);
    const [found] = (await query(project, `select count(*), ${counts} from ${table}`)).rows;
    const [rows, ...figures] = found!;
    return {
      rows: rows as number,
      first: first.rows.map((row) => row.map((value, at) => like(value, fields[at]!.type))),
      summary: Object.fromEntries(
        fields.map(({ name, type }, at) => [name, figures.slice(at * 3, at * 3 + 3).map((value) => like(value, type))]),
      ),
    };
  };
  const typesOf = (fields: Fields, types: Readonly<Record<FieldType, string>>) =>
    Object.fromEntries(fields.map(({ name, type }) => [name, types[type]]));

  test("pyarrow and DuckDB read an export with the contract's types and the query's values", async () => {
    const project = (await house.demo()).placed;
    const room = house.room("exports");
    for (const dataset of ["departures", "weather", "planes"]) {
      const out = join(room, `${dataset}.parquet`);
      const words = ["export", dataset, "--versions", "--out", out, ...on(project)];
      const exported = await program.run(words, keyed(project));
      expect({ dataset, code: exported.code, errors: exported.errors }).toEqual({ dataset, code: 0, errors: "" });
      const fields = await fieldsOf(dataset);
      const { pyarrow, duckdb } = await readBack("parquet", out);
      const want = await expected(project, `${dataset}_versions`, fields);
      expect(want.rows).toBeGreaterThan(1_000);
      const texts = { ...ARROW, enum: "string" }; // Parquet has no dictionary type
      expect(pyarrow).toEqual({ ...want, types: typesOf(fields, texts) } as Told);
      expect(duckdb).toEqual({ ...want, types: typesOf(fields, DUCKDB) } as Told);
    }
  }, 300_000);

  test("pyarrow reads the same rows as Arrow, from a query's file and over HTTP", async () => {
    const project = await copyOf((await house.demo()).placed, house.room("arrow"));
    const fields = await fieldsOf("departures");
    const want = await expected(project, "departures_versions", fields);
    const out = join(house.room("answer"), "answer.arrows");
    const names = fields.map(({ name }) => `"${name}"`);
    const sql = `select ${names} from departures_versions order by _sequence`;
    await query(project, sql, "--format", "arrow", "--output", out);
    const texts = { ...ARROW, enum: "string" }; // a query's answer knows of no symbols
    expect((await readBack("arrow", out)).pyarrow).toEqual({ ...want, types: typesOf(fields, texts) } as Told);
    const server = await program.serve(project);
    const { pyarrow } = await readBack("http", `${server.url}/v1/streams/departures/rows?limit=all`);
    expect(await server.stop()).toBe(0);
    expect(pyarrow.rows).toBe(want.rows);
    expect(pyarrow.types).toEqual({ _position: "string", ...typesOf(fields, ARROW) });
    const { _position, ...summary } = pyarrow.summary;
    expect(summary).toEqual(want.summary);
  }, 300_000);
}
