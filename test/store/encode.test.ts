import { expect, test } from "bun:test";
import fc from "fast-check";
import { seededRandom } from "../../src/base/random.ts";
import type { Row } from "../../src/base/row.ts";
import { batchOf } from "../../src/contract/batch.ts";
import { encodeBatch } from "../../src/contract/codec.ts";
import type { Sealer } from "../../src/store/catalogue.ts";
import { encodeCommit, encoderOf } from "../../src/store/encode.ts";
import { contentHasher } from "../../src/store/leaves.ts";
import { decodeBody } from "../../src/store/record.ts";
import { plainContract, streams } from "../support/rows.ts";

const SALT_KEY = new Uint8Array(32).fill(3);
/** Seals nothing: what is tested is what would be sealed. */
const sealer = {
  storeId: new Uint8Array(16),
  keyring: { seal: (plaintext: Uint8Array) => plaintext.slice() },
} as unknown as Sealer;

const commits = fc.array(
  fc.oneof(
    { weight: 8, arbitrary: fc.array(fc.constantFrom(...Object.keys(streams)), { maxLength: 3 }) },
    { weight: 1, arbitrary: fc.constant(["large"]) }, // larger than the memory that is kept
  ),
  { minLength: 1, maxLength: 6 },
);

test("records are what one that starts anew would make of each commit, whatever was committed before", () => {
  const encoder = encoderOf(sealer, SALT_KEY, seededRandom(1));
  const hasher = contentHasher(SALT_KEY);
  fc.assert(
    fc.property(commits, fc.nat(), (lists, seed) => {
      const records = lists.map((names, c) => {
        const appends = names.map((stream, a) => {
          if (stream === "large") return { stream, batch: batchOf(plainContract, [{ kind: largeText(c), at: 1 }]) };
          const { contract, row } = streams[stream]!;
          const rows = fc.sample(fc.array(row, { maxLength: 40 }), { seed: seed + a, numRuns: 1 })[0] as Row[];
          return { stream, batch: batchOf(contract, rows) };
        });
        const said = { cursors: { source: `at ${c}` }, readers: { reader: c } };
        return { appends, said, record: encodeCommit({ appends, ...said }, encoder).record };
      });
      for (const { appends, said, record } of records) {
        const body = decodeBody(record);
        expect({ cursors: body.cursors, readers: body.readers }).toEqual(said);
        expect(body.appends.length).toBe(appends.length);
        body.appends.forEach(({ batch, root, salt, tombstones }, a) => {
          const given = appends[a]!.batch;
          expect(Buffer.compare(batch, encodeBatch(given))).toBe(0);
          expect(Buffer.compare(root, hasher(given, undefined, salt))).toBe(0);
          expect(tombstones.length).toBe(0);
        });
      }
    }),
    { numRuns: 60 },
  );
});

/** Some hundred thousand units that zstd can't shorten much. */
const largeText = (seed: number): string => Buffer.from(seededRandom(seed).bytes(300_000)).toString("latin1");
