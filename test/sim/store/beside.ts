import { join } from "node:path";
import { RETENTION } from "../../../src/contract/streams.ts";
import { type BackupManifest, unpackBackup, writeBackup } from "../../../src/store/backup.ts";
import type { RetentionOutcome } from "../../../src/store/retain.ts";
import { type LogStore, openStore } from "../../../src/store/store.ts";
import * as disk from "./life.ts";
import { commitAll, count, type Life, note, optionsOf, ticks } from "./life.ts";
import { isEither, type Question, questionsFrom, wrongWith } from "./reads.ts";
import { droppedBy, entityFrom, policyFrom } from "./requests.ts";
import { loadSaved, wrongFolds } from "./saved.ts";

/** Acts that take many turns: commits, reads and one another come between, and a kill finds any of them half done. */
export const LONG_ACTS = { compact, rotate, erase, retain } as const satisfies Record<
  string,
  (life: Life) => Promise<void>
>;
export type LongAct = keyof typeof LONG_ACTS;

/** One or more of them. */
export function someLongActs({ draw }: Life): LongAct[] {
  const names = Object.keys(LONG_ACTS) as LongAct[];
  const some = names.filter(() => draw.chance(0.4));
  return some.length > 0 ? some : [draw.pick(names)];
}

/** Of erasure and retention, after which reads that went on meanwhile may answer either way, how many are among them. */
const takers = (names: readonly LongAct[]) => names.filter((name) => name === "erase" || name === "retain").length;

export const commitSome = (life: Life): Promise<void> =>
  commitAll(life, Array.from({ length: life.draw.integer(1, 3) }, life.request));

interface Asked {
  readonly question: Question;
  readonly answer: unknown;
  readonly before: unknown;
}

/** Long acts at once, and what others do meanwhile: commits, reads, here and as another process does, a backup. */
export async function beside(life: Life, names: readonly LongAct[]): Promise<void> {
  const { draw, store } = life;
  const other = !life.full && draw.chance(0.3) ? await openStore({ ...optionsOf(life), mode: "read" }) : undefined;
  const asked: Asked[] = [];
  let copying: Promise<BackupManifest> | undefined;
  const running = Promise.all(names.map((name) => LONG_ACTS[name](life)));
  running.catch(() => {}); // told below
  while (draw.chance(0.7)) {
    await ticks(life, draw.integer(0, 12));
    const act = draw.integer(0, 99);
    if (act < 60) await commitSome(life);
    else if (act < 85 && takers(names) < 2) asked.push(...(await ask(life, other ?? store)));
    else if (act < 93 && !copying && !life.full) {
      copying = writeBackup(store, backupPath(life)); // what is in it is decided before this returns
      copying.catch(() => {}); // told below
    } else await disk.checkpoint(life);
  }
  await running;
  const copy = await copying;
  await other?.close();
  for (const { question, answer, before } of asked) {
    if (!isEither(question, answer, before, await question.ask(life.model)))
      life.findings.push(`beside ${names.join(", ")}: ${question.what} is answered wrongly`);
  }
  if (asked.length > 0) count(life, other ? "reads of another process meanwhile" : "reads meanwhile");
  if (!copy) return;
  count(life, "backups meanwhile");
  await checkBackup(life, copy);
}

/** What the model knows does not change but by erasure and retention, whatever is committed meanwhile. */
async function ask(life: Life, store: LogStore): Promise<Asked[]> {
  const asked: Asked[] = [];
  for (const question of questionsFrom(life.draw, life.history.length - 1, true)) {
    const before = await question.ask(life.model);
    asked.push({ question, before, answer: await question.ask(store) });
  }
  return asked;
}

export const backupPath = ({ home }: Life): string => join(home, "backup");

/** A backup is the log at one commit; now and then life goes on from it. */
export async function checkBackup(life: Life, { commit_no: commitNo }: BackupManifest): Promise<void> {
  const directory = disk.nextDirectory(life);
  unpackBackup(backupPath(life), directory);
  disk.remove(backupPath(life));
  const restored = await openStore({ ...optionsOf(life), directory });
  const wrong = await wrongWith(restored, life.history[commitNo]!);
  wrong.push(...(await wrongFolds(restored, {})));
  life.findings.push(...wrong.map((finding) => `restored: ${finding}`));
  if (!life.draw.chance(0.3)) {
    await restored.close();
    disk.remove(directory);
    return;
  }
  await life.store.close();
  disk.remove(life.directory);
  Object.assign(life, { directory, store: restored, folds: {} }); // they stay behind
  await disk.rewind(life, commitNo);
  count(life, "gone on from a backup");
}

