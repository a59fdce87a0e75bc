import { afterEach, expect, test } from "bun:test";
import { createPublicKey, verify } from "node:crypto";
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { sha256Hex } from "../../src/base/digest.ts";
import { systemRandom } from "../../src/base/random.ts";
import { openStore } from "../../src/store/store.ts";
import { commandsIn } from "../cli/support.ts";

/*
 * A project of two sources is ingested, an entity erased by the command, and everything is sent again: what is read
 * back, the ledger and the audit are compared with what should be left.
 */
const GONE = "N14228";
const homes: string[] = [];
afterEach(() => {
  for (const home of homes.splice(0)) rmSync(home, { recursive: true, force: true });
});

const CONTRACT = {
  type: "record",
  name: "flights",
  fields: [
    { name: "id", type: "string" },
    { name: "tailnum", type: ["null", "string"], default: null },
    { name: "at", type: { type: "long", logicalType: "timestamp-micros" } },
    { name: "delay", type: ["null", "double"], default: null },
  ],
  entity: ["tailnum"],
  eventTime: "at",
  recordId: ["id"],
};

const MLPE = `
site: here
keys: { provider: file, path: key }
data: data
sources:
  flights: { connector: file, path: flights.csv, dataset: flights }
  more: { connector: file, path: more.jsonl, dataset: flights }
datasets:
  flights: { contract: flights.avsc, rename: { tailnum: Tail } }
views:
  delays:
    spine: flights
    features: { delay: delay, tail: tailnum }
checks:
  flights:
    - { expect_column_values_to_not_be_null: { column: tailnum } }
`;

const csvRow = (i: number) =>
  `f${i},${i % 4 === 0 ? GONE : `N${i}`},2024-01-01T00:00:${String(i % 60).padStart(2, "0")}Z,${i % 9 === 0 ? "late" : i}`;
const CSV = `id,Tail,at,delay\n${Array.from({ length: 60 }, (_, i) => csvRow(i)).join("\n")}\n`;
const JSONL = Array.from({ length: 20 }, (_, i) =>
  JSON.stringify({ id: `m${i}`, Tail: i % 5 === 0 ? GONE : `N${i}`, at: "2024-01-02T00:00:00Z", delay: i }),
);

function project() {
  const home = mkdtempSync(join(tmpdir(), "mlpe-erase-"));
  homes.push(home);
  writeFileSync(join(home, "mlpe.yaml"), MLPE);
  writeFileSync(join(home, "flights.avsc"), JSON.stringify(CONTRACT));
  writeFileSync(join(home, "flights.csv"), `${CSV}broken,${GONE}\nbroken,N1\n`);
  writeFileSync(join(home, "more.jsonl"), `${JSONL.join("\n")}\n`);
  return { home, ...commandsIn(home) };
}

const storeOptions = (home: string) => ({
  directory: join(home, "data"),
  keys: { provider: "file", path: join(home, "key") },
  clock: systemClock,
  random: systemRandom,
});

const holdsGone = (directory: string): string[] =>
  readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => readFileSync(path).includes(GONE));

