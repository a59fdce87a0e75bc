/** Pages of the log folded as the serving thread folds them, with failures and requests in between. */
import { expect, test } from "bun:test";
import { othersTurn } from "../../src/base/turn.ts";
import { batchOf } from "../../src/contract/batch.ts";
import { type Following, followPage, followState } from "../../src/runtime/follow.ts";
import { MemoryStore } from "../support/memory_store.ts";
import { plainContract } from "../support/rows.ts";

const rows = (count: number) =>
  batchOf(
    plainContract,
    Array.from({ length: count }, (_, i) => ({ kind: "k", body: null, at: i })),
  );

/** A store with those commits; what was applied, counted and deployed is kept in order. */
async function made(commits: Record<string, number>[]) {
  const store = new MemoryStore({ now: () => 1 });
  for (const commit of commits) {
    await store.commit({
      appends: Object.entries(commit).map(([stream, count]) => ({ stream, batch: rows(count) })),
    });
  }
  const seen = { applied: 0, folded: [] as number[], deployed: 0 };
  const following: Following = {
    store,
    streams: ["curated/a", "curated/b", "control"],
    indexed: (stream) => stream.startsWith("curated/"),
    apply: (_, from, to) => {
      seen.applied += to - from;
    },
    folded: ({ commitNos }) => void seen.folded.push(commitNos[0]!),
    deploys: ({ stream }) => stream === "control",
    deploy: async () => {
      seen.deployed++;
    },
  };
  return { store, seen, following, state: followState(0) };
}

test("a deployment whose model can't be loaded is followed again, and nothing is counted twice", async () => {
  const { following, seen, state } = await made([{ "curated/a": 2 }, { control: 1 }, { "curated/a": 1 }]);
  let failures = 2;
  const deploy = async () => {
    if (failures-- > 0) throw new Error("no memory");
    await following.deploy();
  };
  const failing = { ...following, deploy };
  await expect(followPage(failing, state)).rejects.toThrow("no memory");
  await expect(followPage(failing, state)).rejects.toThrow("no memory");
  expect(await followPage(failing, state)).toBe(3);
  expect(seen).toEqual({ applied: 3, folded: [1, 2, 3], deployed: 1 });
  await followPage(failing, state);
  expect(seen.deployed).toBe(1);
});

test("a page that fails in the middle is gone on with, not begun again", async () => {
  const { following, seen, state } = await made([{ "curated/a": 1 }, { "curated/a": 1 }, { "curated/b": 1 }]);
  let failures = 1;
  const apply: Following["apply"] = (stored, from, to) => {
    if (stored.commitNos[0] === 2 && failures-- > 0) throw new Error("damaged");
    following.apply(stored, from, to);
  };
  await expect(followPage({ ...following, apply }, state)).rejects.toThrow("damaged");
  expect(state.position).toBe(1);
  await followPage({ ...following, apply }, state);
  expect(seen).toMatchObject({ applied: 3, folded: [1, 2, 3] });
});

test("who looks while nothing is being folded sees whole commits, also of two streams", async () => {
  const commits = Array.from({ length: 30 }, (_, i) => ({ "curated/a": 1 + ((i * 397) % 1_500), "curated/b": i }));
  const { following, seen, state } = await made(commits);
  const whole = [0];
  for (const commit of commits) whole.push(whole.at(-1)! + commit["curated/a"] + commit["curated/b"]);
  let [looks, waits] = [0, 0];
  let done = false;
  const steps = { due: () => true, turn: othersTurn };
  const looking = (async () => {
    while (!done) {
      for (let folding = state.folding; folding; folding = state.folding) {
        waits++;
        await folding;
      }
      expect(seen.applied).toBe(whole[state.position]!);
      looks++;
      await new Promise((resolve) => setImmediate(resolve));
    }
  })();
  while ((await followPage({ ...following, steps }, state)) > state.position);
  done = true;
  await looking;
  expect(state.position).toBe(30);
  expect([looks > 5, waits > 5]).toEqual([true, true]);
});
