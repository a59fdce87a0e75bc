import { expect, test } from "bun:test";
import { loadModel } from "../../src/scoring/loaded.ts";
import { createModelTable } from "../../src/scoring/model_table.ts";
import { readPackage } from "../../src/scoring/package.ts";
import { scoreAndCommit } from "../../src/scoring/score.ts";
import { engine, feature, request, world } from "./acts.ts";
import { packageFiles } from "./support.ts";

test("a hundred swaps under load: no request fails, sessions stay bounded and are all closed", async () => {
  const made = world();
  const table = createModelTable();
  const versions = ["1.0.0", "2.0.0", "3.0.0"].map((version) =>
    readPackage(packageFiles("trees", (m) => (m.version = version))),
  );
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
