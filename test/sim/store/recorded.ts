/**
 * One seeded life of a store, to be run under a tracer: commits, compactions, checkpoints,
 * erasures, retention, rotations, reopenings. Every
 * acknowledgement is written to the file `acknowledged` the moment it comes; at the end `history.json` says what the log
 * held after each commit. `bun test/sim/store/recorded.ts <seed> <directory> [thread]`.
 */
import { openSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { seededRandom } from "../../../src/base/random.ts";
import { RETENTION } from "../../../src/contract/streams.ts";
import { type LogStore, openStore } from "../../../src/store/store.ts";
import { drawFrom } from "../draw.ts";
import { after, type Folded, type Made, NOTHING } from "./history.ts";
import { droppedBy, entityFrom, policyFrom, requestsFrom } from "./requests.ts";
import { type Kept, saveSome } from "./saved.ts";
import { RECORDED_ACTS, type RecordedAct } from "./trace.ts";

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
const early = new Map<number, Made>();
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
  for (const one of receipts) note(one);
}

/** Each waits for the commit before it: acts at once are told of in any order. */
function note(one: Made): void {
  early.set(one.receipt.commitNo, one);
  for (let next = early.get(history.length); next; next = early.get(history.length)) {
    early.delete(history.length);
    const { erased, dropped, receipt } = next;
    if (erased || dropped) folds = folds.map((fold) => ({ goneWith: receipt.commitNo, ...fold }));
    history.push(after(history.at(-1)!, done, next));
    done.push(next);
  }
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
  const { commitNo } = outcome;
  if (commitNo === undefined) return;
  writeSync(acknowledged, `${commitNo}\n`);
  const page = await store.tail(commitNo - 1, [RETENTION], 1);
  note(droppedBy(outcome, page.rows[0]!.knownTimes[0]!)!);
}

async function saveFold(store: LogStore): Promise<void> {
  const { kept, name, saved } = await saveSome(store, draw, () => commitSome(store));
  if (kept) folds.push({ name, ...saved });
}

/** What the log thread does when it is idle, or when the log is long. */
const checkpoint = () => store.checkpoint(draw.pick(["PASSIVE", "FULL", "RESTART", "TRUNCATE"]));

async function reopen(): Promise<void> {
  await store.close();
  store = await openStore(options);
}

const WEIGHTS: Readonly<Record<RecordedAct, readonly [weight: number, act: () => Promise<unknown>]>> = {
  commit: [60, () => commitSome(store)],
  compact: [18, () => Promise.all([store.compact(), commitSome(store)])],
  checkpoint: [7, checkpoint],
  erase: [4, () => Promise.all([erase(store), commitSome(store)])],
  retain: [3, () => Promise.all([retain(store), commitSome(store)])],
  rotate: [3, () => Promise.all([store.rotate(), commitSome(store)])],
  fold: [3, () => saveFold(store)],
  reopen: [2, reopen],
};
const OFTEN = RECORDED_ACTS.flatMap((name) => Array.from({ length: WEIGHTS[name][0] }, () => name));

let store = await openStore(options);
const seen: Record<string, number> = {};
for (let i = 0; i < ACTS; i++) {
  if (draw.chance(0.05)) now += draw.integer(-60, 60) * 1_000_000;
  const name = draw.pick(OFTEN);
  seen[name] = (seen[name] ?? 0) + 1;
  await WEIGHTS[name][1]();
}
await store.close();
if (early.size > 0) throw new Error(`nobody was told of commit ${history.length}`);
writeFileSync(join(home, "history.json"), JSON.stringify({ history, folds, acts: seen }));
