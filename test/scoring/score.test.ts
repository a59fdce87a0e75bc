import { describe, expect, test } from "bun:test";
import { sha256Hex } from "../../src/base/digest.ts";
import { MlpeError } from "../../src/base/errors.ts";
import { scoresStream, VERDICTS } from "../../src/contract/streams.ts";
import type { Guardrails } from "../../src/scoring/guardrails.ts";
import { type ScoreAct, type ScoreStep, scoreReader, stepScore } from "../../src/scoring/job.ts";
import { emptyRequestMemory, foldRequests } from "../../src/scoring/requests.ts";
import { scoreAndCommit } from "../../src/scoring/score.ts";
import { MemoryStore } from "../support/memory_store.ts";
import { addFeatures, feature, HOUR, handGuardrails, request, stored, T, type World, world } from "./acts.ts";
import { viewShape } from "./support.ts";

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
    expect(JSON.parse(rows[0]!.engine as string)).toMatchObject({ threads: 1, batch: 64 });
    expect(new Set(results.map(({ score_id }) => score_id)).size).toBe(2);
  });

  test("marks as hindsight the rows whose outcome was known, in every slice", async () => {
    const made = world();
    const rows = Array.from({ length: 130 }, (_, i) => feature(i + 1));
    const outcomeKnown = (index: number) => index % 65 === 0;
    const { results } = await scoreAndCommit(request(made, rows, { outcomeKnown }));
    expect(results.flatMap(({ hindsight }, index) => (hindsight ? [index] : []))).toEqual([0, 65]);
    expect((await stored(made.store, scoresStream("late"))).length).toBe(130);
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
      const error = await scoreAndCommit(request(made, [feature(2)], { memory: kept, request: body("y") })).catch(
        (e) => e,
      );
      expect(error).toBeInstanceOf(MlpeError);
      expect([error.code, error.kind]).toEqual(["scoring.request_conflict", "conflict"]);
    }
  });
});

