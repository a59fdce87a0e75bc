import { expect } from "bun:test";
import { MlpeError } from "../../src/base/errors.ts";
import type { Value } from "../../src/base/row.ts";
import type { FieldType } from "../../src/contract/contract.ts";
import { compile } from "../../src/expression/compile.ts";
import type { Evaluated, Output, Scope } from "../../src/expression/types.ts";

/** `{ a: "int?", "w.time": "timestamp" }`: a trailing `?` where null is allowed. */
export function scopeOf(
  columns: Readonly<Record<string, FieldType | `${FieldType}?`>>,
  more: Partial<Scope> = {},
): Scope {
  const entries = Object.entries(columns).map(([name, type]) => {
    const nullable = type.endsWith("?");
    return [name, { type: (nullable ? type.slice(0, -1) : type) as FieldType, nullable }] as const;
  });
  return { columns: new Map(entries), ...more };
}

export const SCOPE = scopeOf(
  {
    flag: "boolean?",
    i: "int?",
    j: "int",
    big: "long?",
    f: "float?",
    a: "double?",
    b: "double",
    s: "string?",
    code: "enum",
    raw: "bytes?",
    t: "timestamp?",
    u: "timestamp",
    d: "date?",
    "w.speed": "double?",
    "w.time": "timestamp?",
  },
  { asOf: true, eventTimes: new Map([["w", "w.time"]]) },
);

/** Noon UTC on 1 July 2013. */
export const NOON = Date.UTC(2013, 6, 1, 12) * 1000;

export const ROW: Readonly<Record<string, Value>> = {
  flag: true,
  i: 7,
  j: 2,
  big: 9_007_199_254_740_993n,
  f: 1.5,
  a: 2.5,
  b: 5,
  s: "abc",
  code: "UA",
  raw: new Uint8Array([1, 2]),
  t: NOON,
  u: NOON - 3_600_000_000,
  d: 15_887,
  "w.speed": 10,
  "w.time": NOON - 5_400_000_000,
};

/** One expression over SCOPE and one row (ROW with the changes), at T = noon. */
export function run(
  sql: string,
  changes: Readonly<Record<string, Value>> = {},
  options: { expect?: FieldType; scope?: Scope } = {},
): { value: Value; failure: string | undefined; message: string | undefined; output: Output } {
  const { scope = SCOPE, ...rest } = options;
  const program = compile([{ name: "x", sql, place: "test", ...rest }], scope);
  try {
    const row = { ...ROW, ...changes };
    const result: Evaluated = program.evaluate(
      program.inputs.map((name) => row[name] ?? null),
      NOON,
    );
    const [failure] = result.failures;
    return {
      value: result.values[0]!,
      failure: failure?.status,
      message: failure?.message,
      output: program.outputs[0]!,
    };
  } finally {
    program.close();
  }
}

export const computed = (sql: string, changes?: Readonly<Record<string, Value>>): Value => run(sql, changes).value;

/** The error that compiling throws. */
export function refusal(sql: string, scope: Scope = SCOPE, expected?: FieldType): MlpeError {
  try {
    compile(
      [{ name: "x", sql, place: "test", ...(expected === undefined ? {} : { expect: expected }) }],
      scope,
    ).close();
  } catch (error) {
    expect(error).toBeInstanceOf(MlpeError);
    return error as MlpeError;
  }
  throw new Error(`compiled, and should not have: ${sql}`);
}
