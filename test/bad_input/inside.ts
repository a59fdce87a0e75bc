import { expect } from "bun:test";
import { join } from "node:path";
import { SECRET } from "./project.ts";

const PROGRAM = `${join(import.meta.dir, "../..")}/`;

/** What must never be told: stack traces, paths of this program, secrets, values that were never there. */
export function expectNothingInside(told: string): void {
  expect(told).not.toMatch(/^\s+at .+[(:]/m);
  expect(told).not.toMatch(/\.ts:\d+/);
  for (const never of [PROGRAM, "node_modules", "[object Object]", "undefined", SECRET, "PRIVATE KEY", "invariant"]) {
    expect(told).not.toContain(never);
  }
}
