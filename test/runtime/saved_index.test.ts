/** The online index over starts: what was saved spares the history, and nothing that goes wrong with it changes an answer. */
import { afterEach, expect, test } from "bun:test";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Row } from "../../src/base/row.ts";
import { curatedStream } from "../../src/contract/streams.ts";
import type { LiveIndex } from "../../src/fusion/index.ts";
import { applyRows } from "../../src/fusion/index.ts";
import { planView } from "../../src/fusion/plan.ts";
import { fuseRequest } from "../../src/fusion/request.ts";
import { serverMetrics } from "../../src/runtime/metrics.ts";
import { indexSaver, openIndex } from "../../src/runtime/saved_index.ts";
import { openStore } from "../../src/store/store.ts";
import { commitChanges, contracts, DAWN, datasetPlans, VIEW, viewConfig } from "../fusion/flights.ts";
import { storeHome } from "../support/store_home.ts";

const plan = planView("flight_delay", viewConfig(), datasetPlans());
const ROWS = 21_000; // more than a stop passes over
const tail = (i: number) => `N${i}`;

const homes: (() => void)[] = [];
afterEach(() => {
  for (const remove of homes.splice(0)) remove();
});

async function opened(options: ReturnType<typeof storeHome>["options"], views = [plan]) {
  const store = await openStore(options);
  const project = { views: new Map(views.map((view) => [view.name, view])) };
  const engine = { store, project, world: { clock: options.clock } };
  const told: string[] = [];
  const log = (message: string, facts: object) => told.push(`${message} ${JSON.stringify(facts)}`);
  const metrics = serverMetrics();
  const { commitNo } = await store.head();
  const open = await openIndex(engine, commitNo, log);
  return { store, told, metrics, index: open.index, saver: indexSaver(engine, open, metrics, log), commitNo };
}

/** A store with planes in two commits, whose index was saved at a stop. */
async function made() {
  const home = storeHome();
  homes.push(home.remove);
  const store = await openStore(home.options);
  const tailnums = Array.from({ length: ROWS }, (_, i) => tail(i));
  const columns = [
    { kind: "text" as const, codes: Int32Array.from(tailnums, (_, i) => i), dictionary: tailnums },
    { kind: "number" as const, values: Int32Array.from(tailnums, (_, i) => i) },
  ];
  const batch = { contract: contracts.planes, length: ROWS, columns };
  await store.commit({ appends: [{ stream: curatedStream("planes"), batch }] });
  await store.close();
  const first = await opened(home.options);
  await first.saver.stop(first.commitNo);
  await first.store.close();
  return { ...home, folder: join(home.options.directory, "folds"), first };
}

function seats(index: LiveIndex, i: number): unknown {
  const row: Row = { carrier: "AA", flight: 1, scheduled: DAWN, origin: null, tailnum: tail(i), distance: 1, lead: 0 };
  const [answer] = fuseRequest(plan, index, [row], DAWN);
  return answer!.fused.values[plan.shape.features.findIndex(({ name }) => name === "seats")];
}

