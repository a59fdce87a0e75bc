/** Stored rows over HTTP and by `mlpe tap`: whatever the size of the pieces, every row once and in order. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { connect, type Socket } from "node:net";
import { tableFromIPC } from "apache-arrow";
import type { Hono } from "hono";
import type { Row } from "../../src/base/row.ts";
import { othersTurn } from "../../src/base/turn.ts";
import type { World } from "../../src/base/world.ts";
import { dispatch } from "../../src/cli/dispatch.ts";
import { batchOf } from "../../src/contract/batch.ts";
import { type Contract, streamContract } from "../../src/contract/contract.ts";
import { type Engine, openEngine } from "../../src/runtime/engine.ts";
import type { StreamedBody } from "../../src/runtime/faces.ts";
import { servicesOf } from "../../src/runtime/services.ts";
import { createServing, type Serving } from "../../src/runtime/serving.ts";
import { streamServices } from "../../src/runtime/stream_service.ts";
import { createApp } from "../../src/server/app.ts";
import { listen } from "../../src/server/listen.ts";
import type { Store } from "../../src/store/port.ts";
import { plainContract, timedContract } from "../support/rows.ts";
import { createDesk, type Desk } from "../support/world.ts";

let desk: Desk;
let engine: Engine;
let serving: Serving;
let app: Hono;
const expected: string[] = [];

const timed = (id: string, at: number) => ({ id, at, count: 9_007_199_254_740_993n, note: 'a,"b"', day: 0 });

async function commitRows(c: number, rows: number): Promise<void> {
  const batch = batchOf(
    timedContract,
    Array.from({ length: rows }, (_, i) => timed(`c${c}r${i}`, c)),
  );
  const plain = batchOf(plainContract, [{ kind: "k", body: new Uint8Array([c]), at: c }]);
  await engine.store.commit({
    appends: [{ stream: "landing/plain", batch: plain }, ...(rows > 0 ? [{ stream: "curated/timed", batch }] : [])],
  });
  for (let i = 0; i < rows; i++) expected.push(`c${c}r${i}`);
}

beforeAll(async () => {
  desk = createDesk();
  desk.write("mlpe.yaml", "site: here\nkeys: { path: key }\ndata: data\n");
  engine = await openEngine(desk.world, { config: desk.path("mlpe.yaml") }, "write");
  serving = createServing(engine, () => {});
  app = createApp(
    servicesOf(serving, async () => ({})),
    "a token of this test",
  );
  for (let c = 1; c <= 20; c++) await commitRows(c, (c * 7) % 5);
  await engine.store.compact();
  for (let c = 21; c <= 26; c++) await commitRows(c, (c * 7) % 5);
}, 30_000);

afterAll(async () => {
  await serving.close();
  await engine.close();
  desk.remove();
});

const get = (path: string, accept?: string) =>
  app.fetch(new Request(`http://127.0.0.1/v1/streams${path}`, accept === undefined ? {} : { headers: { accept } }));

interface Line {
  readonly _position: string;
  readonly id: string;
}
const linesOf = (text: string) =>
  text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Line);

test("the streams are listed", async () => {
  const answer = (await (await get("")).json()) as { commit_no: number; streams: { stream: string; rows: number }[] };
  expect(answer.commit_no).toBeGreaterThanOrEqual(26);
  expect(answer.streams.find(({ stream }) => stream === "curated/timed")?.rows).toBe(expected.length);
});

const FORMATS = {
  json: {
    accept: undefined,
    type: "application/x-ndjson",
    read: (bytes: Uint8Array) => linesOf(new TextDecoder().decode(bytes)),
  },
  csv: { accept: "text/csv;q=0.9, application/json;q=0.1", type: "text/csv", read: csvLines },
  arrow: {
    accept: "application/vnd.apache.arrow.stream",
    type: "application/vnd.apache.arrow.stream",
    read: (bytes: Uint8Array) => tableFromIPC(bytes).toArray() as unknown as Line[],
  },
};

/** Of the fields that these tests look at, none needs quotes. */
function csvLines(bytes: Uint8Array): Line[] {
  const [header, ...records] = new TextDecoder().decode(bytes).trimEnd().split("\r\n");
  const names = header!.split(",");
  return records.map((record) => {
    const cells = record.split(",");
    return { _position: cells[0]!, id: cells[names.indexOf("id")]! };
  });
}

