import { describe, expect, test } from "bun:test";
import { canonicalJson, sha256Hex } from "../../src/base/digest.ts";
import { MlpeError } from "../../src/base/errors.ts";
import { seededRandom } from "../../src/base/random.ts";
import type { Row } from "../../src/base/row.ts";
import { batchOf, rowsOf } from "../../src/contract/batch.ts";
import { featuresContract, featuresStream, scoresContract, scoresStream, VERDICTS } from "../../src/contract/streams.ts";
import type { Program } from "../../src/expression/types.ts";
import { hasPackage, loadPackageFiles, storePackage } from "../../src/scoring/artifacts.ts";
import { findScore } from "../../src/scoring/find_score.ts";
import { type Guardrails, NO_GUARDRAILS } from "../../src/scoring/guardrails.ts";
import { type ScoreStep, scoreReader, stepScore } from "../../src/scoring/job.ts";
import { loadModel } from "../../src/scoring/loaded.ts";
import { createModelTable } from "../../src/scoring/model_table.ts";
import { packageDigest, readPackage } from "../../src/scoring/package.ts";
import { replayScore } from "../../src/scoring/replay.ts";
import { emptyRequestMemory, foldRequests } from "../../src/scoring/requests.ts";
import { type ScoreRequest, scoreAndCommit } from "../../src/scoring/score.ts";
import { MemoryStore } from "../support/memory_store.ts";
import { handClock, packageFiles, testEngine, viewShape } from "./support.ts";

// The real engine and the plain store. A "restart" is a new memory folded from the same store.
const engine = testEngine();
const HOUR = 3_600_000_000;

function world() {
  const clock = handClock();
  const store = new MemoryStore(clock);
  const files = packageFiles("trees");
  const model = loadModel("late", readPackage(files), engine, clock);
  const contract = scoresContract("late", viewShape);
  return { clock, store, files, model, contract, random: seededRandom(1), guardrails: NO_GUARDRAILS };
}
type World = ReturnType<typeof world>;

const T = 1_600_000_000_000_000;
const feature = (flight: number, values: Row = {}): Row => ({
  key_flight: flight,
  as_of: T + flight * HOUR,
  a: flight / 10,
  b: null,
  c: -1.25,
  d: 0.5,
  carrier: "AA",
  time_weather: T - HOUR,
  position: 3,
  ...values,
});

const featureStream = featuresContract(viewShape);
const addFeatures = (store: MemoryStore, rows: readonly Row[], tombstones?: Uint8Array) =>
  store.commit({
    appends: [
      { stream: featuresStream("flights"), batch: batchOf(featureStream, rows), ...(tombstones ? { tombstones } : {}) },
    ],
  });

async function stored(store: MemoryStore, stream: string): Promise<Row[]> {
  const rows: Row[] = [];
  for await (const part of store.scan(stream)) rows.push(...rowsOf(part.batch));
  return rows;
}

function request(made: World, rows: readonly Row[], change: Partial<ScoreRequest> = {}): ScoreRequest {
  return {
    ...made,
    shape: viewShape,
    memory: emptyRequestMemory(),
    mode: "rows",
    role: "live",
    hindsight: false,
    features: () => rows,
    ...change,
  };
}

describe("a request", () => {
  test("is committed before it is answered, and carries all that made it", async () => {
    const made = world();
    const { results, repeated } = await scoreAndCommit(request(made, [feature(1), feature(2)]));
    expect(repeated).toBe(false);
    const rows = await stored(made.store, scoresStream("late"));
    expect(rows.map((row) => row.score)).toEqual(results.map(({ score }) => score));
    expect(results[0]).toMatchObject({
      model: made.model.digest,
      blocked: false,
      flags: [],
      keys: { flight: 1 },
      features: { a: 0.1, b: null, carrier: "AA" },
      times: { weather: T - HOUR },
      position: 3,
    });
    expect(results[0]!.score).toBeGreaterThan(0);
    expect(JSON.parse(rows[0]!.engine as string)).toMatchObject({ threads: 1, batch: 1 });
    expect(new Set(results.map(({ score_id }) => score_id)).size).toBe(2);
  });

  test("whose commit fails is not answered, and may be sent again", async () => {
    const made = world();
    const memory = emptyRequestMemory();
    const broken = Object.create(made.store) as MemoryStore;
    broken.commit = () => Promise.reject(new Error("disk full"));
    const sent = request(made, [feature(1)], { memory, request: { id: "r1", digest: "d" } });
    await expect(scoreAndCommit({ ...sent, store: broken })).rejects.toThrow("disk full");
    await Promise.resolve();
    expect((await scoreAndCommit(sent)).repeated).toBe(false);
  });

  test("with a row the model refuses keeps the others, and the reason", async () => {
    const made = world();
    const { results } = await scoreAndCommit(request(made, [feature(1), feature(2, { a: 1e40 })]));
    expect(results[0]!.score).not.toBeNull();
    expect(results[1]).toMatchObject({ score: null, outputs: null, blocked: true });
    expect(results[1]!.flags[0]).toContain("scoring.feature_invalid");
    expect(await stored(made.store, scoresStream("late"))).toHaveLength(2);
  });
});

