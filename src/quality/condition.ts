import type { Row } from "../base/row.ts";
import type { Contract } from "../contract/contract.ts";
import { compile } from "../expression/compile.ts";
import type { Scope } from "../expression/types.ts";

export interface Condition {
  /** Null where the expression is null. */
  holds(row: Row): boolean | null;
  close(): void;
}

/** A boolean SQL expression over the fields of the contract, as a test of one row. */
export function conditionOf(sql: string, contract: Contract, place: string): Condition {
  const columns = new Map(contract.fields.map(({ name, type, nullable }) => [name, { type, nullable }]));
  const scope: Scope = { columns };
  const program = compile([{ name: "condition", sql, place, expect: "boolean" }], scope);
  const { inputs } = program;
  return {
    holds: (row) => program.evaluate(inputs.map((name) => row[name] ?? null)).values[0] as boolean | null,
    close: () => program.close(),
  };
}
