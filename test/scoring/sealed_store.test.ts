import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { systemRandom } from "../../src/base/random.ts";
import type { Row } from "../../src/base/row.ts";
import { batchOf, rowsOf } from "../../src/contract/batch.ts";
import { featuresContract, featuresStream, scoresContract, scoresStream } from "../../src/contract/streams.ts";
import { loadPackageFiles, storePackage } from "../../src/scoring/artifacts.ts";
import { NO_GUARDRAILS } from "../../src/scoring/guardrails.ts";
import { stepScore } from "../../src/scoring/job.ts";
import { loadModel } from "../../src/scoring/loaded.ts";
import { packageDigest, readPackage } from "../../src/scoring/package.ts";
import { replayScore } from "../../src/scoring/replay.ts";
import { foldRequests } from "../../src/scoring/requests.ts";
import { scoreAndCommit } from "../../src/scoring/score.ts";
import { openStore } from "../../src/store/store.ts";
import { packageFiles, testEngine, viewShape } from "./support.ts";

// The real sealed log on a temporary directory, closed and opened between the acts, compacted or not: what a restart sees.
const T = 1_600_000_000_000_000;
const features = (flight: number): Row => ({
  key_flight: flight,
  as_of: T + flight * 60_000_000,
  a: Math.sin(flight),
  b: flight % 3 === 0 ? null : flight / 7,
  c: -flight,
  d: 0.1,
  carrier: flight % 2 === 0 ? "AA" : null,
  time_weather: null,
  position: 1,
});

for (const compacted of [false, true]) {
  test(`scores are replayed and repeated after a restart${compacted ? ", compacted" : ""}`, async () => {
    const folder = mkdtempSync(join(tmpdir(), "mlpe-scoring-"));
    const open = () =>
      openStore({
        directory: join(folder, "data"),
        keys: { provider: "file", path: join(folder, "key") },
        clock: systemClock,
        random: systemRandom,
      });
    const engine = testEngine();
    const files = packageFiles("trees");
    const shared = { clock: systemClock, random: systemRandom, shape: viewShape, guardrails: NO_GUARDRAILS };
    const contract = scoresContract("late", viewShape);
    try {
      let store = await open();
      for (const append of storePackage(files)) await store.commit({ appends: [append] });
      const rows = Array.from({ length: 150 }, (_, i) => features(i));
      const batch = batchOf(featuresContract(viewShape), rows);
      await store.commit({ appends: [{ stream: featuresStream("flights"), batch }] });
      const model = loadModel("late", readPackage(files), engine, systemClock);
      const request = { id: "once", digest: "d".repeat(64) };
      const live = { ...shared, model, contract, role: "live", hindsight: false } as const;
      expect(await stepScore({ ...live, store })).toBe("progress");
      const send = async () =>
        scoreAndCommit({
          ...live,
          store,
          mode: "rows",
          request,
          memory: await foldRequests(store, "late"),
          features: () => [{ ...features(3), key_flight: null }],
        });
      const first = await send();
      if (compacted) await store.compact();
      await store.close();

      store = await open();
      expect(await stepScore({ ...live, store })).toBe("idle");
      const again = await send();
      expect(again).toEqual({ ...first, repeated: true });
      const stored: Row[] = [];
      for await (const part of store.scan(scoresStream("late"))) stored.push(...rowsOf(part.batch));
      expect(stored).toHaveLength(151);
      const loadPackage = async (name: string, digest: string) =>
        loadModel(name, readPackage(await loadPackageFiles(store, digest)), engine, systemClock);
      for (const row of [stored[0]!, stored[77]!, stored[150]!]) {
        const scoreId = row.score_id as string;
        const replay = await replayScore({ store, scoreId, shapeOf: () => viewShape, loadPackage });
        expect(replay).toMatchObject({ equal: true, stored: row.score, digest: packageDigest(files) });
        expect(replay.features_from).toBe(row.mode === "batch" ? "stream" : "score");
      }
      model.session.dispose();
      await store.close();
    } finally {
      rmSync(folder, { recursive: true });
    }
  }, 30_000);
}
