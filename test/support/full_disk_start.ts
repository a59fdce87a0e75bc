/** Run by test/store/space.test.ts on a small disk of its own: a store that is closed when the disk is filled, and opened then. */
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { systemRandom } from "../../src/base/random.ts";
import { batchOf } from "../../src/contract/batch.ts";
import { type OpenOptions, openStore } from "../../src/store/store.ts";
import { fillDisk } from "./fill_disk.ts";
import { plainContract } from "./rows.ts";

const MIB = 1 << 20;
const ROWS = 7;
const place = process.argv[2]!;
const directory = join(place, "data");
const ballast = join(directory, "ballast");
const filler = join(place, "filler");
const keys = { provider: "file" as const, path: join(place, "key") };
const options: OpenOptions = { directory, keys, clock: systemClock, random: systemRandom, thread: true };
const guarded = { ...options, space: { soft: { bytes: 3 * MIB }, hard: { bytes: 2 * MIB }, ballast: { bytes: MIB } } };

const rowsOf = async (given: OpenOptions): Promise<number> => {
  const store = await openStore(given);
  try {
    let rows = 0;
    for await (const { batch } of store.scan("curated/filled")) rows += batch.length;
    return rows;
  } finally {
    await store.close();
  }
};
const code = (cause: unknown) => (cause as { code?: unknown }).code;

const store = await openStore(options);
for (let i = 0; i < ROWS; i++) {
  const batch = batchOf(plainContract, [{ kind: `row${i}`, body: systemRandom.bytes(100), at: i }]);
  await store.commit({ appends: [{ stream: "curated/filled", batch }] });
}
await store.close();

fillDisk(filler, 0);
const refused = [await rowsOf(options).catch(code), await rowsOf({ ...options, thread: false }).catch(code)];
const readFull = await rowsOf({ ...options, thread: false, mode: "read" });
rmSync(filler);
const afterwards = await rowsOf(options);

const watched = await openStore(guarded);
const made = await new Promise<number>((resolve) =>
  watched.onSpace((told) => told.ballast > 0 && resolve(told.ballast)),
);
await watched.close();
fillDisk(filler, 0);
const onBallast = await rowsOf(guarded);
console.log(JSON.stringify({ refused, readFull, afterwards, made, onBallast, ballastGivenUp: !existsSync(ballast) }));
