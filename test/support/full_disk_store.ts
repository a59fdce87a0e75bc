/** Run by test/store/space.test.ts on a small disk of its own: fills it beside an open store, frees it, looks at what is left. */
import { existsSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { verifyAudit } from "../../src/audit/verify.ts";
import { systemClock } from "../../src/base/clock.ts";
import { systemRandom } from "../../src/base/random.ts";
import { batchOf, columnNamed, valueAt } from "../../src/contract/batch.ts";
import type { SpaceReport } from "../../src/store/space.ts";
import { openStore } from "../../src/store/store.ts";
import { fillDisk } from "./fill_disk.ts";
import { plainContract } from "./rows.ts";

const MIB = 1 << 20;
const place = process.argv[2]!;
const directory = join(place, "data");
const filler = join(place, "filler");
const keys = { provider: "file" as const, path: join(place, "key") };
const space = { soft: { bytes: 4 * MIB }, hard: { bytes: 3 * MIB }, ballast: { bytes: 2 * MIB } };
const options = { directory, keys, clock: systemClock, random: systemRandom, thread: true, space };

let store = await openStore(options);
const states: string[] = [];
let last: SpaceReport | undefined;
let wake = () => {};
store.onSpace((report) => {
  if (report.state !== states.at(-1)) states.push(report.state);
  last = report;
  wake();
});
const until = async (holds: (report: SpaceReport) => boolean) => {
  while (!last || !holds(last)) {
    await new Promise<void>((resolve) => {
      wake = resolve;
    });
  }
};
const acknowledged: string[] = [];
let next = 0;
const commit = async (priority?: "pipeline", bytes = 20_000) => {
  const kind = `row${next++}`;
  const row = { kind, body: systemRandom.bytes(bytes), at: next };
  await store.commit({
    appends: [{ stream: "curated/filled", batch: batchOf(plainContract, [row]) }],
    ...(priority ? { priority } : {}),
  });
  acknowledged.push(kind);
};
const rows = async () => {
  const found: string[] = [];
  for await (const { batch } of store.scan("curated/filled")) {
    const kinds = columnNamed(batch, "kind");
    for (let i = 0; i < batch.length; i++) found.push(valueAt(kinds, "string", i) as string);
  }
  return found;
};

for (let i = 0; i < 50; i++) await commit("pipeline");
await until(({ ballast }) => ballast === 2 * MIB);
fillDisk(filler, 0);
let refused = "";
for (let i = 0; i < 2_000 && refused === ""; i++) {
  await commit("pipeline").catch((error) => {
    refused = error.code;
  });
}
await until(({ state, ballast }) => state === "hard" && ballast === 0);
const ballastGivenUp = !existsSync(join(directory, "ballast"));
const head = (await store.head()).commitNo === acknowledged.length;
const scan = (await rows()).length === acknowledged.length;
await commit(undefined, 100);

unlinkSync(filler);
await until(({ state }) => state === "ok");
await commit("pipeline");
await until(({ ballast }) => ballast === 2 * MIB);
let compacted = true;
await store.compact().catch(() => {
  compacted = false;
});
await store.close();
store = await openStore({ ...options, thread: false });
const found = await rows();
const unique = new Set(found);
console.log(
  JSON.stringify({
    refused,
    lost: acknowledged.filter((kind) => !unique.has(kind)).length,
    twice: found.length - unique.size,
    duringFull: { head, scan, urgent: true },
    ballastGivenUp,
    states,
    ballastBack: existsSync(join(directory, "ballast")),
    compacted,
    findings: (await verifyAudit(store)).problems.length,
  }),
);
await store.close();
process.exit(0);
