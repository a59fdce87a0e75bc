/** Memory for large arrays, and who has a turn while it is made. */
import { expect, spyOn, test } from "bun:test";
import { cleared } from "../../src/base/room.ts";
import { pace } from "../../src/base/turn.ts";

test("cleared memory is zero everywhere, whatever lay there, and others have turns meanwhile", async () => {
  const dirty = (bytes: number) => Buffer.from(new Uint8Array(bytes).fill(0xff).buffer);
  using _ = spyOn(Buffer, "allocUnsafeSlow").mockImplementation(dirty);
  for (const bytes of [0, 1, 65_535, 65_536, 65_537, 1_000_003]) {
    let [asked, turns] = [0, 0];
    const steps = {
      due: () => {
        asked++;
        return asked % 2 === 1;
      },
      turn: async () => void turns++,
    };
    const made = new Uint8Array(await cleared(bytes, steps));
    expect([made.length, made.every((byte) => byte === 0)]).toEqual([bytes, true]);
    expect([asked, turns]).toEqual([Math.ceil(bytes / 65_536), Math.ceil(Math.ceil(bytes / 65_536) / 2)]);
  }
});

test("work in turns gives one at its first step: what the thread did before is not known", async () => {
  const steps = pace();
  expect(steps.due()).toBe(true);
  let others = false;
  setImmediate(() => {
    others = true;
  });
  await steps.turn();
  expect(others).toBe(true);
});