describe.each(["json", "csv", "arrow"] as const)("as %p", (name) => {
  const { accept, type, read } = FORMATS[name];
  test.each([1, 2, 3, 7, 1000])(
    "answers of %p rows, each from where the last ended, have every row once",
    async (limit) => {
      const found: string[] = [];
      let next = "0";
      for (let more = true; more; ) {
        const response = await get(`/curated/timed/rows?after=${next}&limit=${limit}`, accept);
        expect(response.headers.get("content-type")).toStartWith(type);
        const lines = read(await response.bytes());
        expect(lines.length).toBeLessThanOrEqual(limit);
        found.push(...lines.map(({ id }) => id));
        next = response.headers.get("mlpe-next")!;
        more = lines.length > 0;
      }
      expect(found).toEqual(expected);
    },
  );

  test("a streamed answer has all rows, and its last row says where to go on", async () => {
    const response = await get(`/curated/timed/rows?limit=all&format=${name}`);
    expect([response.headers.get("content-type")!.split(";")[0], response.headers.get("mlpe-next")]).toEqual([
      type,
      null,
    ]);
    const lines = read(await response.bytes());
    expect(lines.map(({ id }) => id)).toEqual(expected);
    const rest = await get(`/curated/timed/rows?limit=all&after=${lines.at(-1)!._position}&format=${name}`);
    expect(read(await rest.bytes())).toEqual([]);
  });

  test("pieces with commits and compaction between them are what one answer gives", async () => {
    const found: string[] = [];
    let after = "0";
    for (let more = true; more; ) {
      const lines = read(await (await get(`/curated/timed/rows?limit=20&after=${after}`, accept)).bytes());
      found.push(...lines.map(({ id }) => id));
      more = lines.length > 0;
      after = lines.at(-1)?._position ?? after;
      if (found.length === 20) await commitRows(100 + expected.length, 3);
      if (found.length === 40) await engine.store.compact();
    }
    expect(found).toEqual(expected);
    const whole = read(await (await get("/curated/timed/rows?limit=all", accept)).bytes());
    expect(whole.map(({ id }) => id)).toEqual(found);
  });
});

test("an answer with a header ends where the contract changes; JSON lines go on", async () => {
  const put = (contract: Contract, rows: Row[]) =>
    engine.store.commit({ appends: [{ stream: "curated/changing", batch: batchOf(contract, rows) }] });
  const narrow = streamContract({ name: "changing", fields: { id: "string" }, recordId: ["id"] });
  const wide = streamContract({ name: "changing", fields: { id: "string", more: "long?" }, recordId: ["id"] });
  await put(narrow, [{ id: "a" }, { id: "b" }]);
  await put(wide, [{ id: "c", more: 1 }]);
  for (const limit of ["10", "all"]) {
    const ids = async (after: string, name: keyof typeof FORMATS) => {
      const lines = FORMATS[name].read(
        await (await get(`/changing/rows?limit=${limit}&after=${after}&format=${name}`)).bytes(),
      );
      return { ids: lines.map(({ id }) => id).join(""), next: lines.at(-1)?._position ?? "" };
    };
    expect((await ids("0", "json")).ids).toBe("abc");
    for (const name of ["csv", "arrow"] as const) {
      const first = await ids("0", name);
      expect([first.ids, (await ids(first.next, name)).ids]).toEqual(["ab", "c"]);
    }
  }
});

test("rows are made while they are sent, and a reader that goes away ends the making", async () => {
  let asked = 0;
  const counting = {
    ...engine.store,
    tail: (...given: Parameters<Store["tail"]>) => {
      asked++;
      return engine.store.tail(...given);
    },
  };
  for (let c = 0; c < 8; c++) {
    const rows = Array.from({ length: 5_000 }, (_, i) => timed(`${c}.${i}`, i));
    await engine.store.commit({ appends: [{ stream: "curated/long", batch: batchOf(timedContract, rows) }] });
  }
  const { body, next } = await streamServices(counting).rows("curated/long", {
    after: "0",
    limit: "all",
    format: "json",
  });
  expect(next).toBeUndefined();
  const parts = body as StreamedBody;
  for (let i = 0; i < 3; i++) expect((await parts.next()).done).toBe(false);
  expect(asked).toBe(1);
  await parts.return();
  expect((await parts.next()).done).toBe(true);
  const response = await get("/long/rows?limit=all");
  const reader = response.body!.getReader();
  let bytes = 0;
  for (let end = false; !end; ) {
    const { value, done } = await reader.read();
    end = done;
    bytes += value?.length ?? 0;
    expect(value?.length ?? 0).toBeLessThan(1 << 20);
  }
  expect(bytes).toBeGreaterThan(8 << 20);
});

