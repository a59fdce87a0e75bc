import { expect, test } from "bun:test";
import { seededRandom } from "../../src/base/random.ts";
import type { World } from "../../src/base/world.ts";
import { rowsOf } from "../../src/contract/batch.ts";
import { failureLineage } from "../../src/runtime/lineage.ts";
import type { Step } from "../../src/runtime/loop.ts";
import type { Project } from "../../src/runtime/project.ts";
import { supervise } from "../../src/runtime/supervise.ts";

/** A clock that only moves when someone waits. */
function movedByWaiting() {
  let now = 1_000_000_000;
  const pass = (milliseconds: number) => {
    now += milliseconds * 1000;
  };
  return { clock: { now: () => now }, pass };
}

test("a failing step is told of once a try, with when it began, and the others go on", async () => {
  const { clock, pass } = movedByWaiting();
  const began: number[] = [];
  const told: [string, number, number][] = [];
  let turns = 0;
  const step = (name: string, turn: Step["turn"]): Step => ({ name, reads: [], writes: [], turn });
  const failing = step("ingest.bad", async () => {
    began.push(clock.now());
    throw new Error("gone");
  });
  const steps = [
    failing,
    step("ingest.good", async () => {
      turns++;
      return "idle";
    }),
  ];
  await supervise({
    steps,
    clock,
    wait: async (milliseconds) => pass(milliseconds),
    failed: async ({ name }, _, retryInMs, startedAt) => void told.push([name, retryInMs, startedAt]),
    stopped: () => told.length === 4,
  });
  expect(told.map(([name, retry]) => [name, retry])).toEqual([1000, 2000, 4000, 8000].map((ms) => ["ingest.bad", ms]));
  expect(told.map(([, , startedAt]) => startedAt)).toEqual(began);
  expect(turns).toBeGreaterThan(4);
});

test("a turn that failed has a START and a FAIL event of one run; steps that are no runs have none", () => {
  const world = { clock: { now: () => 1_700_000_000_000_000 }, random: seededRandom(1) } as unknown as World;
  const project = { config: { site: "here", lineage: {} } } as unknown as Project;
  const step = { name: "fuse.delay", reads: ["curated/flights"], writes: ["features/delay"] };
  const rows = rowsOf(
    failureLineage(world, project, step, 1_699_999_999_000_000, "store.full: the disk is full")!.batch,
  );
  expect(rows.map((row) => [row.event_type, row.job, row.at])).toEqual([
    ["START", "here/fuse.delay", 1_699_999_999_000_000],
    ["FAIL", "here/fuse.delay", 1_700_000_000_000_000],
  ]);
  expect(rows[0]!.run_id).toBe(rows[1]!.run_id!);
  const event = JSON.parse(rows[1]!.event as string);
  expect(event.run.facets.errorMessage.message).toBe("store.full: the disk is full");
  expect(event.inputs[0].name).toBe("curated/flights");
  expect(failureLineage(world, project, { ...step, name: "lineage.post" }, 0, "x")).toBeUndefined();
});