describe("a request id", () => {
  const body = (text: string) => ({ id: "r-1", digest: sha256Hex(text) });

  test("with the same body gives the stored answer, also at once and after a restart", async () => {
    const made = world();
    const memory = emptyRequestMemory();
    const send = (kept = memory) => scoreAndCommit(request(made, [feature(1)], { memory: kept, request: body("x") }));
    const [first, atOnce] = await Promise.all([send(), send()]);
    const later = await send();
    made.clock.time += HOUR;
    const restarted = await send(await foldRequests(made.store, "late"));
    for (const again of [atOnce, later, restarted]) expect(again!.results).toEqual(first!.results);
    expect([first.repeated, atOnce.repeated, later.repeated, restarted.repeated]).toEqual([false, true, true, true]);
    expect(await stored(made.store, scoresStream("late"))).toHaveLength(1);
  });

  test("with another body is a conflict, also after a restart", async () => {
    const made = world();
    const memory = emptyRequestMemory();
    await scoreAndCommit(request(made, [feature(1)], { memory, request: body("x") }));
    for (const kept of [memory, await foldRequests(made.store, "late")]) {
      const error = await scoreAndCommit(request(made, [feature(2)], { memory: kept, request: body("y") })).catch((e) => e);
      expect(error).toBeInstanceOf(MlpeError);
      expect([error.code, error.kind]).toEqual(["scoring.request_conflict", "conflict"]);
    }
  });
});

/** Guardrails over a program written by hand: the expression room has its own tests. */
function handGuardrails(then: "flag" | "block", holds: (a: number, score: number) => boolean | null): Guardrails {
  const program: Program = {
    outputs: [],
    inputs: ["a", "score"],
    evaluate: ([a, score]) => ({ values: [holds(a as number, score as number)], failures: [] }),
    close() {},
  };
  return { names: ["rule"], actions: [then], program };
}

test("guardrails flag, block, and see null as not true", async () => {
  const made = world();
  const judge = async (guardrails: Guardrails) =>
    (await scoreAndCommit(request({ ...made, guardrails }, [feature(5)]))).results[0]!;
  expect(await judge(handGuardrails("flag", (a) => a > 0.4))).toMatchObject({ flags: ["rule"], blocked: false });
  const blocked = await judge(handGuardrails("block", (_, score) => score >= 0));
  expect(blocked).toMatchObject({ flags: ["rule"], blocked: true, score: null, outputs: null });
  expect(await judge(handGuardrails("block", () => null))).toMatchObject({ flags: [], blocked: false });
  const failing = handGuardrails("block", () => null);
  const program = { ...failing.program!, evaluate: () => ({ values: [null], failures: [{ output: 0, status: "undefined" as const, message: "1/0" }] }) };
  expect(await judge({ ...failing, program })).toMatchObject({ flags: ["rule: undefined"], blocked: true });
  const rows = await stored(made.store, scoresStream("late"));
  expect(rows[1]!.score).toBeNull();
  expect(JSON.parse(rows[1]!.outputs as string)).toHaveProperty("probabilities"); // kept for replay and audit
});