test("the position of any row is a place to go on from", async () => {
  const all = linesOf(await (await get("/curated/timed/rows")).text());
  for (const [index, { _position }] of all.entries()) {
    const [line] = linesOf(await (await get(`/curated/timed/rows?after=${_position}&limit=1`)).text());
    expect(line?.id).toBe(expected[index + 1]);
  }
});

test("values keep their digits and spelling, as JSON and as CSV", async () => {
  const json = await (await get("/curated/timed/rows?limit=1")).text();
  expect(json).toContain('"count":9007199254740993,');
  expect(json).toContain('"at":"1970-01-01T00:00:00.000001Z"');
  expect(json).toContain('"day":"1970-01-01"');
  const csv = await get("/curated/timed/rows?limit=2", "text/csv");
  expect(csv.headers.get("content-type")).toContain("text/csv");
  const [header, first, second, ...rest] = (await csv.text()).split("\r\n");
  expect(header!.split(",").slice(0, 6)).toEqual([
    "_position",
    "_sequence",
    "_commit_no",
    "_known_time",
    "_tombstone",
    "id",
  ]);
  expect(first).toStartWith("1:1,0,1,");
  expect(first).toContain(',9007199254740993,,1970-01-01,"a,""b""",');
  expect(second).toStartWith("1:2,1,1,");
  expect(rest).toEqual([""]);
  expect(await (await get("/landing/plain/rows?limit=1")).text()).toContain('"body":"AQ=="');
});

test.each([
  ["/curated/none/rows", 404, "store.unknown_stream"],
  ["/curated/timed/rows?limit=0", 400, "request.bad_request"],
  ["/curated/timed/rows?limit=none", 400, "request.bad_request"],
  ["/curated/timed/rows?format=xml", 406, "server.not_acceptable"],
  ["/curated/timed/rows?after=x", 400, "request.bad_request"],
  ["/curated/timed/rows?after=0:1", 400, "request.bad_request"],
])("%s is answered with %p %s", async (path, status, code) => {
  const response = await get(path);
  expect(response.status).toBe(status);
  expect(await response.json()).toMatchObject({ error: { code } });
});

test.each([
  ["*/*", "application/x-ndjson"],
  ["text/*, application/json;q=0.5", "text/csv"],
  ["application/vnd.apache.arrow.stream;q=0.2, application/x-ndjson;q=0.1", "application/vnd.apache.arrow.stream"],
  ["text/html, */*;q=0.1", "application/x-ndjson"],
  ["image/png", undefined],
  ["text/csv;q=0", undefined],
])("Accept: %s", async (accept, type) => {
  const response = await get("/curated/timed/rows?limit=1", accept);
  expect(response.status).toBe(type === undefined ? 406 : 200);
  expect(response.headers.get("content-type")).toStartWith(type ?? "application/json");
});

test("the head gives nothing and stays; a position beyond it is of a log that was rolled back", async () => {
  const { commit_no: head } = (await (await get("")).json()) as { commit_no: number };
  const response = await get(`/curated/timed/rows?after=${head}`);
  expect([await response.text(), response.headers.get("mlpe-next")]).toEqual(["", String(head)]);
  for (const query of [`after=${head + 1}`, "after=99:3", "after=99&limit=all"]) {
    const refused = await get(`/curated/timed/rows?${query}`);
    expect([refused.status, (await refused.json()) as object]).toMatchObject([
      409,
      { error: { code: "store.beyond_head", message: expect.stringContaining(`beyond commit ${head}`) } },
    ]);
  }
  expect((await desk.run("tap", "timed", "--after", "99", ...flags)).errors).toContain("store.beyond_head");
});

const flags = ["--config", "mlpe.yaml"];