test("an erased entity is in no stream, the ledger and the audit hold, and it does not come back", async () => {
  const { home, json, run, failure } = project();
  await json(["ingest"]);
  const everything = async () => {
    const found: Record<string, string> = {};
    for (const stream of [
      "curated/flights",
      "landing/flights",
      "landing/more",
      "quarantine/flights",
      "verdicts",
      "lineage",
    ]) {
      const ran = await run(["tap", stream, "--json"]);
      found[stream] = `${ran.output}${Buffer.from(ran.output.match(/"payload":"([^"]*)"/)?.[1] ?? "", "base64")}`;
    }
    return found;
  };
  const before = await everything();
  expect(before["curated/flights"]).toContain(GONE);
  expect(before["landing/flights"]).toContain(GONE);
  expect(before["quarantine/flights"]).toContain(GONE);

  expect((await failure(["erase", "--entity", "nothing=1"])).code).toBe("runtime.not_an_entity");
  // A name with a mistake in it is not suppressed for good by accident.
  const mistaken = await failure(["erase", "--entity", "tailnum=N1422"]);
  expect(mistaken).toMatchObject({ code: "store.nothing_to_erase", fix: expect.stringContaining("--ahead") });
  expect(mistaken.message).toContain("tailnum=N1422");
  const dry = await run(["erase", "--entity", "tailnum=N1422", "--dry-run"]);
  expect(dry.output).toContain("without --ahead it is refused");
  expect(await everything()).toEqual(before);
  const planned = await json<{ streams: Record<string, unknown> }>([
    "erase",
    "--entity",
    `tailnum=${GONE}`,
    "--dry-run",
  ]);
  expect(await everything()).toEqual(before);
  type Receipt = {
    streams: object;
    emptied: number;
    replaced: number;
    guessable: number;
    scrubbed: boolean;
    signature: string;
  };
  const receipt = await json<Receipt>(["erase", "--entity", `tailnum=${GONE}`]);
  expect(receipt.streams).toEqual(planned.streams);
  // 15 of the CSV (of which 2 in quarantine), 4 of the JSON lines, and one line that is no record.
  expect(receipt.streams).toMatchObject({
    "curated/flights": { emptied: 17, replaced: 0 },
    "quarantine/flights": { emptied: 3, replaced: 0 },
    "landing/flights": { emptied: 0, replaced: 1 },
    "landing/more": { emptied: 0, replaced: 1 },
  });
  expect(receipt).toMatchObject({ guessable: 0, scrubbed: true });
  // A third party checks it with the key that was kept with a checkpoint, and nothing of this program.
  const kept = await json<{ verifier_key: string }>(["audit", "checkpoint"]);
  // Who asked may not have heard the answer: it is had again, and says the same.
  const again = await json<Receipt>(["erase", "--entity", `tailnum=${GONE}`, "--receipt"]);
  expect(again).toEqual({ ...receipt, guessable: null, signature: again.signature } as never);
  expect(await failure(["erase", "--entity", "tailnum=N1422", "--receipt"])).toMatchObject({
    code: "store.not_erased",
  });
  const { signature, ...said } = receipt;
  const raw = Buffer.from(kept.verifier_key.split("+").slice(2).join("+"), "base64");
  expect(raw[0]).toBe(1); // Ed25519
  const spki = Buffer.concat([Buffer.from("302a300506032b6570032100", "hex"), raw.subarray(1)]);
  const key = createPublicKey({ key: spki, format: "der", type: "spki" });
  const holds = (text: string) => verify(null, Buffer.from(text), key, Buffer.from(signature, "base64"));
  expect(holds(JSON.stringify(said))).toBe(true);
  expect(holds(JSON.stringify({ ...said, emptied: receipt.emptied + 1 }))).toBe(false);
  const left = await everything();
  for (const [stream, text] of Object.entries(left))
    expect({ stream, gone: text.includes(GONE) }).toEqual({ stream, gone: false });
  expect(left["curated/flights"]).toContain("N17");
  expect(left["landing/flights"]).toContain("f17,N17");
  expect(holdsGone(join(home, "data"))).toEqual([]);
  // Nor a digest of what was read, by which a guess of the rows could be told to be right.
  const digests = ["flights.csv", "more.jsonl"].map((name) => sha256Hex(readFileSync(join(home, name))).slice(0, 32));
  const read = await openStore({ ...storeOptions(home), mode: "read" });
  const cursors = [await read.cursor("flights"), await read.cursor("more")];
  await read.close();
  for (const cursor of cursors) expect(JSON.parse(cursor)).toMatchObject({ done: true, head: "" });
  for (const digest of digests)
    expect(`${cursors}${left["landing/flights"]}${left["landing/more"]}`).not.toContain(digest);
  expect(await json(["audit", "verify"])).toMatchObject({ verified: true, problems: [] });
  expect(await json(["ledger", "verify"])).toMatchObject({ ok: true, problems: [] });

  // Sent again, under another cursor: dropped, and counted.
  appendFileSync(join(home, "mlpe.yaml"), "");
  writeFileSync(join(home, "again.csv"), CSV);
  writeFileSync(
    join(home, "mlpe.yaml"),
    MLPE.replace("  more:", "  again: { connector: file, path: again.csv, dataset: flights }\n  more:"),
  );
  const ingested = await json<{ rows: Record<string, number> }>(["ingest"]);
  const there = await json<{ stream: string; rows: number }[]>(["streams"]);
  expect(ingested.rows).toEqual(Object.fromEntries(there.map(({ stream, rows }) => [stream, rows]))); // no erased one
  const after = await everything();
  for (const [stream, text] of Object.entries(after))
    expect({ stream, gone: text.includes(GONE) }).toEqual({ stream, gone: false });
  const page = await run(["tap", "landing/again", "--json"]);
  expect(Buffer.from(page.output.match(/"payload":"([^"]*)"/)![1]!, "base64").toString()).not.toContain(GONE);
  const ledger = await json<{ lines: { source: string; reasons: object; dropped: number }[] }>(["ledger", "verify"]);
  expect(ledger).toMatchObject({ ok: true });
  expect(ledger.lines.find(({ source }) => source === "again")).toMatchObject({ dropped: 15, reasons: { erased: 15 } });
  expect(await json(["audit", "verify"])).toMatchObject({ verified: true });

  // It is gone: erased once more it is refused, but for who asks for it.
  expect((await failure(["erase", "--entity", `tailnum=${GONE}`])).code).toBe("store.nothing_to_erase");
  const ahead = await run(["erase", "--entity", `tailnum=${GONE}`, "--ahead"]);
  expect(ahead).toMatchObject({
    code: 0,
    output: expect.stringContaining("rows of it that come from now on are dropped"),
  });

  // The raw pages go by retention; what was made of them stays, and everything still adds up.
  const config = `${MLPE}retention: { streams: { "landing/*": { bytes: 1 }, "quarantine/*": { bytes: 1 } } }\n`;
  writeFileSync(join(home, "mlpe.yaml"), config);
  const streamsOf = (dropped: readonly { stream: string }[]) => dropped.map(({ stream }) => stream).sort();
  const retained = await json<{ dropped: { stream: string; reason: string }[] }>(["retain"]);
  expect(streamsOf(retained.dropped)).toEqual(["quarantine/flights"]); // of each stream the newest segment stays
  expect((await json<{ dropped: object[] }>(["retain"])).dropped).toEqual([]);
  const store = await openStore(storeOptions(home));
  const rules = [
    { streams: "landing/*", age: 0 },
    { streams: "quarantine/*", age: 0 },
  ];
  const { dropped } = await store.retain({ rules, readers: {} });
  await store.close();
  expect(streamsOf(dropped)).toEqual(["landing/again", "landing/flights", "landing/more", "quarantine/flights"]);
  expect(await json(["audit", "verify"])).toMatchObject({ verified: true, problems: [] });
  expect(await json(["ledger", "verify"])).toMatchObject({ ok: true, problems: [] });
  const bad = config.replace(
    'streams: { "landing/*": { bytes: 1 }, "quarantine/*": { bytes: 1 } }',
    "host: { bytes: 1GB }",
  );
  writeFileSync(join(home, "mlpe.yaml"), bad);
  expect((await failure(["retain"])).message).toContain("host.bytes needs streams");
}, 30_000);

test("the receipt names the backups that hold the entity, and no others", async () => {
  const { home, json, run } = project();
  const numbers = ({ backups }: Holding) => backups.map(({ number }) => number);
  const erase = (tail: string) => json<Holding>(["erase", "--entity", `tailnum=${tail}`]);
  rmSync(join(home, "more.jsonl"));
  writeFileSync(join(home, "flights.csv"), "id,Tail,at,delay\nf1,N1,2024-01-01T00:00:00Z,1\n");
  await run(["ingest"]); // the other file is missing
  await json(["backup", "1"]);
  writeFileSync(join(home, "more.jsonl"), `${JSONL.join("\n")}\n`);
  await json(["ingest"]);
  const second = await json<{ backup: string; commit_no: number }>(["backup", "2"]);
  await run(["backup", "nowhere/3"]); // it is begun, and who knows
  const receipt = await erase(GONE);
  expect(numbers(receipt)).toEqual([2, 3]);
  expect(receipt.backups.map(({ backup, commit_no }) => [backup, commit_no])).toEqual([
    [second.backup, second.commit_no],
    [expect.any(String), null],
  ]);
  expect(receipt.beyond[0]).toContain("2 backups still hold it, from 2 to 3");
  await json(["backup", "4"]);
  const { output } = await run(["erase", "--entity", "tailnum=N2"]);
  const [, held] = /(\d+) backups still hold it/.exec(output)!;
  expect([held, output.match(/^ {2}backup \d/gm)]).toEqual(["3", ["  backup 2", "  backup 3", "  backup 4"]]);
  expect(numbers(await erase("N1"))).toEqual([1, 2, 3, 4]);
  expect(numbers(await json<Holding>(["erase", "--entity", "tailnum=NONE", "--ahead"]))).toEqual([]);
  // Those of an earlier receipt still hold it, and may hold more that came between.
  expect(numbers(await json<Holding>(["erase", "--entity", "tailnum=N2", "--ahead"]))).toEqual([1, 2, 3, 4]);
});
interface Holding {
  readonly backups: readonly { number: number; backup: string; commit_no: number | null }[];
  readonly beyond: readonly string[];
}
