import { openStore } from "../../../src/store/store.ts";
import { LONG_ACTS, someLongActs } from "./beside.ts";
import {
  commitAll,
  copyFiles,
  count,
  falseAlarms,
  type Life,
  nextDirectory,
  optionsOf,
  remove,
  rewind,
  ticks,
} from "./life.ts";
import { loadSaved, type SavedFolds } from "./saved.ts";

/** Turns that pass before a kill: a commit takes few, a compaction some, a rotation many. */
const TURNS_MAX = [5, 20, 80, 250] as const;

/** The process is gone at some moment of what it is doing; another begins with what it left. */
export async function kill(life: Life): Promise<void> {
  const { draw, store, folds } = life;
  const known = life.made.length;
  const begun = draw.chance(0.7) ? someLongActs(life) : [];
  const unfinished = new Set(begun);
  const doing = begun.map(async (name) => {
    await LONG_ACTS[name](life);
    unfinished.delete(name);
  });
  if (draw.chance(0.6)) doing.push(commitAll(life, Array.from({ length: draw.integer(1, 4) }, life.request)));
  await ticks(life, draw.integer(0, draw.pick(TURNS_MAX)));
  const safe = life.acknowledged;
  const next = nextDirectory(life);
  copyFiles(life.directory, next);
  for (const name of unfinished) count(life, `killed in ${name}`);
  await Promise.all(doing);
  await store.close();
  remove(life.directory);
  life.directory = next;
  life.findings.push(...(await falseAlarms(optionsOf(life))));
  life.store = await openStore(optionsOf(life));
  const { commitNo } = await life.store.head();
  if (commitNo < safe || commitNo > life.made.length) {
    life.findings.push(`${commitNo} commits after a kill; ${safe} were acknowledged, ${life.made.length} made`);
  }
  await rewind(life, commitNo);
  const taken = life.made.slice(known).some(({ erased, dropped }) => erased ?? dropped);
  const mayMiss = begun.some((name) => name !== "compact");
  life.folds = taken ? {} : mayMiss ? await leftOf(life, folds) : folds;
}

/** Those that are still there: a rotation, an erasure and a retention take them away. */
async function leftOf({ store }: Life, folds: SavedFolds): Promise<SavedFolds> {
  const left: SavedFolds = {};
  for (const [name, fold] of Object.entries(folds)) if (await loadSaved(store, name, fold.tag)) left[name] = fold;
  return left;
}
