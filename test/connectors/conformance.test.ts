import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { RECORD_BYTES_MAX } from "../../src/connectors/cut.ts";
import type { PushConnector } from "../../src/connectors/http_push.ts";
import { connectorKinds, createConnector } from "../../src/connectors/registry.ts";
import { batchOf } from "../../src/contract/batch.ts";
import { streamContract } from "../../src/contract/contract.ts";
import { writeParquet } from "../../src/contract/parquet_write.ts";
import { type ConnectorCase, type ConnectorUnderTest, connectorSuite } from "../conformance/connectors.ts";
import { encode, tickingClock } from "../ingestion/harness.ts";

let directory = "";
let files = 0;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "mlpe-connectors-"));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

const context = { clock: tickingClock(), resolve: (path: string) => path, expectations: [] };
const text = (n: number) => `row ${n}, "quoted"\nsecond line ${"x".repeat(n % 7)}`;

function csvText(records: number, broken: boolean): string {
  if (records === 0) return "n,text\r\n";
  const lines = Array.from({ length: records }, (_, n) => `${n},"${text(n).replaceAll('"', '""')}"\r\n`);
  if (broken) lines.splice(records / 2, 0, '7,"x"y\r\n');
  return `\uFEFFn,text\r\n${lines.join("")}`;
}

function jsonText(records: number, broken: boolean): string {
  const lines = Array.from({ length: records }, (_, n) => `${JSON.stringify({ n, text: text(n) })}\n`);
  if (broken) lines.splice(records / 2, 0, "{]\n");
  return lines.join("");
}

async function fileUnderTest(ending: string, bytes: Uint8Array): Promise<ConnectorUnderTest> {
  const path = join(directory, `${files++}.${ending}`);
  await Bun.write(path, bytes);
  return {
    connect: () => createConnector("rows", { connector: "file", path }, context),
    dispose: () => rm(path),
  };
}

const packings: Readonly<Record<string, (bytes: Uint8Array) => Uint8Array>> = {
  "": (bytes) => bytes,
  ".gz": (bytes) => Bun.gzipSync(new Uint8Array(bytes)),
  ".zst": (bytes) => Bun.zstdCompressSync(bytes),
};

const textCases = Object.entries(packings).flatMap(([ending, pack]): ConnectorCase[] => [
  {
    name: `file csv${ending}`,
    finite: connectorKinds.file.finite,
    make: ({ records, broken = false }) => fileUnderTest(`csv${ending}`, pack(encode(csvText(records, broken)))),
    makeHuge: () =>
      fileUnderTest(`csv${ending}`, pack(encode(`n,text\n0,a\n1,${"x".repeat(RECORD_BYTES_MAX + 10)}\n2,c\n`))),
  },
  {
    name: `file jsonl${ending}`,
    finite: connectorKinds.file.finite,
    make: ({ records, broken = false }) => fileUnderTest(`jsonl${ending}`, pack(encode(jsonText(records, broken)))),
    makeHuge: () =>
      fileUnderTest(
        `jsonl${ending}`,
        pack(encode(`{"n":0}\n{"n":1,"text":"${"x".repeat(RECORD_BYTES_MAX + 10)}"}\n{"n":2}\n`)),
      ),
  },
]);

const rowsContract = streamContract({ name: "rows", fields: { n: "int", text: "string" }, recordId: ["n"] });
const parquetCase: ConnectorCase = {
  name: "file parquet",
  finite: connectorKinds.file.finite,
  make: ({ records }) => {
    const rows = Array.from({ length: records }, (_, n) => ({ n, text: text(n) }));
    return fileUnderTest("parquet", writeParquet([batchOf(rowsContract, rows)]));
  },
};

const pushCase: ConnectorCase = {
  name: "http_push",
  finite: connectorKinds.http_push.finite,
  make: async ({ records, broken = false }) => ({
    connect: () =>
      createConnector("rows", { connector: "http_push", max_rows: 10, lateness: 0, idle_after: 0 }, context),
    feed: (connector, acknowledged) => {
      for (let n = 0; n < records; n += 4) {
        if (acknowledged.has(n)) continue;
        const rows: unknown[] = Array.from({ length: Math.min(4, records - n) }, (_, i) => ({
          n: n + i,
          text: text(n),
        }));
        if (broken && n === 8) rows.splice(2, 0, "no object");
        const body = encode(JSON.stringify(rows));
        (connector as PushConnector).push({ body, key: `key-${n}` }).catch(() => {});
      }
    },
    dispose: async () => {},
  }),
};

const cases = [...textCases, parquetCase, pushCase];
for (const subject of cases) connectorSuite(subject);

test("every connector of the registry is under the suite", () => {
  for (const kind of Object.keys(connectorKinds)) expect(cases.some((one) => one.name.startsWith(kind))).toBe(true);
});

test("a cursor beyond the end is refused where the file is the same", async () => {
  for (const ending of ["csv", "csv.zst", "jsonl.gz", "parquet"]) {
    const pack = packings[`.${ending.split(".")[1]}`] ?? packings[""]!;
    const bytes = ending === "parquet" ? writeParquet([], {}, rowsContract) : pack(encode(csvText(3, false)));
    const source = await fileUnderTest(ending, bytes);
    const connector = source.connect();
    await connector.open("");
    const next = await connector.next(1000);
    const cursor = (next as { cursor: string }).cursor;
    await connector.close();
    const beyond = JSON.stringify({ ...JSON.parse(cursor), at: 10_000_000, done: false });
    await expect(connector.open(beyond)).rejects.toMatchObject({ code: "connectors.bad_cursor" });
  }
});