test("a start goes on from where the index was saved, and answers as one that folds everything", async () => {
  const { options, first } = await made();
  expect(first.told.join()).toMatch(/^index saved \{"commit":1,"rows":21000/);
  const store = await openStore(options);
  await commitChanges(store, [{ dataset: "planes", row: { tailnum: tail(7), seats: 1_000_000 } }]);
  await commitChanges(store, [{ dataset: "planes", row: { tailnum: tail(8), seats: 8 }, withdrawn: true }]);
  await store.close();
  const second = await opened(options);
  expect(second.told).toEqual(['index restored {"commit":1,"rows":21000}']);
  expect([6, 7, 8, ROWS - 1, ROWS].map((i) => seats(second.index, i))).toEqual([6, 1_000_000, null, ROWS - 1, null]);
  await second.saver.stop(second.commitNo); // two rows are not worth it
  expect(second.told).toHaveLength(1);
  await second.store.close();
});

test("a damaged fold, and one of other views, is passed over and said so", async () => {
  const { options, folder } = await made();
  const other = planView("flight_delay", viewConfig({ ...VIEW, features: { seats: "plane.seats" } }), datasetPlans());
  const changed = await opened(options, [other]);
  expect(changed.told).toEqual(['saved index passed over {"why":"it is of other views or another version"}']);
  await changed.store.close();
  const path = join(folder, readdirSync(folder)[0]!);
  const bytes = readFileSync(path);
  bytes[bytes.length >> 1]! ^= 1;
  writeFileSync(path, bytes);
  const again = await opened(options);
  expect(again.told.join()).toMatch(/^saved index passed over .*is damaged/);
  expect([0, ROWS - 1].map((i) => seats(again.index, i))).toEqual([0, ROWS - 1]);
  await again.store.close();
});

test("an index that can't be saved is counted and said, and served all the same", async () => {
  const { options, folder } = await made();
  rmSync(folder, { recursive: true });
  const { store, saver, metrics, told, index, commitNo } = await opened(options);
  writeFileSync(folder, "in the way");
  await saver.stop(commitNo);
  expect(told.at(-1)).toMatch(/^saving the index failed .*could not be saved/);
  expect(metrics.snapshot().get("mlpe_index_save_failures_total")).toBe(1);
  expect(seats(index, 5)).toBe(5);
  rmSync(folder);
  await store.close();
});

test("while it serves, the index is saved once enough rows were folded, one at a time", async () => {
  const { options } = await made();
  const { store, saver, index, told } = await opened(options);
  const page = await store.tail(0, index.streams);
  for (let round = 0; round < 10; round++) {
    for (const stored of page.rows) {
      const sequences = stored.sequences.map((sequence) => sequence + (round + 1) * ROWS);
      applyRows(index, { ...stored, sequences });
    }
    saver.folded(1);
    saver.folded(1);
  }
  await saver.stop(1);
  expect(told.map((line) => line.split(" {")[0]!)).toEqual(["index restored", "index saved"]);
  await store.close();
});

test("an index that may hold rows which were removed from the log is never saved again", async () => {
  const { options } = await made();
  const store = await openStore(options);
  const told: string[] = [];
  let asked = 0;
  const saveFold = async () => asked++ < 0;
  const engine = {
    store: { ...store, saveFold },
    project: { views: new Map([[plan.name, plan]]) },
    world: { clock: options.clock },
  };
  const { index, begun } = await openIndex(engine, 1, () => {});
  const saver = indexSaver(engine, { index, begun, saved: 0 }, serverMetrics(), (message) => told.push(message));
  await saver.stop(1);
  await saver.stop(1);
  expect([asked, told]).toEqual([1, ["index not saved"]]);
  await store.close();
});

const source = (path: string) => JSON.stringify(new URL(`../../${path}`, import.meta.url).pathname);

/** A process that adds a commit and saves the index, and says so after the given number of parts; it is killed then. */
async function killedWhileSaving(home: string, options: Awaited<ReturnType<typeof made>>["options"], parts: number) {
  const program = join(home, `saving${parts}.ts`);
  writeFileSync(
    program,
    `import { systemClock as clock } from ${source("src/base/clock.ts")};
    import { systemRandom as random } from ${source("src/base/random.ts")};
    import { planView } from ${source("src/fusion/plan.ts")};
    import { saveIndex, savedTag } from ${source("src/fusion/saved.ts")};
    import { openIndex } from ${source("src/runtime/saved_index.ts")};
    import { VERSION } from ${source("src/runtime/version.ts")};
    import { openStore } from ${source("src/store/store.ts")};
    import { commitChanges, datasetPlans, viewConfig } from ${source("test/fusion/flights.ts")};
    const { directory, keys } = ${JSON.stringify({ directory: options.directory, keys: options.keys })};
    const store = await openStore({ directory, keys, clock, random, thread: true });
    await commitChanges(store, [{ dataset: "planes", row: { tailnum: "N7", seats: 1000 + ${parts} } }]);
    const plan = planView("flight_delay", viewConfig(), datasetPlans());
    const engine = { store, project: { views: new Map([[plan.name, plan]]) }, world: { clock } };
    const { commitNo } = await store.head();
    const { index, begun } = await openIndex(engine, commitNo, () => {});
    async function* slowly() {
      let made = 0;
      for await (const part of saveIndex(index)) {
        if (made++ === ${parts}) {
          console.log("saving");
          await new Promise(() => setInterval(() => {}, 1_000));
        }
        yield part;
      }
      console.log("made"); // all parts: it goes on to the end, or is killed before
    }
    await store.saveFold({ name: "online index", tag: savedTag([plan], VERSION), upTo: commitNo }, begun, slowly());
    await new Promise(() => setInterval(() => {}, 1_000));`,
  );
  const child = Bun.spawn([process.execPath, program], { stdout: "pipe", stderr: "inherit" });
  try {
    let said = "";
    for await (const chunk of child.stdout) {
      said += new TextDecoder().decode(chunk);
      if (said.endsWith("\n")) break;
    }
    expect(said).toBe(parts < 1_000 ? "saving\n" : "made\n");
  } finally {
    child.kill("SIGKILL");
    await child.exited;
  }
}

test("killed at any part of a save: the next start is right from what was saved before, and sweeps what was begun", async () => {
  const { options, folder, home } = await made();
  // It has two parts: before the first, between them, and after them.
  for (const parts of [0, 1, 1_000]) {
    await killedWhileSaving(home, options, parts);
    const left = readdirSync(folder).length;
    if (parts < 1_000) expect(left).toBe(2); // the one before, and what was begun
    const { store, told, index } = await opened(options);
    expect(told.join()).toMatch(/^index restored \{"commit":[1-5],"rows":21000\}$/);
    expect([6, 7, ROWS - 1].map((i) => seats(index, i))).toEqual([6, 1_000 + parts, ROWS - 1]);
    expect(readdirSync(folder)).toHaveLength(1);
    await store.close();
  }
}, 60_000);
