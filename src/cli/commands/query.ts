import { toBase64 } from "../../base/bytes.ts";
import type { Value } from "../../base/row.ts";
import { parseDay, parseInstant } from "../../base/time.ts";
import { arrowStream } from "../../contract/arrow.ts";
import { columnOf } from "../../contract/batch.ts";
import type { FieldType } from "../../contract/contract.ts";
import { csvField, valueCsv, valueJson } from "../../contract/row_text.ts";
import { queryProject } from "../../runtime/query.ts";
import type { QueryResult } from "../../store/query.ts";
import { type Command, PROJECT_FLAGS, requireWord } from "../command.ts";
import { cliErrors } from "../errors.ts";
import { grouped, locationOf, newFile, SKIP_DAMAGED, table, toldLeftOut } from "../project.ts";

/** Characters of one cell that a person is shown. */
const CELL_MAX = 60;
/** Rows of one batch of an Arrow stream. */
const ARROW_ROWS = 65_536;

/** What an answer is printed as; bytes go out as they are. */
const FORMATS: Readonly<Record<string, (result: QueryResult) => string | Promise<Uint8Array>>> = {
  table: tableText,
  csv: csvText,
  json: jsonText,
  arrow: arrowBytes,
};

export const queryCommand: Command = {
  name: "query",
  words: '"select ..."',
  summary: "answer one SELECT over the stored streams: `mlpe streams` lists them",
  flags: {
    ...PROJECT_FLAGS,
    format: {
      kind: "text",
      describe: "table, csv, json (one object a row) or arrow (an IPC stream)",
      default: "table",
    },
    output: { kind: "text", describe: "a file for the answer, which is not overwritten; default standard output" },
    rows: { kind: "number", describe: "most rows of the answer", default: 10_000 },
    read: { kind: "number", describe: "most stored rows that are read", default: 20_000_000 },
    "skip-damaged": SKIP_DAMAGED,
    memory: {
      kind: "number",
      least: 1,
      describe: "most memory to hold, sort, group and join them, in MiB",
      default: 512,
    },
    timeout: { kind: "number", describe: "most seconds until the answer; 0 is no bound", default: 600 },
  },
  async run(world, input) {
    const sql = requireWord(queryCommand, input, 0, "the query, as one word in quotes,");
    const format = FORMATS[input.text("format") ?? "table"];
    const place = `mlpe ${queryCommand.name}`;
    if (!format) {
      const message = `--format is "${input.text("format")}"; it is table, csv, json or arrow`;
      throw cliErrors.error("bad_usage", message, { place });
    }
    if (input.words.length > 1) {
      const fix = `Put quotes around it: mlpe query "${input.words.join(" ").slice(0, 200)}"`;
      throw cliErrors.error("bad_usage", "the query is several words", { place, fix });
    }
    const output = input.text("output");
    const out = output === undefined || output === "-" ? undefined : await newFile(world, input, output);
    const limits = {
      rows: input.number("rows")!,
      read: input.number("read")!,
      memory: input.number("memory")! * (1 << 20),
    };
    const asked = { sql, limits, skipDamaged: input.on("skip-damaged") };
    const timeoutMs = input.number("timeout")! * 1000;
    const { result, leftOut } = await queryProject(world, locationOf(input), asked, timeoutMs || undefined);
    const { columns, rows, read } = result;
    const json = { columns, rows: rows.map((row) => row.map(jsonValue)), read, ...toldLeftOut(world, leftOut) };
    const skipped = read.filter((table) => table.read < table.stored);
    for (const { table: name, read: some, stored } of skipped) {
      world.progress("");
      if (!input.on("json")) world.warn(`${name}: ${grouped(some)} of ${grouped(stored)} stored rows read`);
    }
    if (input.on("json") && out === undefined) return { json, text: "" };
    const answer = await format(result);
    if (out !== undefined) {
      // What is stored is sealed; this file is not, so it is its owner's only.
      await world.files.write(out, typeof answer === "string" ? `${answer}\n` : answer, 0o600);
      return { json: { file: out, columns, rows: rows.length, read }, text: `${grouped(rows.length)} rows\n${out}` };
    }
    if (typeof answer === "string") return { json, text: answer };
    await world.write(answer);
    return { json, text: "", printed: true };
  },
};

