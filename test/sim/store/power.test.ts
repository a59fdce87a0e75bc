/**
 * One seeded life of a store is traced, system call by system call, and its power cut at moments spread over all that it
 * did: opening, commits, compactions, checkpoints, closing. Then the disk is told lies, each of which must be noticed.
 */
import { expect, test } from "bun:test";
import { cutPower, powerCommand, type Tamper } from "./power.ts";
import { canRecord, type Op } from "./trace.ts";

const without =
  (drop: (op: Op) => boolean): Tamper =>
  (ops) =>
    ops.filter((op) => !drop(op));

const LIES: Readonly<Record<string, Tamper>> = {
  "SQLite does not wait for the disk": without((op) => op.kind === "sync" && op.path.endsWith("-wal")),
  "segments are not synced": without((op) => op.kind === "sync" && op.path.includes("segments/")),
  "the names of segments are not synced": without((op) => op.kind === "syncFolder" && op.path.endsWith("segments")),
  "what a checkpoint will do is not synced": without((op) => op.kind === "sync" && op.path.includes("log.sums")),
  "a commit is acknowledged before it is written": (ops) => {
    const moved: Op[] = [];
    for (const op of ops) {
      if (op.kind === "acknowledged") moved.splice(Math.max(0, moved.length - 20), 0, op);
      else moved.push(op);
    }
    return moved;
  },
};
const SEED = 7;
/** Even ones are: see power.ts. */
const SEED_IN_THREADS = 8;

test.skipIf(!canRecord())(
  "nothing acknowledged is lost and nothing is half there, wherever the power is cut, and a lie of the disk is noticed",
  async () => {
    const [honest, ...lying] = await cutPower(SEED, 120, [(ops) => ops, ...Object.values(LIES)]);
    expect(honest!.findings, powerCommand(SEED, 120)).toEqual([]);
    expect(Math.min(...Object.values(honest!.seen))).toBeGreaterThan(0);
    for (const [i, lie] of Object.keys(LIES).entries())
      expect([lie, lying[i]!.findings.length > 0]).toEqual([lie, true]);
  },
  120_000,
);

test.skipIf(!canRecord())(
  "so it is where the log and its compaction have threads of their own, and a lie of the disk is noticed there too",
  async () => {
    const [lie] = Object.keys(LIES) as [string];
    const [honest, lying] = await cutPower(SEED_IN_THREADS, 60, [(ops) => ops, LIES[lie]!]);
    expect(honest!.findings, powerCommand(SEED_IN_THREADS, 60)).toEqual([]);
    expect([lie, lying!.findings.length > 0]).toEqual([lie, true]);
  },
  120_000,
);
