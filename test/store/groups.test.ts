/** What goes into one transaction: scores first, and nobody is held up for ever. */
import { expect, test } from "bun:test";
import { systemRandom } from "../../src/base/random.ts";
import { batchOf } from "../../src/contract/batch.ts";
import { openStore } from "../../src/store/store.ts";
import { plainContract } from "../support/rows.ts";
import { storeHome } from "../support/store_home.ts";

const append = (bytes: number) => ({
  appends: [
    { stream: "landing/plain", batch: batchOf(plainContract, [{ kind: "k", body: systemRandom.bytes(bytes), at: 1 }]) },
  ],
});

test("scores go before large commits that were there first, and these before the scores that come then", async () => {
  const { options, remove } = storeHome();
  const store = await openStore(options);
  try {
    const numberOf = async (bytes: number, priority: "score" | "pipeline") =>
      (await store.commit({ ...append(bytes), priority })).commitNo;
    const others = [1, 2, 3].map(() => numberOf(100_000, "pipeline"));
    const scores = [1, 2].map(() => numberOf(10, "score"));
    const later = scores[0]!.then(() => numberOf(10, "score"));
    expect(await Promise.all(scores)).toEqual([1, 2]);
    expect(await Promise.all(others)).toEqual([3, 4, 5]);
    expect(await later).toBe(6);
  } finally {
    await store.close();
    remove();
  }
});
