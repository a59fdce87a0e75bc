/** Which scores a judgement of drift is made of. */
import { expect, test } from "bun:test";
import type { Row } from "../../src/base/row.ts";
import { batchOf } from "../../src/contract/batch.ts";
import { contractOf } from "../../src/contract/contract.ts";
import { scoresContract, scoresStream } from "../../src/contract/streams.ts";
import { newestValues } from "../../src/runtime/drift.ts";
import { MemoryStore } from "../support/memory_store.ts";

const { fields } = contractOf(
  { type: "record", name: "s", recordId: ["tail"], fields: [{ name: "tail", type: "string" }] },
  "s",
);
const shape = {
  view: "v",
  keys: fields,
  entity: ["tail"],
  features: [{ name: "a", type: "double" as const }],
  inputs: [],
};
const contract = scoresContract("m", shape);
let made = 0;
const score = (tail: string, asOf: number, a: number, more: Row = {}): Row => ({
  score_id: `id${made++}`,
  key_tail: tail,
  as_of: asOf,
  a,
  position: 1,
  made_at: asOf,
  mode: "batch",
  hindsight: false,
  model: "d",
  role: "live",
  score: a / 100,
  outputs: "{}",
  flags: "[]",
  blocked: false,
  ...more,
});

async function valuesOf(commits: readonly (readonly Row[])[], limit?: number) {
  const store = new MemoryStore({ now: () => 1 });
  for (const rows of commits) {
    await store.commit({ appends: [{ stream: scoresStream("m"), batch: batchOf(contract, rows) }] });
  }
  const period = { model: "m", digest: "d", from: 10, to: 20 };
  return Object.fromEntries(await newestValues(store, period, ["a"], limit));
}

test("a recomputed batch score counts once, as it was last; each online score counts", async () => {
  const values = await valuesOf([
    [score("x", 10, 1), score("y", 10, 2), score("x", 12, 3)],
    [score("x", 10, 4), score("x", 12, 5, { mode: "entity" })],
  ]);
  expect(values).toEqual({ a: [2, 3, 4, 5], score: [0.02, 0.03, 0.04, 0.05] });
});

test("beyond the bound the newest count, whatever their T", async () => {
  const commits = [[score("x", 19, 1)], [score("y", 11, 2)], [score("z", 15, 3), score("z", 21, 9)]];
  expect((await valuesOf(commits, 2)).a).toEqual([2, 3]);
});

test("hindsight, blocked scores and other packages are left out", async () => {
  const left = [{ hindsight: true }, { blocked: true, score: null }, { model: "other" }];
  expect(await valuesOf([left.map((more, i) => score(`t${i}`, 12, 7, more)), [score("u", 12, 8)]])).toEqual({
    a: [8],
    score: [0.08],
  });
});
