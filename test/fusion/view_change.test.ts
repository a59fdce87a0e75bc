import { expect, test } from "bun:test";
import fc from "fast-check";
import { seededRandom } from "../../src/base/random.ts";
import { planView } from "../../src/fusion/plan.ts";
import { resumeFuser, stepFuse } from "../../src/fusion/step.ts";
import type { ViewPlan } from "../../src/fusion/types.ts";
import { verifyView } from "../../src/views/verify.ts";
import { MemoryStore } from "../support/memory_store.ts";
import { commitChanges, datasetPlans, endInput, finiteFeeds, testClock, VIEW, viewConfig } from "./flights.ts";
import { changeGroups, comparable, oracleRows, storedRows } from "./oracle.ts";

const plan = planView("flight_delay", viewConfig(), datasetPlans());
const windows = Object.entries(VIEW.windows).map(([name, window]) => [name, { ...window, window: "17m" }]);
const changed = planView("flight_delay", viewConfig({ ...VIEW, windows: Object.fromEntries(windows) }), datasetPlans());

async function fuseAll(store: MemoryStore, view: ViewPlan, rowsPerCommit: number, turns = Number.POSITIVE_INFINITY) {
  const fuser = await resumeFuser(store, view, finiteFeeds);
  const options = { store, fuser, clock: testClock(), rowsPerCommit };
  for (let turn = 0; turn < turns && (await stepFuse(options)) === "progress"; turn++);
}

/** A changed view must not leave feature rows that the earlier one fused, also where the change is interrupted. */
test("rows of an earlier version of the view are fused again, and once more when it is taken back", async () => {
  const order = fc.record({
    groups: changeGroups,
    rowsPerCommit: fc.integer({ min: 1, max: 7 }),
    turns: fc.nat({ max: 6 }),
  });
  await fc.assert(
    fc.asyncProperty(order, async ({ groups, rowsPerCommit, turns }) => {
      const store = new MemoryStore(testClock());
      await commitChanges(store, groups.flat());
      await endInput(store, "flights", "weather", "planes");
      await fuseAll(store, plan, rowsPerCommit);
      const before = comparable(await storedRows(store));
      expect(before).toEqual(comparable(oracleRows(groups.flat())));
      await fuseAll(store, changed, rowsPerCommit, turns);
      await fuseAll(store, changed, rowsPerCommit);
      if (Object.keys(before).length > 0) {
        const verified = await verifyView({ store, plan: changed, random: seededRandom(1), rows: 20 });
        expect(verified.fused).toBe(Object.keys(before).length);
        expect(verified.equal).toBe(true);
      }
      await fuseAll(store, plan, rowsPerCommit, turns);
      await fuseAll(store, plan, rowsPerCommit);
      expect(comparable(await storedRows(store))).toEqual(before);
    }),
    { numRuns: 60 },
  );
});
