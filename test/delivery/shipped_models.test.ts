/** The packages under `models/`, as the scoring room reads them and this machine's engine runs them. */
import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { systemRandom } from "../../src/base/random.ts";
import { smoke } from "../../src/delivery/gates.ts";
import { generateSigningKey, signPackage, verifyPackage } from "../../src/delivery/sign.ts";
import { goldenResults, loadModel } from "../../src/scoring/loaded.ts";
import { readPackage } from "../../src/scoring/package.ts";
import { openEngine } from "../../src/scoring/session.ts";

const models = process.env.MLPE_TEST_MODELS ?? join(import.meta.dir, "../../models");
const scratch = mkdtempSync(join(tmpdir(), "mlpe-models-"));
afterAll(() => rmSync(scratch, { recursive: true }));

const filesOf = (name: string) => {
  const folder = join(models, name);
  return new Map(readdirSync(folder).map((path) => [path, new Uint8Array(readFileSync(join(folder, path)))]));
};
const versions = [
  ["flight_delay_baseline", "1.0.0"],
  ["flight_delay", "2.0.0"],
  ["flight_delay_worse", "2.1.0"],
] as const;

describe.skipIf(!existsSync(models))("shipped models", () => {
  test.each(versions)("%s %s loads, matches its golden rows and can be signed", (folder, version) => {
    const pack = readPackage(filesOf(folder));
    expect(pack.manifest).toMatchObject({ name: "flight_delay", version });
    const model = loadModel("flight_delay", pack, openEngine(scratch), systemClock);
    const { atol, rtol } = pack.manifest.golden!;
    expect(smoke(goldenResults(model, pack.golden), { atol, rtol })).toMatchObject({
      outcome: "pass",
      figures: { rows: 64 },
    });
    model.session.dispose();
    const key = generateSigningKey(systemRandom);
    expect(verifyPackage(pack.digest, signPackage(pack.digest, key.privatePem), [key.publicPem]).signer).toMatch(
      /^sha256:/,
    );
  });

  test.each(versions)(
    "%s %s: golden rows hold nulls and an unknown carrier, and the profile covers each input",
    (folder) => {
      const { manifest, golden, reference } = readPackage(filesOf(folder));
      const names = manifest.inputs.flatMap((input) => input.features.map(({ name }) => name));
      const carriers = manifest.inputs.flatMap((input) => input.features).find(({ name }) => name === "carrier")!
        .categories!;
      expect(golden.filter(({ features }) => Object.values(features).includes(null)).length).toBeGreaterThanOrEqual(8);
      expect(golden.some(({ features }) => !carriers.includes(features.carrier as string))).toBe(true);
      for (const { features } of golden) expect(Object.keys(features).sort()).toEqual([...names].sort());
      expect(Object.keys(reference!.features).sort()).toEqual([...names].sort());
      for (const profile of [...Object.values(reference!.features), reference!.score]) {
        const counts = Object.values(profile.counts).reduce((sum, count) => sum + count, 0);
        expect(counts + profile.nulls).toBe(profile.rows);
        if (profile.kind === "numeric") expect(profile.edges.length).toBe(profile.counts.length + 1);
      }
    },
  );
});
