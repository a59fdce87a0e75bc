/**
 * Run by test/runtime/space.test.ts on a small disk of its own: a server with `space.scores: refuse` is asked for scores
 * while the disk is filled to its hard mark, then to the last byte, and freed; at last its directory is audited.
 */
import { unlinkSync } from "node:fs";
import { join } from "node:path";
import { verifyAudit } from "../../src/audit/verify.ts";
import { columnNamed, valueAt } from "../../src/contract/batch.ts";
import { openEngine } from "../../src/runtime/engine.ts";
import { createDelivered, edited } from "../bad_input/project.ts";
import { serveDesk } from "../bad_input/server.ts";
import { fillDisk } from "./fill_disk.ts";

const place = process.argv[2]!;
process.env.TMPDIR = place; // where the desk is made
const filler = join(place, "filler");
const desk = await createDelivered();
const marks = "space: { soft: 4MiB, hard: 3MiB, ballast: 0B, scores: refuse }\n";
desk.write("mlpe.yaml", marks + edited("", ""));
const server = await serveDesk(desk);

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Record<string, never>;
}
const ask = async (path: string, body?: object): Promise<Answer> => {
  const response = await fetch(server.url + path, body ? { method: "POST", body: JSON.stringify(body) } : {});
  return { status: response.status, headers: response.headers, body: (await response.json()) as Answer["body"] };
};
const score = (id: string) => ask("/v1/score/load", { id, entities: [{ sensor: "s1" }] });
const shown = async (id: string) => {
  const { status, headers, body } = await score(id);
  const { error, durable, repeated } = body as { error?: { code: string }; durable?: boolean; repeated?: boolean };
  const said = { retryAfter: headers.get("retry-after"), durableHeader: headers.get("mlpe-durable") };
  return { status, ...said, code: error?.code ?? null, durable: durable ?? null, repeated: repeated ?? null };
};
/** Rows of what a score's commit writes. */
const stored = async () => {
  const { streams } = (await ask("/v1/streams")).body as unknown as { streams: { stream: string; rows: number }[] };
  return ["scores/load", "lineage"].map((name) => streams.find(({ stream }) => stream === name)?.rows);
};
const untilSpace = async (state: string | undefined) => {
  for (;;) {
    const { status, body } = await ask("/readyz");
    const space = (body as { space?: { state: string; scores: string } }).space;
    if (space?.state === state) return { status, scores: space?.scores ?? null };
  }
};

const before = await shown("before");
const rows = await stored();
fillDisk(filler, 2_048 << 10);
const marked = await untilSpace("hard");
const refused = [await shown("during"), await shown("during")];
const again = await shown("before");
const kept = await stored();
fillDisk(filler, 0);
const full = await shown("full");
const fullKept = await stored();
const notStored = /mlpe_scores_not_stored_total\{[^}]*\} (\d+)/.exec(
  await (await fetch(`${server.url}/metrics`)).text(),
);
unlinkSync(filler);
const free = await untilSpace(undefined);
const after = [await shown("during"), await shown("during"), await shown("full")];
await server.stop();

const engine = await openEngine(desk.world, { config: desk.path("mlpe.yaml") }, "read");
const requests: string[] = [];
for await (const { batch } of engine.store.scan("scores/load")) {
  const ids = columnNamed(batch, "request_id");
  for (let i = 0; i < batch.length; i++) {
    const id = valueAt(ids, "string", i) as string | null;
    if (id !== null) requests.push(id);
  }
}
const findings = (await verifyAudit(engine.store)).problems.length;
await engine.close();
console.log(
  JSON.stringify({
    before,
    marked,
    refused,
    again,
    full,
    added: [kept, fullKept].map((now) => now.map((count, i) => count! - rows[i]!)),
    notStored: notStored?.[1] ?? null,
    free,
    after,
    requests: requests.sort(),
    findings,
  }),
);
process.exit(0);
