/** A stop in the middle of an erasure or a rotation leaves it at a safe point; the next start goes on with it by itself. */
import { expect, test } from "bun:test";
import { verifyAudit } from "../../src/audit/verify.ts";
import { systemClock } from "../../src/base/clock.ts";
import { systemRandom } from "../../src/base/random.ts";
import { rowsOf } from "../../src/contract/batch.ts";
import { openEngine } from "../../src/runtime/engine.ts";
import { eraseFrom } from "../../src/runtime/erase.ts";
import { listKeys } from "../../src/store/key_list.ts";
import { openWriter } from "../../src/store/writer.ts";
import { locationIn, ONE_OF_EACH, toldServer } from "../support/told_server.ts";
import { createDesk, type Desk } from "../support/world.ts";

const CONTRACT = {
  type: "record",
  name: "d",
  recordId: ["id"],
  entity: ["who"],
  eventTime: "at",
  fields: [
    { name: "id", type: "string" },
    { name: "who", type: "string" },
    { name: "n", type: "double" },
    { name: "at", type: { type: "long", logicalType: "timestamp-micros" } },
  ],
};

interface Told {
  readonly msg: string;
  readonly receipt?: { readonly emptied: number };
}

async function filledDesk(): Promise<Desk> {
  const desk = createDesk();
  desk.write("mlpe.yaml", ONE_OF_EACH);
  desk.write("d.avsc", JSON.stringify(CONTRACT));
  const rows = Array.from({ length: 3_000 }, (_, i) => `r${i},who-${i % 10},${i / 7},2024-01-01T00:00:00Z`);
  desk.write("rows.csv", `id,who,n,at\n${rows.join("\n")}\n`);
  await desk.run("ingest");
  return desk;
}

const ENTITY = { who: "who-3" };

async function stored(desk: Desk) {
  const { store, close } = await openEngine(desk.world, locationIn(desk), "read");
  try {
    let rows = 0;
    for await (const { batch } of store.scan("curated/d")) {
      rows += rowsOf(batch).filter(({ who }) => who === ENTITY.who).length;
    }
    return { rows, pending: store.pending.erasures().length, problems: verifyAudit(store).problems };
  } finally {
    await close();
  }
}

async function pendingIn(desk: Desk): Promise<number> {
  const { store, close } = await openEngine(desk.world, locationIn(desk), "read");
  const count = store.pending.erasures().length;
  await close();
  return count;
}

const DONE = { rows: 0, pending: 0, problems: [] };

test("an erasure that a stop comes into ends at a safe point, and is done by the next start", async () => {
  const desk = await filledDesk();
  try {
    const first = toldServer<Told>(desk);
    await first.said("ready");
    const asked = desk.run("erase", "--entity", "who=who-3");
    // It is taken on before anything of it is done, so a stop from here on finds it at some step or at its end.
    for (let looks = 0; (await pendingIn(desk)) === 0 && looks < 1_000; looks++) await Bun.sleep(1);
    await first.stop();
    const { exit, errors } = await asked;
    if (exit !== 0) {
      expect(errors).toContain("store.interrupted");
      const left = await stored(desk);
      expect(left).toMatchObject({ pending: 1, problems: [] });
      expect([0, 300]).toContain(left.rows);
      const second = toldServer<Told>(desk);
      await second.said("an erasure is taken up again");
      await second.said("the erasure is done");
      await second.stop();
    }
    expect(await stored(desk)).toEqual(DONE);
  } finally {
    desk.remove();
  }
}, 60_000);

test("interrupted, an erasure changes nothing; what was taken on is done by the next start, and its name is gone", async () => {
  const desk = await filledDesk();
  try {
    const engine = await openEngine(desk.world, locationIn(desk), "write");
    await engine.store.pending.pend({ entity: ENTITY, ahead: false });
    await engine.store.pending.interrupt();
    const failure = await eraseFrom(engine, ENTITY, false).catch((cause) => cause.code);
    expect(failure).toBe("store.interrupted");
    await engine.close();
    expect(await stored(desk)).toMatchObject({ rows: 300, pending: 1, problems: [] });
    const server = toldServer<Told>(desk);
    const { receipt } = await server.said("the erasure is done");
    expect(receipt!.emptied).toBeGreaterThanOrEqual(300);
    await server.stop();
    expect(await stored(desk)).toEqual(DONE);
    // Once more, of an entity that is gone: it is known to be done, and nothing waits any longer.
    const again = await openEngine(desk.world, locationIn(desk), "write");
    await again.store.pending.pend({ entity: ENTITY, ahead: false });
    await again.close();
    const other = toldServer<Told>(desk);
    await other.said("the erasure is done");
    await other.stop();
    expect(await stored(desk)).toEqual(DONE);
  } finally {
    desk.remove();
  }
}, 60_000);

test("a rotation that a stop comes into ends between two steps, and is finished by the next start", async () => {
  const desk = await filledDesk();
  try {
    const keys = { provider: "file", path: desk.path("store.key") };
    const writer = await openWriter(desk.path("data"), keys, systemClock, systemRandom);
    await writer.compact();
    const cut = await writer
      .rotate(({ step }) => (step === "tail compacted" ? writer.interrupt() : undefined))
      .catch((cause) => cause.code);
    expect(cut).toBe("store.interrupted");
    await writer.close();
    const list = async () => {
      const { store, close } = await openEngine(desk.world, locationIn(desk), "read");
      const { store_keys, retired } = listKeys(store);
      await close();
      return [store_keys.map(({ key_id }) => key_id), retired.segments > 0];
    };
    expect(await list()).toEqual([[1, 2], true]);
    const server = toldServer<Told>(desk);
    await server.said("a rotation of keys is taken up again");
    await server.said("the rotation of keys is done");
    await server.stop();
    expect(await list()).toEqual([[2], false]);
    expect(await stored(desk)).toEqual({ rows: 300, pending: 0, problems: [] });
  } finally {
    desk.remove();
  }
}, 60_000);
