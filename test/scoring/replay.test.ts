import { describe, expect, test } from "bun:test";
import { canonicalJson } from "../../src/base/digest.ts";
import type { Row } from "../../src/base/row.ts";
import { batchOf, rowsOf } from "../../src/contract/batch.ts";
import { scoresStream } from "../../src/contract/streams.ts";
import { hasPackage, loadPackageFiles, storePackage } from "../../src/scoring/artifacts.ts";
import { findScore } from "../../src/scoring/find_score.ts";
import { stepScore } from "../../src/scoring/job.ts";
import { loadModel } from "../../src/scoring/loaded.ts";
import { packageDigest, readPackage } from "../../src/scoring/package.ts";
import { replayScore } from "../../src/scoring/replay.ts";
import { scoreAndCommit } from "../../src/scoring/score.ts";
import { addFeatures, engine, feature, handGuardrails, request, stored, type World, world } from "./acts.ts";
import { packageFiles, viewShape } from "./support.ts";

describe("packages in the store", () => {
  test("come back as they were, in parts", async () => {
    const { store } = world();
    const files = packageFiles("mixed", () => {}, { "model.onnx": packageFiles("mixed").get("model.onnx")! });
    files.set(
      "signature.json",
      new Uint8Array(1_300_000).map((_, i) => i % 251),
    );
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
      const row = {
        ...made.rows[0]!,
        ...change,
        score_id: `00000000-0000-7000-8000-${String(Math.abs(Bun.hash.crc32(canonicalJson(change))))
          .padStart(12, "0")
          .slice(-12)}`,
      };
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

  test("of an unknown id only scores of about its time are read", async () => {
    const made = await scored();
    const id = made.rows[1]!.score_id as string;
    const append = { stream: scoresStream("late"), batch: batchOf(made.contract, made.rows) };
    const hour = 3_600_000_000;
    made.clock.time += 3 * hour;
    for (let i = 0; i < 300; i++) await made.store.commit({ appends: [append] });
    let read = 0;
    const counting = {
      ...made.store,
      streams: made.store.streams,
      async *scan(...args: Parameters<typeof made.store.scan>) {
        for await (const part of made.store.scan(...args)) {
          read += part.batch.length;
          yield part;
        }
      },
    } as unknown as typeof made.store;
    const digits = (at: number) =>
      Math.floor(at / 1000)
        .toString(16)
        .padStart(12, "0");
    const madeAt = (at: number) => `${digits(at).slice(0, 8)}-${digits(at).slice(8)}${id.slice(13)}`;
    for (const at of [made.clock.time + 2 * hour, made.clock.time + 400 * 24 * hour]) {
      expect(await findScore(counting, madeAt(at))).toBeNull();
    }
    expect(read).toBe(0);
    // Of a clock that went back by half an hour: the commit's known time could not follow it.
    const late = madeAt(made.clock.time - hour / 2);
    const row = { ...made.rows[1]!, score_id: late };
    await made.store.commit({ appends: [{ ...append, batch: batchOf(made.contract, [row]) }] });
    expect(await findScore(counting, late)).toMatchObject({ row: { score_id: late } });
  });
});
