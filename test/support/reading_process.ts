/**
 * Run by test/store/replaced.test.ts as another process: reads a stream in every way, over and over, until its input ends,
 * and says what was not as it is committed: ten rows a commit, each with its sequence as its event time.
 */
import { join } from "node:path";
import { verifyAudit } from "../../src/audit/verify.ts";
import { systemClock } from "../../src/base/clock.ts";
import { systemRandom } from "../../src/base/random.ts";
import type { StoredRows } from "../../src/store/port.ts";
import { openStore } from "../../src/store/store.ts";

const [home, stream] = process.argv.slice(2) as [string, string];
const options = { directory: join(home, "data"), keys: { provider: "file" as const, path: join(home, "key") } };
const store = await openStore({ ...options, clock: systemClock, random: systemRandom, mode: "read" });
const problems: string[] = [];
let rows = 0;

/** Every sequence once, of its commit. */
function check(what: string, parts: readonly StoredRows[]): void {
  const found = parts.flatMap(({ sequences, commitNos }) =>
    Array.from(sequences, (at, i) => [at, commitNos[i]!] as const),
  );
  found.sort((a, b) => a[0] - b[0]);
  const wrong = found.findIndex(([sequence, commitNo], i) => sequence !== i || commitNo !== 1 + Math.floor(i / 10));
  if (wrong >= 0) problems.push(`${what}: ${found[wrong]} at ${wrong}`);
  if (found.length < rows || found.length % 10 !== 0) problems.push(`${what}: ${found.length} rows after ${rows}`);
  rows = found.length;
}

async function readAll(): Promise<void> {
  const scanned: StoredRows[] = [];
  for await (const part of store.scan(stream)) scanned.push(part);
  check("scan", scanned);
  const paged: StoredRows[] = [];
  for (let after = 0, head = 1; after < head; ) {
    const page = await store.tail(after, [stream], 100);
    paged.push(...page.rows);
    [after, head] = [page.upTo, page.head.commitNo];
  }
  check("tail", paged);
  const at = rows - 1;
  const [found] = await store.asOf(stream, [{ entity: [`p${at % 7}`, 1], at }]);
  if (found?.id !== `r${at}`) problems.push(`as of ${at}: ${found?.id}`);
  problems.push(...verifyAudit(store).problems.map(({ place, message }) => `${place}: ${message}`));
}

let ended = false;
void (async () => {
  for await (const _ of process.stdin) {
    // nothing is said but the end
  }
  ended = true;
})();
console.log("ready");
while (!ended && problems.length === 0) await readAll().catch((error) => problems.push(String(error)));
if (problems.length === 0) await readAll();
console.log(JSON.stringify({ rows, problems }));
process.exit(0);
