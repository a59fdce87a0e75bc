import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createConnector } from "../../src/connectors/registry.ts";
import { batchOf } from "../../src/contract/batch.ts";
import { streamContract } from "../../src/contract/contract.ts";
import { type Page, withoutDigests } from "../../src/contract/page.ts";
import { writeParquet } from "../../src/contract/parquet_write.ts";
import { encode, fileSource, tickingClock } from "../ingestion/harness.ts";

let directory = "";
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "mlpe-file-"));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

const context = { clock: tickingClock(), resolve: (path: string) => path, expectations: [] };
const at = (name: string) => join(directory, name);
const connect = (path: string, rest = {}) => createConnector("s", fileSource(path, rest), context);
const failure = (act: Promise<unknown>) =>
  act.then(
    () => undefined,
    (error) => error,
  );

const LINES = `a,b\n${Array.from({ length: 50 }, (_, n) => `${n},x\n`).join("")}`;

test("a file that grew, shrank or was replaced while it was read is refused", async () => {
  const path = at("changing.csv");
  for (const changed of [`${LINES}51,x\n`, LINES.slice(0, 100), LINES.replace("7,x", "7,y")]) {
    await Bun.write(path, LINES);
    const connector = connect(path);
    await connector.open("");
    const page = (await connector.next(50)) as Page;
    await connector.close();
    await Bun.write(path, changed);
    expect(await failure(connector.open(page.cursor))).toMatchObject({
      code: "connectors.file_changed",
      place: "sources.s",
    });
  }
});

test("a file that shrinks before its end is noticed at the end", async () => {
  const path = at("shrinking.csv");
  await Bun.write(path, LINES);
  const connector = connect(path);
  await connector.open("");
  await connector.next(50);
  await Bun.write(path, LINES.slice(0, 60));
  let error: unknown;
  for (let i = 0; i < 100 && !error; i++) error = await failure(connector.next(1000));
  expect(error).toMatchObject({ code: "connectors.file_changed" });
});

test("a compressed file that ends too early, or is damaged, gives what came before and then an error", async () => {
  const text = Array.from({ length: 40_000 }, (_, n) => `{"n":${n},"x":"${Math.imul(n, 2654435761)}"}\n`).join("");
  for (const [ending, bytes] of [
    ["gz", Bun.gzipSync(encode(text).slice())],
    ["zst", Bun.zstdCompressSync(text)],
  ] as const) {
    const path = at(`cut.jsonl.${ending}`);
    await Bun.write(path, bytes.slice(0, bytes.length / 2));
    const connector = connect(path);
    await connector.open("");
    let error: unknown;
    for (let i = 0; i < 2000 && !error; i++) error = await failure(connector.next(1 << 16));
    expect(error).toMatchObject({ code: "connectors.file_damaged", place: "sources.s" });
    await Bun.write(path, encode("this is not compressed at all"));
    expect(await failure(connector.open(""))).toBeUndefined();
    expect(await failure(connector.next(10))).toMatchObject({ code: "connectors.file_damaged" });
  }
});

test("what can't be read has an error with the place and the way out", async () => {
  await Bun.write(at("twice.csv"), "a,b,a\n1,2,3\n");
  await Bun.write(at("unnamed.csv"), "a,,b\n1,2,3\n");
  await Bun.write(at("latin.csv"), new Uint8Array([0x61, 0xe9, 0x0a]));
  await Bun.write(at("open.csv"), 'a,"b\n1,2\n');
  await Bun.write(at("no.parquet"), "PAR1 not really PAR1");
  for (const [name, code] of [
    ["missing.csv", "connectors.file_missing"],
    [".", "connectors.unknown_format"],
    ["twice.csv", "connectors.bad_header"],
    ["unnamed.csv", "connectors.bad_header"],
    ["latin.csv", "connectors.bad_header"],
    ["open.csv", "connectors.bad_header"],
    ["table.xlsx", "connectors.unknown_format"],
    ["table.parquet.gz", "connectors.unknown_format"],
    ["no.parquet", "contract.bad_parquet"],
  ] as const) {
    const error = await failure((async () => connect(name === "." ? directory : at(name)).open(""))());
    expect([name, (error as { code: string } | undefined)?.code]).toEqual([name, code]);
    expect((error as { fix: string }).fix.length).toBeGreaterThan(10);
  }
  expect(await failure((async () => connect(at("x.csv"), { csv: { delimiter: "é", nulls: [] } }))())).toMatchObject({
    code: "connectors.bad_delimiter",
  });
});