test("guardrails flag, block, and see null as not true", async () => {
  const made = world();
  const judge = async (guardrails: Guardrails) =>
    (await scoreAndCommit(request({ ...made, guardrails }, [feature(5)]))).results[0]!;
  expect(await judge(handGuardrails("flag", (a) => a > 0.4))).toMatchObject({ flags: ["rule"], blocked: false });
  const blocked = await judge(handGuardrails("block", (_, score) => score >= 0));
  expect(blocked).toMatchObject({ flags: ["rule"], blocked: true, score: null, outputs: null });
  expect(await judge(handGuardrails("block", () => null))).toMatchObject({ flags: [], blocked: false });
  const failing = handGuardrails("block", () => null);
  const program = {
    ...failing.program!,
    evaluate: () => ({ values: [null], failures: [{ output: 0, status: "undefined" as const, message: "1/0" }] }),
  };
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
    await addFeatures(
      made.store,
      [0, 1, 2, 3, 4].map((flight) => feature(flight)),
    );
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
    await addFeatures(
      made.store,
      [feature(2, { a: 3, position: 4 }), feature(3, { position: 4 })],
      new Uint8Array([0, 1]),
    );
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

  test("a row that is withdrawn before it is scored, in the same step, leaves a stale score", async () => {
    const made = world();
    await addFeatures(made.store, [feature(1), feature(2)]);
    await addFeatures(made.store, [feature(1, { position: 4 }), feature(2, { position: 4 })], new Uint8Array([1, 1]));
    await addFeatures(made.store, [feature(2, { position: 4, as_of: T + HOUR * 9 })]);
    await stepScore(step(made));
    const scores = await stored(made.store, scoresStream("late"));
    expect(scores).toHaveLength(3);
    const [verdict] = await stored(made.store, VERDICTS);
    expect(JSON.parse(verdict!.detail as string).scores).toEqual([
      { score_id: scores[0]!.score_id, replaced_by: null },
      { score_id: scores[1]!.score_id, replaced_by: scores[2]!.score_id },
    ]);
  });

  test("scores a feature row once for a package, whichever periods ask for it, and names each stale score once", async () => {
    const made = world();
    const periods = [
      { from: T, to: T + 5 * HOUR },
      { from: T + 1 },
      { from: T + HOUR, to: T + 2 * HOUR },
      {}, // the job that goes on with what comes
    ];
    const run = async (maxRows: number) => {
      for (const [i, period] of periods.entries()) {
        const reader = i === periods.length - 1 ? {} : { reader: `period ${i}` };
        while ((await stepScore(step(made, { ...period, ...reader, maxRows }))) === "progress");
      }
      const verdicts = await stored(made.store, VERDICTS);
      const stale = verdicts.flatMap(({ detail }) => JSON.parse(detail as string).scores as object[]);
      return { scores: await stored(made.store, scoresStream("late")), stale };
    };
    for (let flight = 0; flight < 8; flight++) await addFeatures(made.store, [feature(flight)]);
    const { scores } = await run(3);
    expect(scores.map((row) => row.key_flight).sort()).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    // 1 is computed again, 2 withdrawn, 6 moves to another T.
    await addFeatures(made.store, [feature(1, { a: 3, position: 9 })]);
    await addFeatures(made.store, [feature(2, { position: 9 })], new Uint8Array([1]));
    await addFeatures(made.store, [feature(6, { position: 9 })], new Uint8Array([1]));
    await addFeatures(made.store, [feature(6, { position: 9, as_of: T + 9 * HOUR })]);
    const again = await run(2);
    expect(again.scores).toHaveLength(10);
    const idOf = (flight: number, at = 0) =>
      again.scores.filter((row) => row.key_flight === flight)[at]!.score_id as string;
    const expected = [
      { score_id: idOf(1), replaced_by: idOf(1, 1) },
      { score_id: idOf(2), replaced_by: null },
    ];
    expect(again.stale).toEqual(expect.arrayContaining(expected));
    expect(again.stale.map((one) => (one as { score_id: string }).score_id).sort()).toEqual(
      [idOf(1), idOf(2), idOf(6)].sort(),
    );
    // From the beginning, over all of it: nothing is new.
    const { store } = made;
    for (const period of [{ from: T - 7 }, { from: T - 7, to: T + 99 * HOUR }]) {
      const head = (await store.head()).commitNo;
      while ((await stepScore(step(made, { ...period, reader: JSON.stringify(period) }))) === "progress");
      const since = await store.tail(head, [scoresStream("late"), VERDICTS], 100);
      expect(since.rows.filter(({ batch }) => batch.length > 0)).toEqual([]);
    }
    const other = world();
    const package2 = { ...made, model: { ...other.model, digest: `sha256:${"2".repeat(64)}` } };
    while ((await stepScore(step(package2, { ...periods[0], reader: "another package" }))) === "progress");
    expect((await stored(store, scoresStream("late"))).length).toBe(10 + 7); // 1 both before and after
  });

  test("scores a row once that fusion wrote again after a kill, in one step or later", async () => {
    const made = world();
    await addFeatures(made.store, [feature(1), feature(2)]);
    await addFeatures(made.store, [feature(1)]);
    await stepScore(step(made));
    await addFeatures(made.store, [feature(1), feature(2)]);
    await addFeatures(made.store, [feature(1, { a: 3, position: 9 })]);
    await stepScore(step(made));
    const scores = await stored(made.store, scoresStream("late"));
    expect(scores.map((row) => [row.key_flight, row.position]).sort()).toEqual([
      [1, feature(1).position],
      [1, 9],
      [2, feature(2).position],
    ]);
    const idOf = (position: unknown) =>
      scores.find((row) => row.key_flight === 1 && row.position === position)!.score_id;
    const verdicts = await stored(made.store, VERDICTS);
    expect(verdicts.flatMap(({ detail }) => JSON.parse(detail as string).scores)).toEqual([
      { score_id: idOf(feature(1).position), replaced_by: idOf(9) },
    ]);
  });

  test.each([1, 2, 4, 9])("so it is where the row came behind a withdrawal, %p commits a step", async (commits) => {
    const made = world();
    await addFeatures(made.store, [feature(1)]);
    while ((await stepScore(step(made))) === "progress");
    for (let again = 0; again < 3; again++) {
      await addFeatures(made.store, [feature(1, { position: 9 })], new Uint8Array([1]));
      await addFeatures(made.store, [feature(1, { a: 3, position: 9 })]);
    }
    while ((await stepScore(step(made, { maxRows: commits }))) === "progress");
    const [first, second, ...more] = await stored(made.store, scoresStream("late"));
    expect([second!.position, more.length]).toEqual([9, 0]);
    const verdicts = await stored(made.store, VERDICTS);
    const stale = verdicts.flatMap(({ detail }) => JSON.parse(detail as string).scores);
    expect([...new Set(stale.map(({ score_id }: { score_id: string }) => score_id))]).toEqual([
      first!.score_id as string,
    ]);
  });

  test("hands the act to what else must be in the commit", async () => {
    const made = world();
    await addFeatures(made.store, [feature(1)]);
    const acts: number[] = [];
    const noted = ({ rows, upTo }: ScoreAct) => {
      acts.push(rows.length, upTo);
      return [];
    };
    await stepScore(step(made, { extra: noted }));
    expect(acts).toEqual([1, 1]);
  });
});