describe("the batch job", () => {
  const step = (made: World, change: Partial<ScoreStep> = {}): ScoreStep => ({
    ...made,
    shape: viewShape,
    role: "live",
    ...change,
  });

  test("scores every feature row once, whatever the page size, with the bits of a request", async () => {
    for (const maxRows of [1, 3, 1000]) {
      const made = world();
      for (let i = 0; i < 5; i++) await addFeatures(made.store, [feature(2 * i), feature(2 * i + 1)]);
      let steps = 0;
      while ((await stepScore(step(made, { maxRows }))) === "progress") steps++;
      expect(steps).toBeGreaterThan(0);
      const rows = await stored(made.store, scoresStream("late"));
      expect(rows.map((row) => row.key_flight)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
      const { results } = await scoreAndCommit(request(world(), rows));
      expect(results.map(({ score }) => score)).toEqual(rows.map((row) => row.score as number));
    }
  });

  test("passes over rows outside its span of T", async () => {
    const made = world();
    await addFeatures(made.store, [0, 1, 2, 3, 4].map((flight) => feature(flight)));
    while ((await stepScore(step(made, { from: T + HOUR, to: T + 3 * HOUR }))) === "progress");
    const rows = await stored(made.store, scoresStream("late"));
    expect(rows.map((row) => row.key_flight)).toEqual([1, 2, 3]);
  });

  test("comes to rest, and commits its position with the scores", async () => {
    const made = world();
    await addFeatures(made.store, [feature(1)]);
    expect(await stepScore(step(made))).toBe("progress");
    expect(await stepScore(step(made))).toBe("idle");
    const { commitNo } = await made.store.head();
    expect(await stepScore(step(made))).toBe("idle");
    expect((await made.store.head()).commitNo).toBe(commitNo);
    expect(await made.store.position(scoreReader(made.model, "live"))).toBe(1);
    const writer = new MemoryStore(made.clock);
    writer.position = async () => 0; // a second writer that started before, in front of the same store
    writer.tail = made.store.tail.bind(made.store);
    writer.commit = made.store.commit.bind(made.store);
    await addFeatures(made.store, [feature(2)]);
    await expect(stepScore(step({ ...made, store: writer }))).rejects.toThrow("has moved");
  });

  test("names scores of recomputed and withdrawn rows as stale", async () => {
    const made = world();
    await addFeatures(made.store, [feature(1), feature(2), feature(3)]);
    await stepScore(step(made));
    const before = await stored(made.store, scoresStream("late"));
    await addFeatures(made.store, [feature(2, { a: 3 }), feature(3)], new Uint8Array([0, 1]));
    await stepScore(step(made));
    const after = await stored(made.store, scoresStream("late"));
    expect(after).toHaveLength(4);
    const verdicts = await stored(made.store, VERDICTS);
    expect(verdicts).toHaveLength(1);
    expect(verdicts[0]).toMatchObject({ kind: "stale", subject: "late", value: 2 });
    expect(JSON.parse(verdicts[0]!.detail as string).scores).toEqual([
      { score_id: before[1]!.score_id, replaced_by: after[3]!.score_id },
      { score_id: before[2]!.score_id, replaced_by: null },
    ]);
  });

  test("hands the act to what else must be in the commit", async () => {
    const made = world();
    await addFeatures(made.store, [feature(1)]);
    const acts: number[] = [];
    await stepScore(step(made, { extra: ({ rows, upTo }) => (acts.push(rows.length, upTo), []) }));
    expect(acts).toEqual([1, 1]);
  });
});

describe("packages in the store", () => {
  test("come back as they were, in parts", async () => {
    const { store } = world();
    const files = packageFiles("mixed", () => {}, { "model.onnx": packageFiles("mixed").get("model.onnx")! });
    files.set("signature.json", new Uint8Array(1_300_000).map((_, i) => i % 251));
    const appends = storePackage(files);
    const digest = packageDigest(files);
    for (const append of appends.slice(0, -1)) await store.commit({ appends: [append] });
    expect(await hasPackage(store, digest)).toBe(false);
    await store.commit({ appends: [appends.at(-1)!] });
    expect(await hasPackage(store, digest)).toBe(true);
    const loaded = await loadPackageFiles(store, digest);
    expect([...loaded].sort()).toEqual([...files].sort());
  });

  test("that are not there, not whole or altered are errors", async () => {
    const { store } = world();
    const files = packageFiles("trees");
    const digest = packageDigest(files);
    await expect(loadPackageFiles(store, digest)).rejects.toThrow("is not stored");
    const [first, ...rest] = storePackage(files);
    await store.commit({ appends: [first!, ...rest.slice(0, -1)] });
    await expect(loadPackageFiles(store, digest)).rejects.toThrow("is not stored");
    const altered = rowsOf(first!.batch).map((row) => ({ ...row, bytes: new Uint8Array([1]) }));
    await store.commit({ appends: rest.slice(-1) });
    expect(await loadPackageFiles(store, digest)).toEqual(files);
    await store.commit({ appends: [{ ...first!, batch: batchOf(first!.batch.contract, altered) }] });
    await expect(loadPackageFiles(store, digest)).rejects.toThrow("has the digest");
  });
});

describe("replay", () => {
  const replay = (made: World, scoreId: string) =>
    replayScore({
      store: made.store,
      scoreId,
      shapeOf: () => viewShape,
      loadPackage: async (name, digest) =>
        loadModel(name, readPackage(await loadPackageFiles(made.store, digest)), engine, made.clock),
    });

  async function scored(): Promise<World & { readonly rows: readonly Row[] }> {
    const made = world();
    await made.store.commit({ appends: storePackage(made.files) });
    await addFeatures(made.store, [feature(1), feature(2), feature(2, { position: 4, a: 7 })]);
    await stepScore({ ...made, shape: viewShape, role: "live" });
    return { ...made, rows: await stored(made.store, scoresStream("late")) };
  }

  test("gives equal bits from the stored features", async () => {
    const made = await scored();
    for (const row of made.rows) {
      const result = await replay(made, row.score_id as string);
      expect(result).toMatchObject({ equal: true, stored: row.score, replayed: row.score, features_from: "stream" });
    }
  });

  test("of a request uses the features in the score", async () => {
    const made = await scored();
    const { results } = await scoreAndCommit(request(made, [feature(9, { key_flight: null })]));
    expect(await replay(made, results[0]!.score_id)).toMatchObject({ equal: true, features_from: "score" });
  });

  test("names the feature that was altered, and the score that no longer follows", async () => {
    const made = await scored();
    const alter = async (change: Row) => {
      const row = { ...made.rows[0]!, ...change, score_id: `00000000-0000-7000-8000-${String(Math.abs(Bun.hash.crc32(canonicalJson(change)))).padStart(12, "0").slice(-12)}` };
      await made.store.commit({ appends: [{ stream: scoresStream("late"), batch: batchOf(made.contract, [row]) }] });
      return replay(made, row.score_id);
    };
    const feature = await alter({ c: 5 });
    expect(feature.equal).toBe(false);
    expect(feature.differs).toEqual([{ factor: "feature", name: "c", stored: 5, replayed: -1.25 }]);
    const nulled = await alter({ carrier: null });
    expect(nulled.differs.map(({ name }) => name)).toEqual(["carrier"]);
    const score = await alter({ score: 0.123, engine: '{"version":"another"}' });
    expect(score.differs.map(({ factor }) => factor)).toEqual(["score", "engine"]);
    expect(score).toMatchObject({ equal: false, stored: 0.123, replayed: made.rows[0]!.score });
  });

  test("of a blocked or refused row compares what there is", async () => {
    const made = await scored();
    const guardrails = handGuardrails("block", () => true);
    const blocked = await scoreAndCommit(request({ ...made, guardrails }, [feature(1), feature(2, { d: 1e40 })]));
    for (const { score_id } of blocked.results) expect(await replay(made, score_id)).toMatchObject({ equal: true });
  });

  test("of no score is an error", async () => {
    const made = await scored();
    await expect(replay(made, "not-an-id")).rejects.toThrow("there is no score");
    await expect(replay(made, "00000000-0000-7000-8000-000000000000")).rejects.toThrow("there is no score");
  });

  test("scores are found by their id", async () => {
    const made = await scored();
    const id = made.rows[1]!.score_id as string;
    expect(await findScore(made.store, id)).toMatchObject({ model: "late", row: { score_id: id } });
    expect(await findScore(made.store, id, "other")).toBeNull();
  });
});

test("a hundred swaps under load: no request fails, sessions stay bounded and are all closed", async () => {
  const made = world();
  const table = createModelTable();
  const versions = ["1.0.0", "2.0.0", "3.0.0"].map((version) => readPackage(packageFiles("trees", (m) => (m.version = version))));
  const install = (i: number) => table.install(loadModel("late", versions[i % 3]!, engine, made.clock));
  install(0);
  let running = true;
  let answered = 0;
  const client = async () => {
    while (running) {
      const lease = table.acquire("late");
      try {
        const { results } = await scoreAndCommit(request({ ...made, model: lease.model }, [feature(1)]));
        await Bun.sleep(0); // the lease is held while other things happen
        expect(lease.model.session.run).toBeDefined();
        const again = await scoreAndCommit(request({ ...made, model: lease.model }, [feature(1)]));
        expect(again.results[0]!.score).toBe(results[0]!.score);
        answered++;
      } finally {
        lease.release();
      }
    }
  };
  const clients = Array.from({ length: 4 }, client);
  for (let i = 1; i <= 100; i++) {
    install(i);
    await Bun.sleep(0);
    expect(table.open()).toBeLessThanOrEqual(2 + clients.length);
  }
  running = false;
  await Promise.all(clients);
  expect(answered).toBeGreaterThan(10);
  expect(table.open()).toBe(2);
  const [state] = table.list();
  expect(table.activate("late", state!.previous!.digest)).toBe(true);
  expect(table.list()[0]!.live.digest).toBe(state!.previous!.digest);
  expect(table.activate("late", "sha256:none")).toBe(false);
  table.close();
  expect(table.open()).toBe(0);
  expect(() => table.acquire("late")).toThrow("there is no model");
});
