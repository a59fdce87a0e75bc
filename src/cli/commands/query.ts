import { toBase64 } from "../../base/bytes.ts";
import type { Value } from "../../base/row.ts";
import { exactJsonText } from "../../contract/json.ts";
import { csvField } from "../../contract/row_text.ts";
import { withEngine } from "../../runtime/engine.ts";
import { type QueryResult, query } from "../../store/query.ts";
import { type Command, PROJECT_FLAGS, requireWord } from "../command.ts";
import { cliErrors } from "../errors.ts";
import { grouped, locationOf, table } from "../project.ts";

/** Characters of one cell that a person is shown. */
const CELL_MAX = 60;

const FORMATS: Readonly<Record<string, (result: QueryResult) => string>> = {
  table: tableText,
  csv: csvText,
  json: jsonText,
};

export const queryCommand: Command = {
  name: "query",
  words: '"select ..."',
  summary: "answer one SELECT over the stored streams: `mlpe streams` lists them",
  flags: {
    ...PROJECT_FLAGS,
    format: { kind: "text", describe: "table, csv, or json (one object a row)", default: "table" },
    rows: { kind: "number", describe: "most rows of the answer", default: 10_000 },
  },
  async run(world, input) {
    const sql = requireWord(queryCommand, input, 0, "the query, as one word in quotes,");
    const format = FORMATS[input.text("format") ?? "table"];
    const place = `mlpe ${queryCommand.name}`;
    if (!format)
      throw cliErrors.error("bad_usage", `--format is "${input.text("format")}"; it is table, csv or json`, { place });
    if (input.words.length > 1) {
      const fix = `Put quotes around it: mlpe query "${input.words.join(" ").slice(0, 200)}"`;
      throw cliErrors.error("bad_usage", "the query is several words", { place, fix });
    }
    const rows = input.number("rows")!;
    const result = await withEngine(world, locationOf(input), "read", ({ store }) => query(store, sql, { rows }));
    return {
      json: { columns: result.columns, rows: result.rows.map((row) => row.map(jsonValue)) },
      text: format(result),
    };
  },
};

/** Whole numbers beyond 2^53 as text, because many JSON readers would round them; bytes as base64. */
function jsonValue(value: Value): unknown {
  if (typeof value === "bigint") return value.toString();
  return value instanceof Uint8Array ? toBase64(value) : value;
}

/** One object a line; of two columns with one name the later counts, as in any object. */
function jsonText({ columns, rows }: QueryResult): string {
  return rows
    .map((row) => exactJsonText(Object.fromEntries(columns.map((name, i) => [name, row[i] ?? null]))))
    .join("\n");
}

const plain = (value: Value): string => (value instanceof Uint8Array ? toBase64(value) : String(value));

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
  const field = (value: Value) => (value === null ? "" : csvField(plain(value)));
  return [columns.map(csvField), ...rows.map((row) => row.map(field))].map((cells) => cells.join(",")).join("\r\n");
}