/** Columns of a table have its types; what was computed has the type that all its values fit. */
async function arrowBytes({ columns, types, rows }: QueryResult): Promise<Uint8Array> {
  const fields = columns.map((name, at) => {
    const values = rows.map((row) => row[at] ?? null);
    return { name, nullable: true, ...arrowValues(types[at], values) };
  });
  const stream = await arrowStream(fields);
  const parts = [stream.begin()];
  for (let from = 0; from < rows.length; from += ARROW_ROWS) {
    const length = Math.min(ARROW_ROWS, rows.length - from);
    const batch = fields.map(({ type, values }) => columnOf({ type }, length, (row) => values[from + row]));
    parts.push(stream.batch(batch, length));
  }
  return new Uint8Array(Buffer.concat([...parts, stream.end()]));
}

interface ArrowValues {
  readonly type: FieldType;
  readonly values: readonly Value[];
}

/** What SQLite answers as the type's own value; undefined where it is none. */
const OF_TYPE: Readonly<Record<FieldType, (value: Value) => Value | undefined>> = {
  timestamp: (value) => (typeof value === "string" ? parseInstant(value) : undefined),
  date: (value) => (typeof value === "string" ? parseDay(value) : undefined),
  boolean: (value) => (typeof value === "boolean" ? value : undefined),
  int: (value) => (typeof value === "number" && value === (value | 0) ? value : undefined),
  long: (value) => (typeof value === "bigint" || Number.isSafeInteger(value) ? value : undefined),
  float: (value) => (typeof value === "number" ? value : undefined),
  double: (value) => (typeof value === "number" || typeof value === "bigint" ? Number(value) : undefined),
  bytes: (value) => (value instanceof Uint8Array ? value : undefined),
  string: plain,
  enum: plain,
};

function arrowValues(declared: FieldType | undefined, values: readonly Value[]): ArrowValues {
  const known = declared === "enum" ? "string" : declared;
  const guesses: FieldType[] = values.every((value) => value === null) ? [] : ["long", "double", "bytes"];
  for (const type of [...(known === undefined ? [] : [known]), ...guesses]) {
    const given = values.map((value) => (value === null ? null : OF_TYPE[type](value)));
    if (given.every((value) => value !== undefined)) return { type, values: given };
  }
  return { type: "string", values: values.map((value) => (value === null ? null : plain(value))) };
}

/** Whole numbers beyond 2^53 as text, because many JSON readers would round them; infinities too; bytes as base64. */
function jsonValue(value: Value): unknown {
  if (typeof value === "bigint" || (typeof value === "number" && !Number.isFinite(value))) return value.toString();
  return value instanceof Uint8Array ? toBase64(value) : value;
}

/** One object a line, values spelled as in `mlpe export`; of two columns with one name the later counts, as in any object. */
function jsonText({ columns, rows }: QueryResult): string {
  const places = [...new Map(columns.map((name, at) => [name, at]))];
  const line = (row: readonly Value[]) =>
    places.map(([name, at]) => `${JSON.stringify(name)}:${valueJson(row[at] ?? null, undefined)}`).join(",");
  return rows.map((row) => `{${line(row)}}`).join("\n");
}

function plain(value: Value): string {
  return value instanceof Uint8Array ? toBase64(value) : String(value);
}

function tableText({ columns, rows }: QueryResult): string {
  const cells = rows.map((row) => row.map((value) => shortened(value === null ? "-" : plain(value))));
  return `${table(columns, cells)}\n(${grouped(rows.length)} ${rows.length === 1 ? "row" : "rows"})`;
}

function shortened(text: string): string {
  const line = text.replaceAll(/\s+/g, " ");
  return line.length <= CELL_MAX ? line : `${line.slice(0, CELL_MAX - 1)}\u2026`;
}

/** RFC 4180: null is an empty field, an empty text is "". */
function csvText({ columns, rows }: QueryResult): string {
  const fields = (row: readonly Value[]) => row.map((value) => valueCsv(value, undefined));
  return [columns.map(csvField), ...rows.map(fields)].map((cells) => cells.join(",")).join("\r\n");
}
