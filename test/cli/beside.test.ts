/**
 * Commands beside a running server: what they commit, the server commits for them, and it is what they would have committed
 * alone. A server is started over a newcomer's project and asked by the commands through its token.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Exported, exportTo, type NewcomerServer, serveNewcomer } from "./newcomer_server.ts";

let desk: NewcomerServer;
let alone: Exported;
const path = (name: string) => join(desk.directory, name);
const mlpe = {
  json: <Answer>(args: readonly string[]) => desk.mlpe.json<Answer>(args),
  failure: (args: readonly string[]) => desk.mlpe.failure(args),
};

beforeAll(async () => {
  desk = await serveNewcomer();
  alone = desk.exported;
}, 60_000);
afterAll(() => desk.stop(), 30_000);

const count = async (sql: string) => (await mlpe.json<{ rows: number[][] }>(["query", sql])).rows[0]![0]!;
const events = (job: string) =>
  count(`select count(*) from lineage_versions where event like '%"${job}"%' and event like '%"COMPLETE"%'`);

test("a training set is exported beside the server, with the same bytes, and the server records its lineage", async () => {
  const before = await events("export.pump_failure");
  const beside = await mlpe.json<Exported>(exportTo("again.parquet"));
  expect(beside.manifest.sha256).toBe(alone.manifest.sha256);
  expect(readFileSync(path("again.parquet")).equals(readFileSync(path("training.parquet")))).toBe(true);
  expect(await events("export.pump_failure")).toBe(before + 1);
});

test("a period is scored, and its drift is judged, beside the server", async () => {
  const period = ["--from", "2024-01-25T00:00:01Z"];
  const { scores } = await mlpe.json<{ scores: number }>(["score", "pump_failure", ...period]);
  expect(scores).toBeGreaterThan(0);
  expect(await count("select count(*) from scores_pump_failure")).toBe(scores);
  expect((await mlpe.json<{ scores: number }>(["score", "pump_failure", ...period])).scores).toBe(0);
  const verdicts = await mlpe.json<unknown[]>(["drift", "pump_failure"]);
  expect(verdicts.length).toBeGreaterThan(0);
  expect(await count("select count(*) from verdicts where kind = 'drift'")).toBe(verdicts.length);
});

test("the server records a backup that is made beside it", async () => {
  const made = await mlpe.json<{ backup: string; commit_no: number }>(["backup", "beside.backup"]);
  const acts = await mlpe.json<Record<string, unknown>[]>(["streams", "--upkeep"]);
  const backups = acts.filter(({ what }) => what === "backup");
  expect(backups.map(({ backup, commitNo, to }) => [backup, commitNo, to])).toEqual([
    [made.backup, made.commit_no, "file"],
  ]);
});

test("what only the server may do, or nobody with that token, is refused", async () => {
  expect((await mlpe.failure(["ingest"])).code).toBe("store.locked");
  const { url, token } = JSON.parse(readFileSync(path("data.mlpe/server.url"), "utf8")) as {
    url: string;
    token: string;
  };
  const send = async (body: object, given = token) => {
    const headers = { authorization: `Bearer ${given}` };
    const response = await fetch(`${url}/v1/commits`, { method: "POST", headers, body: JSON.stringify(body) });
    return [response.status, ((await response.json()) as { error: { code: string } }).error.code];
  };
  const head = await count("select max(_commit_no) from control_versions");
  expect(await send({ appends: [] }, "another")).toEqual([403, "server.token_needed"]);
  expect(await send({})).toEqual([400, "request.bad_request"]);
  const append = { stream: "curated/readings", schema: {}, fingerprint: "", batch: "" };
  expect(await send({ appends: [append] })).toEqual([400, "request.bad_request"]);
  const schema = { type: "record", name: "l", recordId: "position", fields: [{ name: "a", type: "long" }] };
  expect(await send({ appends: [{ ...append, stream: "lineage", schema }] })).toEqual([400, "request.bad_request"]);
  expect(await count("select max(_commit_no) from control_versions")).toBe(head);
});

test("where the record is refused the files are taken away", async () => {
  const failed = await mlpe.failure([
    ...exportTo("none.parquet"),
    "--set",
    "listen.max_body=1024",
    "--cutoff",
    "999999",
  ]);
  expect(failed.code).toBe("cli.bad_usage");
  expect(existsSync(path("none.parquet"))).toBe(false);
});