test("tap prints the rows beside the open store, from a position, up to a limit", async () => {
  const whole = await desk.run("tap", "timed", ...flags);
  expect([whole.exit, linesOf(whole.output).map(({ id }) => id)]).toEqual([0, expected]);
  const some = await desk.run("tap", "curated/timed", "--after", "1:1", "--limit", "3", ...flags);
  expect(linesOf(some.output).map(({ id }) => id)).toEqual(expected.slice(1, 4));
  expect((await desk.run("tap", "timed", "--after", "x", ...flags)).exit).toBe(64);
  expect((await desk.run("tap", "nothing", ...flags)).errors).toContain("store.unknown_stream");
});

test("tap goes on with what is committed, until it is stopped", async () => {
  const printed: string[] = [];
  let stop = () => {};
  const stopped = new Promise<"SIGINT">((resolve) => {
    stop = () => resolve("SIGINT");
  });
  const world: World = {
    ...desk.world,
    printed: async (lines) => void printed.push(...lines.split("\n")),
    stopRequested: () => stopped,
  };
  const live = async (id: string) => {
    const batch = batchOf(timedContract, [timed(`${id}a`, 1), timed(`${id}b`, 2)]);
    await engine.store.commit({ appends: [{ stream: "curated/live", batch }] });
  };
  await live("x");
  const running = dispatch(world, ["tap", "live", "--follow", ...flags]);
  const wanted = ["xa", "xb"];
  for (const id of ["y", "z"]) {
    while (printed.length < wanted.length) await othersTurn();
    await live(id);
    wanted.push(`${id}a`, `${id}b`);
  }
  while (printed.length < wanted.length) await othersTurn();
  stop();
  expect(await running).toBe(0);
  expect(printed.map((line) => (JSON.parse(line) as Line).id)).toEqual(wanted);
});

test("readers that don't read hold little, and only so many at a time: one that goes away makes room", async () => {
  const texts = Array.from({ length: 20_000 }, (_, i) => ({ ...timed(`s${i}`, i), note: `${i} `.repeat(100) }));
  await engine.store.commit({ appends: [{ stream: "curated/slow", batch: batchOf(timedContract, texts) }] });
  let made = 0;
  const services = servicesOf(serving, async () => ({}));
  const rows: typeof services.rows = async (...given) => {
    const answer = await services.rows(...given);
    if (answer.body instanceof Uint8Array) return answer;
    const parts = answer.body;
    const next = async () => {
      const part = await parts.next();
      made += part.value?.length ?? 0;
      return part;
    };
    return { ...answer, body: { next, return: () => parts.return() } };
  };
  const server = listen({ ...services, rows }, { host: "127.0.0.1", port: 0, maxBody: 1_000, token: "t" });
  const path = "/v1/streams/curated/slow/rows?limit=all";
  const sockets: Socket[] = [];
  /** A client that asks and reads no further than the status. */
  const stalled = async (): Promise<string> => {
    const socket = connect(server.port, "127.0.0.1");
    sockets.push(socket);
    socket.write(`GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`);
    const status = await new Promise<string>((resolve) =>
      socket.once("data", (data) => resolve(data.toString("latin1"))),
    );
    socket.pause();
    return status.slice(9, 12);
  };
  try {
    for (let i = 0; i < 40; i++) await fetch(server.url + path, { method: "HEAD" }); // they hold nothing
    for (let i = 0; i < 16; i++) expect(await stalled()).toBe("200");
    const refused = await fetch(server.url + path);
    expect([refused.status, refused.headers.get("retry-after")]).toEqual([429, "1"]);
    expect(await refused.json()).toMatchObject({ error: { code: "runtime.busy" } });
    expect((await fetch(`${server.url}/v1/streams/curated/slow/rows?limit=5`)).status).toBe(200);
    const whole = (await (await fetch(`${server.url}/v1/streams/curated/slow/rows?limit=1`)).bytes()).length * 20_000;
    // What the sockets took, some megabytes each; not what there is.
    for (let before = -1; before !== made; ) {
      before = made;
      for (let turn = 0; turn < 200; turn++) await othersTurn();
    }
    expect(made).toBeLessThan((16 * whole) / 2);
    sockets[3]!.destroy();
    let status = 429;
    for (let turn = 0; turn < 10_000 && status === 429; turn++) {
      const answer = await fetch(server.url + path);
      status = answer.status;
      await answer.body?.cancel();
    }
    expect(status).toBe(200);
  } finally {
    for (const socket of sockets) socket.destroy();
    await server.stop();
  }
}, 60_000);
