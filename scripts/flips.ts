import { parseArgs } from "node:util";
import { damagedHome } from "../test/support/flips.ts";

/**
 * Flips single bits anywhere in a data directory, each in a copy of it, and says which of them the audit finds:
 * `bun scripts/flips.ts [--runs 1000] [--seed 1]`; with `--killed` of one that was left with its write-ahead log. Exit 1
 * where one is missed; then the command that replays it is printed. Run i flips the bit of seed + i: which one that is, in a
 * directory with the same bytes each time (but for the name of the system's run, which a restart of the machine changes).
 */
const { values } = parseArgs({
  options: {
    runs: { type: "string", default: "1000" },
    seed: { type: "string", default: "1" },
    killed: { type: "boolean", default: false },
  },
});
const [runs, first] = [Number(values.runs), Number(values.seed)];
if (!Number.isSafeInteger(runs) || !Number.isSafeInteger(first)) throw new Error("--runs and --seed are whole numbers");
const left = values.killed ? "killed" : "closed";
const { home, flip } = await damagedHome(left);
const counts = new Map<string, number>();
let wrong = 0;
try {
  for (let seed = first; seed < first + runs; seed++) {
    const flipped = await flip(seed);
    const { file, outcome, named } = flipped;
    const key = `${file.startsWith("segments/") ? "segments" : file} ${outcome}${outcome === "found" && !named ? ", not named" : ""}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
    if (outcome !== "found" || !named) {
      wrong++;
      console.log(JSON.stringify(flipped));
      console.log(`  replay: bun scripts/flips.ts --seed ${seed} --runs 1${values.killed ? " --killed" : ""}`);
    }
  }
} finally {
  home.remove();
}
for (const [key, count] of [...counts].sort()) console.log(`${key}: ${count}`);
console.log(JSON.stringify({ left, runs, seed: first, wrong }));
process.exit(wrong === 0 ? 0 : 1);
