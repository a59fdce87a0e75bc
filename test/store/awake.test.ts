import { expect, test } from "bun:test";
import { awake } from "../../src/store/awake.ts";

/** A thread whose turns take as long as the test says. */
function thread() {
  let now = 0;
  const waiting: (() => void)[] = [];
  const kept = awake({ now: () => now }, (then) => waiting.push(then));
  return {
    ...kept,
    /** Runs turns until none is asked for, or `most` of them; says how many. */
    turns(each: number, most = 1_000): number {
      let count = 0;
      for (; count < most && waiting.length > 0; count++) {
        now += each;
        waiting.shift()!();
      }
      return count;
    },
  };
}

test("a thread turns until what it expects is there, and no longer", () => {
  const { expect: expects, met, turns } = thread();
  for (let commit = 0; commit < 5; commit++) {
    expects(500);
    expect(turns(10, 20)).toBe(20);
    met();
    expect(turns(10)).toBe(1);
  }
});

test("a new expectation before the last turn has no second row of turns", () => {
  const { expect: expects, met, turns } = thread();
  expects(500);
  met();
  expects(500);
  met();
  expect(turns(10)).toBe(1);
});

test("what does not come in time, or a thread that is held up, or a clock that jumps, is expected ever more rarely", () => {
  for (const each of [10, 200, -10]) {
    const { expect: expects, met, turns } = thread();
    const tried: number[] = [];
    for (let commit = 0; commit < 400; commit++) {
      expects(300);
      if (turns(each) > 0) tried.push(commit);
      met();
    }
    expect(tried).toEqual([0, 2, 5, 10, 19, 36, 69, 134, 199, 264, 329, 394]);
    expects(300); // 5 of 64 are over
    for (let commit = 0; commit < 64; commit++) expects(300);
    expect(turns(10, 3)).toBe(3);
    met(); // in time at last
    turns(10);
    expects(300);
    expect(turns(10, 3)).toBe(3);
  }
});
