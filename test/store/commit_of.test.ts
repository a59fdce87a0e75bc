/** Which commit a row came with, in the tail, in segments and in merged ones: compared with what a scan of all rows says. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { batchOf } from "../../src/contract/batch.ts";
import { commitOf } from "../../src/store/commit_of.ts";
import { openStore } from "../../src/store/store.ts";
import { plainContract } from "../support/rows.ts";
import { storeHome } from "../support/store_home.ts";

const STREAMS = ["landing/a", "landing/b"] as const;
const append = fc.record({ stream: fc.constantFrom(...STREAMS), rows: fc.integer({ min: 0, max: 4 }) });
const act = fc.oneof(
  { weight: 4, arbitrary: fc.array(append, { maxLength: 3 }) },
  { weight: 1, arbitrary: fc.constant("compact" as const) },
);

test("a sequence leads to the commit that a scan gives with the row", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(act, { maxLength: 25 }), async (acts) => {
      const home = storeHome();
      const store = await openStore(home.options);
      try {
        let at = 0;
        for (const one of acts) {
          if (one === "compact") await store.compact();
          else {
            const appends = one.map(({ stream, rows }) => ({
              stream,
              batch: batchOf(
                plainContract,
                Array.from({ length: rows }, () => ({ kind: "k", body: new Uint8Array(3), at: at++ })),
              ),
            }));
            await store.commit({ appends });
          }
        }
        let rows = 0;
        for (const stream of STREAMS) {
          for await (const { sequences, commitNos } of store.scan(stream)) {
            for (let i = 0; i < sequences.length; i++) {
              expect(commitOf(store.reader, stream, sequences[i]!)).toBe(commitNos[i]!);
              rows++;
            }
          }
          const { rows: stored } = (await store.streams()).find((info) => info.stream === stream) ?? { rows: 0 };
          expect(commitOf(store.reader, stream, stored)).toBeUndefined();
        }
        expect(rows).toBe(at);
      } finally {
        await store.close();
        home.remove();
      }
    }),
    { numRuns: 40 },
  );
}, 60_000);