test("a Parquet file that does not fit the dataset is refused before its first row", async () => {
  const path = at("rows.parquet");
  const inFile = streamContract({ name: "rows", fields: { n: "double", text: "string" }, recordId: ["n"] });
  await Bun.write(path, writeParquet([batchOf(inFile, [{ n: 1, text: "a" }])]));
  const wanted = streamContract({ name: "rows", fields: { n: "int", text: "string" }, recordId: ["n"] });
  const strict = { ...context, expectations: [{ contract: wanted, computed: [] }] };
  const connector = createConnector("s", fileSource(path), strict);
  expect(await failure(connector.open(""))).toMatchObject({ code: "contract.structure_mismatch" });
});

test("a source that is given the same content under another path says so, once it had read it to its end", async () => {
  const inFile = streamContract({ name: "rows", fields: { n: "double" }, recordId: ["n"] });
  const parquet = writeParquet([batchOf(inFile, [{ n: 1 }])]);
  for (const [ending, content] of [
    ["csv", LINES],
    ["csv.gz", Bun.gzipSync(encode(LINES).slice())],
    ["parquet", parquet],
  ] as const) {
    const said: string[] = [];
    const shown = (path: string) => path.slice(directory.length + 1);
    const named = (name: string) =>
      createConnector("s", fileSource(at(name)), { ...context, shown, tell: (text) => said.push(text) });
    for (const name of ["first", "second"]) await Bun.write(at(`${name}.${ending}`), content);
    const connector = named(`first.${ending}`);
    await connector.open("");
    const page = (await connector.next(1)) as Page;
    const moved = named(`second.${ending}`);
    await moved.open(page.cursor); // it goes on there, which is something
    await moved.close();
    let next = await connector.next(1 << 20);
    while (next.kind === "page") next = await connector.next(1 << 20);
    const { cursor } = next as { cursor: string };
    await connector.open(cursor);
    expect(said).toEqual([]);
    await moved.open(cursor);
    expect(await moved.next(1)).toEqual({ kind: "end", cursor });
    expect(said).toEqual([
      `second.${ending} has the size and the first 64 KiB of first.${ending}, which was read before: nothing is ingested`,
    ]);
    const { path: _, ...older } = JSON.parse(cursor);
    await moved.open(JSON.stringify(older));
    expect(said.length).toBe(1);
  }
});

test("a position whose digest went with an erasure is gone on from, keeps none, and is only of the file it was", async () => {
  const inFile = streamContract({ name: "rows", fields: { n: "double" }, recordId: ["n"] });
  const parquet = writeParquet([batchOf(inFile, [{ n: 1 }, { n: 2 }])]);
  for (const [ending, content, other] of [
    ["csv", LINES, LINES.replace("a,b", "a,c")],
    ["parquet", parquet, undefined],
  ] as const) {
    for (const name of ["one", "two"]) await Bun.write(at(`${name}.${ending}`), content);
    const connector = connect(at(`one.${ending}`));
    await connector.open("");
    const page = (await connector.next(1)) as Page;
    expect(page.landed).not.toContain((JSON.parse(page.cursor) as { head: string }).head);
    const cursor = withoutDigests(page.cursor);
    expect(JSON.parse(cursor)).toMatchObject({ head: "" });
    await connector.open(cursor);
    let next = await connector.next(1 << 20);
    for (; next.kind === "page"; next = await connector.next(1 << 20)) {
      expect(JSON.parse(next.cursor)).toMatchObject({ head: "" });
    }
    const end = (next as { cursor: string }).cursor;
    expect(JSON.parse(end)).toMatchObject({ head: "", done: true });
    await connector.open(end);
    expect(await connector.next(1)).toEqual({ kind: "end", cursor: end });
    // Whether another file of that size is the same can't be told any more.
    expect(await failure(connect(at(`two.${ending}`)).open(end))).toMatchObject({ code: "connectors.file_changed" });
    await Bun.write(at(`one.${ending}`), `${LINES}more`);
    expect(await failure(connector.open(end))).toMatchObject({ code: "connectors.file_changed" });
    if (!other) continue;
    await Bun.write(at(`one.${ending}`), other); // of the same size
    expect(await failure(connector.open(cursor))).toMatchObject({ code: "connectors.file_changed" });
  }
});

test("memory stays bounded over a large compressed file", async () => {
  const path = at("large.csv.zst");
  const line = `${"0123456789,".repeat(20)}x\n`;
  const header = `${Array.from({ length: 21 }, (_, i) => `c${i}`).join(",")}\n`;
  await Bun.write(path, Bun.zstdCompressSync(header + line.repeat(300_000)));
  const connector = connect(path);
  await connector.open("");
  let largest = 0;
  let total = 0;
  for (;;) {
    const next = await connector.next(1 << 18);
    if (next.kind !== "page") break;
    largest = Math.max(largest, next.payload.length);
    total += next.payload.length;
  }
  expect(total).toBe(header.length + 300_000 * line.length);
  expect(largest).toBeLessThanOrEqual(1 << 18);
});
