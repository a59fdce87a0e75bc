/** The commands that look and check, on a small store, with their forms for people and for programs. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sha256Hex } from "../../src/base/digest.ts";
import { COMMANDS } from "../../src/cli/commands.ts";
import { parseContract } from "../../src/contract/contract.ts";
import { proofOf } from "../../src/runtime/running.ts";
import { commandsIn } from "./support.ts";

const directory = mkdtempSync(join(tmpdir(), "mlpe-cli-"));
const mlpe = commandsIn(directory);
const write = (name: string, content: string | Uint8Array) => writeFileSync(join(directory, name), content);
const read = (name: string) => Bun.file(join(directory, name)).text();

const CONTRACT = {
  type: "record",
  name: "notes",
  entity: ["id"],
  eventTime: "at",
  recordId: ["id"],
  fields: [
    { name: "id", type: "long" },
    { name: "at", type: { type: "long", logicalType: "timestamp-micros" } },
    { name: "text", type: ["null", "string"], default: null },
  ],
};

beforeAll(async () => {
  mkdirSync(join(directory, "keys"));
  write("notes.avsc", JSON.stringify(CONTRACT));
  write(
    "notes.csv",
    'id,at,text\n9007199254740993,2024-01-01T00:00:00Z,"say ""hi"", twice"\n2,2024-01-02T00:00:00Z,NA\n',
  );
  write(
    "mlpe.yaml",
    "site: here\nkeys: { path: keys/store.key }\nsources: { notes: { connector: file, path: notes.csv, dataset: notes } }\ndatasets: { notes: { contract: notes.avsc } }\n",
  );
  await mlpe.json(["ingest"]);
});

afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe("query", () => {
  const sql = "select id, text from notes order by at";
  test("answers as a table, CSV, JSON lines and one JSON object, without rounding a number", async () => {
    const table = ["id                text", '9007199254740993  say "hi", twice', "2                 -", "(2 rows)"];
    expect((await mlpe.run(["query", sql])).output).toBe(table.join("\n"));
    const csv = ["id,text", '9007199254740993,"say ""hi"", twice"', "2,"];
    expect((await mlpe.run(["query", sql, "--format", "csv"])).output).toBe(csv.join("\r\n"));
    const lines = ['{"id":9007199254740993,"text":"say \\"hi\\", twice"}', '{"id":2,"text":null}'];
    expect((await mlpe.run(["query", sql, "--format", "json"])).output).toBe(lines.join("\n"));
    expect(await mlpe.json(["query", sql])).toMatchObject({
      columns: ["id", "text"],
      rows: [
        ["9007199254740993", 'say "hi", twice'],
        [2, null],
      ],
    });
  });

  test("says what is wrong with it", async () => {
    expect(await mlpe.failure(["query"])).toMatchObject({ code: "cli.bad_usage" });
    for (const [flag, value, least] of [
      ["--memory", "-3", 1],
      ["--memory", "0", 1],
      ["--rows", "-1", 0],
      ["--rows", "1.5", 0],
    ] as const) {
      const message = `${flag} is "${value}", which is no whole number from ${least}`;
      expect(await mlpe.failure(["query", sql, flag, value])).toMatchObject({ code: "cli.bad_usage", message });
      expect((await mlpe.failure(["query", sql, `${flag}=${value}`])).message).toBe(message);
    }
    expect((await mlpe.failure(["query", sql, "--format", "-x"])).message).toContain("--format=-x");
    expect((await mlpe.failure(["query", "select", "1"])).fix).toContain('"select 1"');
    expect((await mlpe.failure(["query", sql, "--format", "xml"])).message).toContain("table, csv, json or arrow");
    expect(await mlpe.failure(["query", "select * from note"])).toMatchObject({ code: "store.unknown_table" });
    expect(await mlpe.failure(["query", "drop table notes"])).toMatchObject({ code: "store.query_refused" });
    expect(await mlpe.failure(["query", sql, "--rows", "1"])).toMatchObject({ code: "store.query_too_large" });
  });
});

describe("contract infer", () => {
  test("writes a contract that is accepted, and the lines of the config", async () => {
    write("my data.csv", '\uFEFFkey,when,"a ""b"""\r\nx,2024-01-01T00:00:00Z,1\r\ny,2024-01-01T00:00:00Z,2\r\n');
    const answer = await mlpe.json<{ config: string; notes: string[] }>([
      "contract",
      "infer",
      "my data.csv",
      "--out",
      "mine.avsc",
    ]);
    const contract = parseContract(await read("mine.avsc"), "mine.avsc");
    expect(contract.fields.map(({ name, type }) => [name, type])).toEqual([
      ["key", "string"],
      ["when", "timestamp"],
      ["a_b", "int"],
    ]);
    expect(contract.name).toBe("my_data");
    const config = Bun.YAML.parse(answer.config);
    expect(config).toEqual({
      sources: { my_data: { connector: "file", path: "my data.csv", dataset: "my_data" } },
      datasets: { my_data: { contract: "mine.avsc", rename: { a_b: 'a "b"' } } },
    });
    expect(await mlpe.failure(["contract", "infer", "my data.csv", "--out", "mine.avsc"])).toMatchObject({
      code: "cli.output_exists",
    });
  });

  test("prints the contract alone where a file could be made of it", async () => {
    const { output, errors } = await mlpe.run(["contract", "infer", "notes.csv", "--name", "other"]);
    expect(JSON.parse(output)).toMatchObject({ name: "other", recordId: ["id"] });
    expect(errors).toContain("recordId is [id]");
  });

  test("reads other delimiters and compressed files, and counts records that don't fit", async () => {
    write("a.tsv", "id\tv\n1\tx\n2\ty\n");
    write("b.csv.gz", Bun.gzipSync("id;v\n1;x\n2\n3;y\n"));
    write("c.csv.zst", Bun.zstdCompressSync("id,v\n1,x\n2,y\n"));
    const infer = (...args: string[]) =>
      mlpe.json<{ schema: { fields: unknown[] }; notes: string[] }>(["contract", "infer", ...args]);
    expect((await infer("a.tsv")).schema.fields).toHaveLength(2);
    expect((await infer("c.csv.zst")).schema.fields).toHaveLength(2);
    const { schema, notes } = await infer("b.csv.gz", "--delimiter", ";");
    expect(schema.fields).toHaveLength(2);
    expect(notes.join()).toContain("1 record was left out");
  });

  const broken: [string, string | Uint8Array, string, string][] = [
    ["another delimiter", "id;v\n1;x\n", "unreadable_csv", "--delimiter ';'"],
    ["no rows", "id,v\n", "unreadable_csv", ""],
    ["nothing", "", "unreadable_csv", ""],
    ["no row fits", "id,v\n1\n", "unreadable_csv", ""],
    ["two equal columns", "id,id\n1,2\n", "unreadable_csv", "Rename"],
    ["an open quote in the header", '"id,v\n1,2\n', "unreadable_csv", ""],
    ["Latin-1 in the header", new Uint8Array([0xe9, 0x2c, 0x61, 0x0a, 0x31, 0x2c, 0x32]), "unreadable_csv", ""],
  ];
  for (const [what, content, code, fix] of broken) {
    test(`refuses ${what}`, async () => {
      const name = `${what.replaceAll(" ", "_")}.csv`;
      write(name, content);
      const failure = await mlpe.failure(["contract", "infer", name]);
      expect(failure.code).toBe(`contract.${code}`);
      expect(failure.fix).toContain(fix);
    });
  }
});

describe("audit", () => {
  test("verifies, gives a checkpoint, and holds the log to it", async () => {
    const { checkpoint } = await mlpe.json<{ checkpoint: string }>(["audit", "checkpoint", "--out", "kept.txt"]);
    expect(await read("kept.txt")).toBe(checkpoint);
    const { output } = await mlpe.run(["audit", "checkpoint"]);
    expect(`${output}\n`).toBe(checkpoint);
    expect(await mlpe.json(["audit", "verify", "--checkpoint", "kept.txt"])).toMatchObject({ verified: true });
    write("wrong.txt", checkpoint.replace(/\n\d+\n/, "\n9999\n"));
    expect(await mlpe.failure(["audit", "verify", "--checkpoint", "wrong.txt"])).toMatchObject({
      code: "audit.bad_checkpoint",
    });
  });
});

describe("audit of what is no log", () => {
  test("names what was unpacked of ONNX Runtime and is not what it was, of any version of the executable", async () => {
    const files = { binding: "addon", library: "library of another version" };
    const [binding, library] = Object.values(files).map((content) => sha256Hex(content)) as [string, string];
    const folder = `onnxruntime-${sha256Hex(binding, library).slice(0, 24)}`;
    mkdirSync(join(directory, "data.mlpe/runtime", folder), { recursive: true });
    write(`data.mlpe/runtime/${folder}/onnxruntime_binding.node`, files.binding);
    write(`data.mlpe/runtime/${folder}/libonnxruntime.so.1`, files.library);
    expect(await mlpe.json(["audit", "verify"])).toMatchObject({ verified: true });
    write(`data.mlpe/runtime/${folder}/libonnxruntime.so.1`, files.library.replace("l", "m"));
    const { code, output } = await mlpe.run(["audit", "verify"]);
    expect([code, output]).toEqual([1, expect.stringContaining(`runtime/${folder}: its files are not what was`)]);
    rmSync(join(directory, "data.mlpe/runtime"), { recursive: true });
  });

  test("a directory that is closed holds no number of a process that is gone", async () => {
    expect(existsSync(join(directory, "data.mlpe/writer.lock"))).toBe(true);
    expect(existsSync(join(directory, "data.mlpe/writer.pid"))).toBe(false);
  });
});

describe("audit prove", () => {
  test("shows that each commit is in the tree, and no other", async () => {
    const { size } = await mlpe.json<{ size: number }>(["audit", "verify"]);
    expect(size).toBeGreaterThan(1);
    for (let commit = 1; commit <= size; commit++) {
      expect(await mlpe.json(["audit", "prove", String(commit)])).toMatchObject({ commit, size, proven: true });
    }
    for (const commit of ["0", String(size + 1)]) {
      expect(await mlpe.failure(["audit", "prove", commit])).toMatchObject({ code: "audit.no_such_commit" });
    }
    expect(await mlpe.failure(["audit", "prove", "x"])).toMatchObject({ code: "cli.bad_usage" });
  });
});

describe("lineage", () => {
  test("shows the newest events of a job, whole or as a table", async () => {
    const { events } = await mlpe.json<{ events: { eventType: string }[] }>([
      "lineage",
      "--job",
      "ingest.notes",
      "--limit",
      "2",
    ]);
    expect(events.at(-1)!.eventType).toBe("COMPLETE");
    const { output } = await mlpe.run(["lineage", "--job", "ingest.", "--limit", "1", "--format", "ndjson"]);
    expect(JSON.parse(output)).toEqual(events.at(-1));
    expect((await mlpe.run(["lineage"])).output).toContain("curated/notes (2 rows)");
    expect((await mlpe.json<{ events: unknown[] }>(["lineage", "--job", "none"])).events).toEqual([]);
    expect(await mlpe.failure(["lineage", "--limit", "0"])).toMatchObject({ code: "cli.bad_usage" });
  });
});

describe("errors", () => {
  test("lists codes once each, with a meaning and a next step", async () => {
    const codes = await mlpe.json<{ code: string; kind: string; meaning: string; fix: string }[]>(["errors"]);
    expect(new Set(codes.map(({ code }) => code)).size).toBe(codes.length);
    expect(codes.filter(({ meaning, fix }) => meaning.length < 10 || fix.length < 5)).toEqual([]);
    expect(codes.find(({ code }) => code === "ingestion.wrong_type")).toMatchObject({ kind: "reject" });
    const { output } = await mlpe.run(["errors"]);
    for (const { code } of codes) expect(output).toContain(`| \`${code}\` |`);
    expect(await mlpe.json(["errors", "store.locked"])).toMatchObject({ code: "store.locked", kind: "unavailable" });
    expect((await mlpe.failure(["errors", "store.lockd"])).fix).toContain("store.locked");
  });
});

describe("health", () => {
  test("is what the server says of itself", async () => {
    let status = 200;
    const server = Bun.serve({
      port: 0,
      fetch: (request) => new Response("", { status: new URL(request.url).pathname === "/readyz" ? status : 404 }),
    });
    const url = `http://127.0.0.1:${server.port}/`;
    expect(await mlpe.run(["health", "--url", url])).toMatchObject({ code: 0, output: "ready" });
    status = 503;
    expect(await mlpe.json(["health", "--url", url], 1)).toMatchObject({ ready: false, status: 503 });
    await server.stop(true);
    expect(await mlpe.json(["health", "--url", url, "--timeout", "500"], 1)).toMatchObject({
      ready: false,
      status: null,
    });
    expect((await mlpe.run(["health", "--url", "not a url"])).code).toBe(1);
  });

  test("asks the project's own server where it says that it answers, else where flags or config say", async () => {
    const token = "a token";
    const server = Bun.serve({
      port: 0,
      fetch: (request) => {
        const { pathname, searchParams } = new URL(request.url);
        if (pathname === "/readyz") return new Response("");
        return Response.json({ proof: proofOf(token, searchParams.get("challenge") ?? "") });
      },
    });
    const config = join(directory, "health.yaml");
    const project = ["health", "--config", config, "--timeout", "500"];
    const text = "site: here\nkeys: { provider: file, path: key }\ndata: health-data\n";
    writeFileSync(config, `${text}listen: { port: ${server.port} }\n`);
    expect(await mlpe.json(project)).toMatchObject({ url: `http://127.0.0.1:${server.port}/readyz`, ready: true });
    writeFileSync(config, `${text}listen: { port: 1 }\n`);
    expect(await mlpe.json(project, 1)).toMatchObject({ url: "http://127.0.0.1:1/readyz", ready: false });
    expect(await mlpe.json([...project, "--port", String(server.port)])).toMatchObject({ ready: true });
    mkdirSync(join(directory, "health-data"));
    const address = (proof: string) =>
      writeFileSync(
        join(directory, "health-data/server.url"),
        JSON.stringify({ url: server.url.origin, token: proof }),
      );
    address(token);
    expect(await mlpe.json(project)).toMatchObject({ url: `${server.url.origin}/readyz`, ready: true });
    address("of another server, which has the port by now");
    expect(await mlpe.json(project, 1)).toMatchObject({ url: "http://127.0.0.1:1/readyz" });
    await server.stop(true);
  });
});

describe("views evaluate", () => {
  for (const input of ["", "{}", "[1]", '[{"spine":{},"asOf":1}]', '[{"spine":{},"asOf":"x","position":1}]']) {
    test(`refuses ${JSON.stringify(input)}`, async () => {
      const { code, errors } = await mlpe.run(["views", "evaluate", "v"], input);
      expect(code).toBe(65);
      expect(errors).toContain("runtime.bad_requests");
    });
  }
});

test("every command has help", async () => {
  for (const { name, summary } of COMMANDS) {
    expect((await mlpe.run([...name.split(" "), "--help"])).output).toContain(summary);
  }
});
