import { afterEach, expect, spyOn, test } from "bun:test";
import { fsyncSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { othersTurn } from "../../src/base/turn.ts";
import { readState } from "../../src/store/catalogue.ts";
import { notePending } from "../../src/store/pending.ts";
import { overwrite, scrub, scrubbing } from "../../src/store/scrub.ts";
import { type OpenWriter, openWriter } from "../../src/store/writer.ts";
import { storeHome } from "../support/store_home.ts";

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

/** An open log whose database is to be scrubbed. */
async function dueWriter(): Promise<{ writer: OpenWriter; directory: string }> {
  const { options, remove } = storeHome();
  const { directory, keys, clock, random } = options;
  const writer = await openWriter(directory, keys, clock, random);
  ends.push(remove, writer.close);
  notePending(writer.log, { entity: { id: "x" }, ahead: true }, "done");
  return { writer, directory };
}

const isDue = ({ log }: OpenWriter) => readState(log.database, log.sealer).scrub === true;

test.each(["EDQUOT", "EMFILE", "EIO", "SQLITE_IOERR"])(
  "what the system refuses (%s) is scrubbed later",
  async (code) => {
    const { writer, directory } = await dueWriter();
    const spy = spyOn(writer.log.sums, "checkpoint").mockImplementation(() => {
      throw Object.assign(new Error("refused"), { code });
    });
    ends.push(() => spy.mockRestore());
    expect(await scrub(writer.log, directory)).toBe(false);
    expect(isDue(writer)).toBe(true);
    spy.mockRestore();
    expect(await scrub(writer.log, directory)).toBe(true);
    expect(isDue(writer)).toBe(false);
  },
);

test("once it is closed, a turn that was waiting sets no further one", async () => {
  const { writer, directory } = await dueWriter();
  const asked = Promise.withResolvers<void>();
  const turn = Promise.withResolvers<void>();
  const scrubs = scrubbing(writer.log, directory, async (act) => {
    asked.resolve();
    await turn.promise;
    return act(async () => {});
  });
  scrubs.later(0);
  await asked.promise;
  await scrubs.close();
  const timers = spyOn(globalThis, "setTimeout");
  ends.push(() => timers.mockRestore());
  turn.resolve();
  for (let i = 0; i < 20; i++) await othersTurn();
  expect(isDue(writer)).toBe(true);
  expect(timers).not.toHaveBeenCalled();
});

test("the header of a write-ahead log is zeros, durably, before a frame is: a power cut leaves no part of it to be read", () => {
  const home = mkdtempSync(join(tmpdir(), "mlpe-scrub-"));
  const path = join(home, "log.db-wal");
  try {
    for (const size of [0, 32, 4_152, 3 << 20]) {
      const frames = new Uint8Array(size).fill(7);
      writeFileSync(path, frames);
      const synced: Uint8Array[] = [];
      overwrite(path, (file) => {
        fsyncSync(file);
        synced.push(new Uint8Array(readFileSync(path)));
      });
      const first = frames.fill(0, 0, 32);
      expect(Buffer.compare(synced[0]!, first)).toBe(0);
      expect(Buffer.compare(synced.at(-1)!, new Uint8Array(size))).toBe(0);
    }
  } finally {
    rmSync(home, { recursive: true });
  }
});
