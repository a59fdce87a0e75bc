/**
 * Writes a small store that uses every feature of the log's format, with a key file that protects nothing but it, and
 * what it folds to: `bun scripts/golden.ts --out <new directory>`. One of each format is kept under `test/golden/`.
 */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { verifyAudit } from "../src/audit/verify.ts";
import { seededRandom } from "../src/base/random.ts";
import { MICROS_PER_SECOND } from "../src/base/time.ts";
import { openStore } from "../src/store/store.ts";
import { goldenClock, questions, writeContent } from "../test/golden/content.ts";
import { foldOf } from "../test/golden/digests.ts";

const { values } = parseArgs({ options: { out: { type: "string" }, seed: { type: "string", default: "1" } } });
if (values.out === undefined) throw new Error("name a new directory: --out <directory>");
mkdirSync(values.out);
const clock = goldenClock();
const directory = join(values.out, "data");
// Some periods of keys in the two minutes that the content takes.
const period = 30 * MICROS_PER_SECOND;
const keys = { provider: "file", path: join(values.out, "test-only.key"), period } as const;
const store = await openStore({ directory, keys, clock, random: seededRandom(Number(values.seed)) });
await writeContent(store, clock, true);
const fold = await foldOf(store, questions);
const { size, root, verified } = await verifyAudit(store);
await store.close();
if (!verified) throw new Error("the new store does not verify");
for (const name of ["writer.lock", "writer.pid", "log.db-shm", "log.db-wal"])
  rmSync(join(directory, name), { force: true });
writeFileSync(join(values.out, "expected.json"), `${JSON.stringify({ ...fold, audit: { size, root } }, null, 2)}\n`);
console.log(`${fold.head.commitNo} commits, ${Object.keys(fold.streams).length} streams in ${values.out}`);
