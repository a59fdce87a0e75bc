/**
 * Benches: `bun run bench <name> [--json]`, or all of them without a name. Each measures MLPE and, in the same run on the
 * same work, a bare engine. The last line is one JSON object: `{"results": [...]}`; a ratio above 1 means ours is better.
 */
import type { Bench, Result } from "./bench.ts";
import { path } from "./path.ts";
import { start } from "./start.ts";

const BENCHES: Readonly<Record<string, Bench>> = { start, path };

const words = process.argv.slice(2).filter((word) => !word.startsWith("--"));
const unknown = words.find((word) => !(word in BENCHES));
if (unknown !== undefined) {
  process.stderr.write(`there is no bench "${unknown}"; there are ${Object.keys(BENCHES).join(", ")}\n`);
  process.exit(64);
}
const json = process.argv.includes("--json");
const results: Result[] = [];
for (const name of words.length > 0 ? words : Object.keys(BENCHES)) {
  results.push(...(await BENCHES[name]!((line) => process.stderr.write(`${name}: ${line}\n`))));
}
if (!json) {
  for (const { name, ours, rival, rival_name, unit, ratio } of results) {
    console.log(`${name}: ${ours} ${unit}; ${rival_name}: ${rival} ${unit}; ${ratio} times as good`);
  }
}
console.log(JSON.stringify({ results }));
process.exit(0);
