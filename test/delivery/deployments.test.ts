import { expect, test } from "bun:test";
import fc from "fast-check";
import type { Row } from "../../src/base/row.ts";
import {
  foldDeployments,
  type ModelDeployments,
  noDeployments,
  promoteRow,
  rollbackRow,
  rollforwardRow,
} from "../../src/delivery/deployments.ts";

const packageOf = (name: string) => ({ digest: `sha256:${name}`, version: name });
const stateOf = (rows: readonly Row[]): ModelDeployments => foldDeployments(rows).get("m") ?? noDeployments("m");

function codeOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    return (error as { code: string }).code;
  }
  return "no error";
}

test("promote, promote, roll back, roll forward", () => {
  const rows: Row[] = [];
  rows.push(promoteRow(stateOf(rows), packageOf("one"), 1));
  rows.push(promoteRow(stateOf(rows), packageOf("two"), 2));
  expect(stateOf(rows)).toMatchObject({ live: packageOf("two"), canRollBackTo: packageOf("one") });
  expect(stateOf(rows).canRollForwardTo).toBeNull();
  rows.push(rollbackRow(stateOf(rows), 3));
  expect(stateOf(rows)).toMatchObject({ live: packageOf("one"), canRollForwardTo: packageOf("two") });
  expect(stateOf(rows).canRollBackTo).toBeNull();
  rows.push(rollforwardRow(stateOf(rows), 4));
  expect(stateOf(rows).live).toEqual(packageOf("two"));
  expect(stateOf(rows).history.map(({ reason, previous, at }) => [reason, previous, at])).toEqual([
    ["promote", null, 1],
    ["promote", "sha256:one", 2],
    ["rollback", "sha256:two", 3],
    ["rollforward", "sha256:one", 4],
  ]);
});

test("what can't be done says so", () => {
  const none = noDeployments("m");
  expect(codeOf(() => rollbackRow(none, 1))).toBe("delivery.never_deployed");
  expect(codeOf(() => rollforwardRow(none, 1))).toBe("delivery.never_deployed");
  const one = stateOf([promoteRow(none, packageOf("one"), 1)]);
  expect(codeOf(() => rollbackRow(one, 2))).toBe("delivery.nothing_to_roll_back");
  expect(codeOf(() => rollforwardRow(one, 2))).toBe("delivery.nothing_to_roll_forward");
  expect(codeOf(() => promoteRow(one, packageOf("one"), 2))).toBe("delivery.already_live");
});

test("models don't touch each other, and other control rows are passed over", () => {
  const rows = [
    promoteRow(noDeployments("a"), packageOf("one"), 1),
    { kind: "idle", subject: "a", body: "not json", at: 2 },
    promoteRow(noDeployments("b"), packageOf("two"), 3),
  ];
  const folded = foldDeployments(rows);
  expect(folded.get("a")?.live).toEqual(packageOf("one"));
  expect(folded.get("b")?.live).toEqual(packageOf("two"));
});

test("a shadow does not change what is live", () => {
  const rows = [promoteRow(noDeployments("m"), packageOf("one"), 1)];
  const shadow = { model: "m", role: "shadow", digest: "sha256:s", version: "s", previous: null, reason: "promote" };
  rows.push({ kind: "deploy", subject: "m", body: JSON.stringify(shadow), at: 2 });
  expect(stateOf(rows)).toMatchObject({ live: packageOf("one"), shadow: packageOf("s") });
});

test("a deploy row that does not follow is a broken invariant", () => {
  const rows = [promoteRow(noDeployments("m"), packageOf("one"), 1), promoteRow(noDeployments("m"), packageOf("x"), 2)];
  expect(() => foldDeployments(rows)).toThrow("invariant broken");
});

/** An editor's undo history: the model that the fold is compared with. */
function oracle(acts: readonly string[]): { live: string | null; back: string | null; forward: string | null } {
  const undo: string[] = [];
  let redo: string[] = [];
  for (const act of acts) {
    if (act === "rollback") {
      if (undo.length > 1) redo.push(undo.pop()!);
    } else if (act === "rollforward") {
      if (redo.length > 0) undo.push(redo.pop()!);
    } else if (undo.at(-1) !== act) {
      undo.push(act);
      redo = [];
    }
  }
  return { live: undo.at(-1) ?? null, back: undo.at(-2) ?? null, forward: redo.at(-1) ?? null };
}

test("any succession of promotions, rollbacks and rollforwards is an undo history, folded at once or in parts", () => {
  const acts = fc.array(fc.constantFrom("a", "b", "c", "rollback", "rollforward"), { maxLength: 40 });
  fc.assert(
    fc.property(acts, fc.nat(40), (list, cut) => {
      const rows: Row[] = [];
      list.forEach((act, at) => {
        const state = stateOf(rows);
        try {
          if (act === "rollback") rows.push(rollbackRow(state, at));
          else if (act === "rollforward") rows.push(rollforwardRow(state, at));
          else rows.push(promoteRow(state, packageOf(act), at));
        } catch {
          // what can't be done changes nothing
        }
      });
      const state = stateOf(rows);
      const { live, back, forward } = oracle(list);
      expect(state.live?.version ?? null).toBe(live);
      expect(state.canRollBackTo?.version ?? null).toBe(back);
      expect(state.canRollForwardTo?.version ?? null).toBe(forward);
      const inParts = foldDeployments(rows.slice(cut), foldDeployments(rows.slice(0, cut)));
      expect(inParts).toEqual(foldDeployments(rows));
    }),
  );
});
