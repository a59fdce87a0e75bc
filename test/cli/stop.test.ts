/** A stop is bounded: what does not end in time is left, and the rest ends after it. */
import { expect, test } from "bun:test";
import { type Stopping, stopInTurn } from "../../src/cli/stop.ts";

const never = new Promise<void>(() => {});

function parts(...endings: readonly Promise<void>[]): { readonly told: string[]; readonly all: Stopping[] } {
  const told: string[] = [];
  const all = endings.map((ending, i) => ({
    name: `part ${i}`,
    stop() {
      told.push(`stop ${i}`);
      return ending;
    },
    leave: () => void told.push(`leave ${i}`),
  }));
  return { told, all };
}

test("a part that never ends is left, and those after it are stopped", async () => {
  const { told, all } = parts(Promise.resolve(), never, Promise.resolve());
  expect(await stopInTurn(all, 20)).toEqual(["part 1"]);
  expect(told).toEqual(["stop 0", "stop 1", "leave 1", "stop 2"]);
});

test("parts that end are not left, one after another", async () => {
  const slow = Promise.withResolvers<void>();
  const { told, all } = parts(slow.promise, Promise.resolve());
  const stopped = stopInTurn(all, 60_000);
  expect(told).toEqual(["stop 0"]);
  slow.resolve();
  expect(await stopped).toEqual([]);
  expect(told).toEqual(["stop 0", "stop 1"]);
});

test("what a part throws is thrown", async () => {
  const { all } = parts(Promise.reject(new Error("the disk")));
  expect(stopInTurn(all, 60_000)).rejects.toThrow("the disk");
});