async function compact(life: Life): Promise<void> {
  try {
    await life.store.compact();
  } catch (cause) {
    if (!life.full || !disk.refused(cause)) throw cause;
    count(life, "compactions refused by a full disk");
  }
}

/** New data keys for everything. One that a full disk refused is finished once there is room. */
async function rotate(life: Life): Promise<void> {
  try {
    await life.store.rotate();
    life.folds = {};
  } catch (cause) {
    disk.expectRefusal(life, "rotations", cause);
    for (const [name, { tag }] of Object.entries(life.folds)) {
      if (!(await loadSaved(life.store, name, tag))) life.folds = {}; // they go when the key is made
    }
  }
}

/** What a full disk refused or a kill left is taken up again: an erasure that was taken on, a rotation that was begun. */
export async function takeUp(life: Life): Promise<void> {
  const { pending } = life.store;
  for (const one of pending.erasures()) {
    await eraseNow(life, one.entity);
    await pending.done(one);
    count(life, "erasures taken up again");
  }
  if (!pending.isRotating() || life.draw.chance(0.5)) return;
  await rotate(life);
  if (pending.isRotating()) life.findings.push("a rotation that was taken up again is not finished");
  count(life, "rotations taken up again");
}

/** An entity goes, at once or taken on before, as a server does it: then it stays so until it is done. */
async function erase(life: Life): Promise<void> {
  const { pending } = life.store;
  const one = life.draw.chance(0.5) ? { entity: entityFrom(life.draw), ahead: true } : undefined;
  let taken = false;
  try {
    if (one) await pending.pend(one);
    taken = one !== undefined;
    await eraseNow(life, one?.entity ?? entityFrom(life.draw));
    if (one) await pending.done(one);
  } catch (cause) {
    disk.expectRefusal(life, "erasures", cause);
    const isThere = pending.erasures().some((other) => Bun.deepEquals(other, one));
    if (isThere !== taken) life.findings.push(`a refused erasure is ${isThere ? "" : "not "}pending`);
  }
}

/** It goes from every stream and every read. */
async function eraseNow(life: Life, entity: Readonly<Record<string, string>>): Promise<void> {
  const coming: Promise<void>[] = [];
  // Asked whenever rows were looked for: what comes now is looked through next, or waits until the erasure is done.
  const also = async () => {
    if (!life.full && life.draw.chance(0.5)) coming.push(commitSome(life));
    return [];
  };
  const { outcome } = await life.store.erase({ entity, also });
  const { commitNo, knownTime } = outcome;
  life.acknowledged = Math.max(life.acknowledged, commitNo);
  life.folds = {}; // they may hold what was erased
  if (outcome.emptied > 0) count(life, "rows erased");
  const receipt = { commitNo, knownTime, firstSequence: {} };
  await note(life, { request: { appends: [] }, receipt, erased: entity });
  await Promise.all(coming);
}

/** What is too old or too much goes, but nothing that a reader has not folded. */
async function retain(life: Life): Promise<void> {
  let outcome: RetentionOutcome;
  try {
    outcome = await life.store.retain(policyFrom(life.draw));
  } catch (cause) {
    return disk.expectRefusal(life, "retentions", cause);
  }
  const { commitNo } = outcome;
  if (commitNo === undefined) return;
  life.acknowledged = Math.max(life.acknowledged, commitNo);
  life.folds = {};
  count(life, "segments dropped");
  const page = await life.store.tail(commitNo - 1, [RETENTION], 1);
  await note(life, droppedBy(outcome, page.rows[0]!.knownTimes[0]!)!);
  const slowest = Math.min(...Object.values(life.history[commitNo - 1]?.readers ?? {}));
  for (const { stream, lastCommit } of outcome.dropped) {
    if (lastCommit > slowest)
      life.findings.push(`${stream} was dropped up to ${lastCommit}, and a reader stands at ${slowest}`);
  }
}
