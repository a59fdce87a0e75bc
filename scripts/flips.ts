import { seededRandom } from "../src/base/random.ts";
import { damagedHome } from "../test/support/flips.ts";

/**
 * Flips single bits anywhere in a data directory, each in a copy of it, and says which of them the audit finds:
 * `bun scripts/flips.ts --runs 1000 --seed 1`; with `--killed` of one that was left with its write-ahead log. Exit 1 where
 * one is missed.
 */
const given = (name: string, fallback: number) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? fallback : Number(process.argv[at + 1]);
};

const runs = given("runs", 1_000);
const seed = given("seed", 1);
const random = seededRandom(seed);
const left = process.argv.includes("--killed") ? "killed" : "closed";
const { home, flip } = await damagedHome(left);
const counts = new Map<string, number>();
let wrong = 0;
try {
  for (let run = 0; run < runs; run++) {
    const flipped = await flip(random);
    const { file, outcome, named } = flipped;
    const key = `${file.startsWith("segments/") ? "segments" : file} ${outcome}${outcome === "found" && !named ? ", not named" : ""}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
    if (outcome !== "found" || !named) {
      wrong++;
      console.log(JSON.stringify(flipped));
    }
  }
} finally {
  home.remove();
}
for (const [key, count] of [...counts].sort()) console.log(`${key}: ${count}`);
console.log(JSON.stringify({ left, runs, seed, wrong }));
process.exit(wrong === 0 ? 0 : 1);
