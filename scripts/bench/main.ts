/**
 * Benches: `bun run bench <name> [--json] [--rows N] [--far]`, or all of them without a name. Each measures MLPE and, in the same run on the
 * same work, a bare engine. The last line is one JSON object: `{"results": [...]}`; a ratio above 1 means ours is better.
 * `MLPE_BENCH_PYTHON` names a Python that has DuckDB; without one it is installed for the run, where it can be.
 */
import { parseArgs } from "node:util";
import type { Bench, Flags, Result } from "./bench.ts";
import { log } from "./log.ts";
import { path } from "./path.ts";
import { start } from "./start.ts";

const BENCHES: Readonly<Record<string, Bench>> = { start, path, log };

const { values, positionals: words } = parseArgs({
  allowPositionals: true,
  options: { json: { type: "boolean" }, rows: { type: "string" }, far: { type: "boolean" } },
});
const rows = values.rows === undefined ? undefined : Number(values.rows);
if (rows !== undefined && !(Number.isSafeInteger(rows) && rows > 0)) {
  process.stderr.write("--rows takes a whole number above 0\n");
  process.exit(64);
}
const flags: Flags = { far: values.far ?? false, ...(rows === undefined ? {} : { rows }) };
const unknown = words.find((word) => !(word in BENCHES));
if (unknown !== undefined) {
  process.stderr.write(`there is no bench "${unknown}"; there are ${Object.keys(BENCHES).join(", ")}\n`);
  process.exit(64);
}
const results: Result[] = [];
for (const name of words.length > 0 ? words : Object.keys(BENCHES)) {
  results.push(...(await BENCHES[name]!((line) => process.stderr.write(`${name}: ${line}\n`), flags)));
}
if (!values.json) {
  for (const { name, ours, rival, rival_name, unit, ratio } of results) {
    console.log(`${name}: ${ours} ${unit}; ${rival_name}: ${rival} ${unit}; ${ratio} times as good`);
  }
}
console.log(JSON.stringify({ results }));
process.exit(0);
