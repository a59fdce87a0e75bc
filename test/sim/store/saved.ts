import type { LogStore } from "../../../src/store/store.ts";
import type { Draw } from "../draw.ts";

/** What a saved fold must give back. */
export interface Saved {
  readonly tag: string;
  readonly upTo: number;
  readonly text: string;
}

/** One that was kept in a recorded life: it may be there until the commit that took rows out of the log. */
export interface Kept extends Saved {
  readonly name: string;
  readonly goneWith?: number;
}

/** By name. A fold that is not in it must not be there. */
export type SavedFolds = Record<string, Saved>;

const NAMES = ["index", "counts", "days"] as const;
const TAGS = ["1", "2"] as const;

const bytes = (text: string) => new TextEncoder().encode(text);

/** Saves some random fold up to the head. `meanwhile` is done between its beginning and its end. */
export async function saveSome(
  store: LogStore,
  draw: Draw,
  meanwhile: () => Promise<void>,
): Promise<{ readonly kept: boolean; readonly name: string; readonly saved: Saved }> {
  const begun = await store.beginFold();
  const { commitNo: upTo } = await store.head();
  await meanwhile();
  const [name, tag] = [draw.pick(NAMES), draw.pick(TAGS)];
  const parts = Array.from({ length: draw.integer(0, 6) }, (_, i) => `${i}:${upTo} `.repeat(draw.integer(1, 2_000)));
  const kept = await store.saveFold({ name, tag, upTo }, begun, parts.map(bytes));
  return { kept, name, saved: { tag, upTo, text: parts.join("") } };
}

/** The fold of that name and tag, undefined where there is none of use or it does not open. */
export async function loadSaved(store: LogStore, name: string, tag: string): Promise<Saved | undefined> {
  const fold = await store.loadFold({ name, tag }, () => {});
  if (!fold) return undefined;
  const parts: Uint8Array[] = [];
  try {
    for await (const part of fold.parts) parts.push(part);
  } catch (cause) {
    if ((cause as { code?: string }).code === "store.damaged") return undefined;
    throw cause;
  }
  return { tag, upTo: fold.upTo, text: Buffer.concat(parts).toString() };
}

/** One sentence for each fold that is not what was saved. `mayMiss`: a fold may be gone, which costs time only. */
export async function wrongFolds(store: LogStore, folds: SavedFolds, mayMiss = false): Promise<string[]> {
  const wrong: string[] = [];
  const { commitNo } = await store.head();
  for (const name of NAMES) {
    for (const tag of TAGS) {
      const wanted = folds[name]?.tag === tag ? folds[name] : undefined;
      const found = await loadSaved(store, name, tag);
      if (found === undefined && (mayMiss || wanted === undefined)) continue;
      if (found && found.upTo > commitNo) wrong.push(`fold ${name} goes beyond the log, to ${found.upTo}`);
      if (!Bun.deepEquals(found, wanted))
        wrong.push(`fold ${name} ${tag} is ${inShort(found)}, not ${inShort(wanted)}`);
    }
  }
  return wrong;
}

/** The same after a power cut, which may take any fold: what is there must be one that was kept and may be there. */
export async function strangeFolds(store: LogStore, kept: readonly Kept[]): Promise<string[]> {
  const strange: string[] = [];
  const { commitNo } = await store.head();
  for (const name of NAMES) {
    for (const tag of TAGS) {
      const found = await loadSaved(store, name, tag);
      const known = kept.some(
        ({ goneWith = Number.POSITIVE_INFINITY, ...one }) =>
          goneWith > commitNo && Bun.deepEquals(one, { name, ...found }),
      );
      if (found && !(known && found.upTo <= commitNo)) strange.push(`fold ${name} ${tag} is ${inShort(found)}`);
    }
  }
  return strange;
}

const inShort = (saved: Saved | undefined): string =>
  saved ? `up to ${saved.upTo} ${Bun.hash(saved.text).toString(36)}` : "none";
