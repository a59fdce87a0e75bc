/**
 * One seeded life of a store, to be run under a tracer: commits, compactions, checkpoints, reopenings. Every
 * acknowledgement is written to the file `acknowledged` the moment it comes; at the end `history.json` says what the log
 * held after each commit. `bun test/sim/store/recorded.ts <seed> <directory> [thread]`.
 */
import { openSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { seededRandom } from "../../../src/base/random.ts";
import { type LogStore, openStore } from "../../../src/store/store.ts";
import { drawFrom } from "../draw.ts";
import { after, type Folded, type Made, NOTHING } from "./history.ts";
import { droppedBy, entityFrom, policyFrom, requestsFrom } from "./requests.ts";
import { type Kept, saveSome } from "./saved.ts";

const ACTS = 45;
const [seedText, home, thread] = process.argv.slice(2) as [string, string, string?];
const seed = Number(seedText);
const draw = drawFrom(seed);
const request = requestsFrom(seed, draw);
const random = seededRandom(seed);
let now = 1_700_000_000_000_000;
const clock = { now: () => (now += 1_000) };
const directory = join(home, "data");
const options = {
  ...{ directory, keys: { provider: "file", path: join(home, "key") } as const, clock, random },
  thread: thread !== undefined,
};
const acknowledged = openSync(join(home, "acknowledged"), "w");
const history: Folded[] = [NOTHING];
const done: Made[] = [];
let folds: Kept[] = [];

/** Some commits at once; each is acknowledged by itself. */
async function commitSome(store: LogStore): Promise<void> {
  const made = Array.from({ length: draw.integer(1, 3) }, request);
  const receipts = await Promise.all(
    made.map(async (one) => {
      const receipt = await store.commit(one);
      // A power cut may take what was acknowledged for the life of the process only.
      if (one.durability !== "process") writeSync(acknowledged, `${receipt.commitNo}\n`);
      return { request: one, receipt };
    }),
  );
  receipts.sort((a, b) => a.receipt.commitNo - b.receipt.commitNo);
  for (const one of receipts) note(one);
}

function note(one: Made): void {
  if (one.erased || one.dropped) folds = folds.map((fold) => ({ goneWith: one.receipt.commitNo, ...fold }));
  history.push(after(history.at(-1)!, done, one));
  done.push(one);
}

async function erase(store: LogStore): Promise<void> {
  const entity = entityFrom(draw);
  const { outcome } = await store.erase({ entity });
  writeSync(acknowledged, `${outcome.commitNo}\n`);
  const { commitNo, knownTime } = outcome;
  note({ request: { appends: [] }, receipt: { commitNo, knownTime, firstSequence: {} }, erased: entity });
}

async function retain(store: LogStore): Promise<void> {
  const outcome = await store.retain(policyFrom(draw));
  const one = droppedBy(outcome, (await store.head()).knownTime);
  if (!one) return;
  writeSync(acknowledged, `${one.receipt.commitNo}\n`);
  note(one);
}

async function saveFold(store: LogStore): Promise<void> {
  const { kept, name, saved } = await saveSome(store, draw, () => commitSome(store));
  if (kept) folds.push({ name, ...saved });
}

/** What the log thread does when it is idle, or when the log is long. */
const checkpoint = () => store.checkpoint(draw.pick(["PASSIVE", "FULL", "RESTART", "TRUNCATE"]));

let store = await openStore(options);
for (let i = 0; i < ACTS; i++) {
  if (draw.chance(0.05)) now += draw.integer(-60, 60) * 1_000_000;
  const act = draw.integer(0, 99);
  if (act < 65) await commitSome(store);
  else if (act < 85) await Promise.all([store.compact(), commitSome(store)]);
  else if (act < 92) await checkpoint();
  else if (act < 94) await erase(store);
  else if (act < 96) await retain(store);
  else if (act < 98) await saveFold(store);
  else {
    await store.close();
    store = await openStore(options);
  }
}
await store.close();
writeFileSync(join(home, "history.json"), JSON.stringify({ history, folds }));
