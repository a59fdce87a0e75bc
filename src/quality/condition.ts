import type { Row } from "../base/row.ts";
import type { Contract } from "../contract/contract.ts";
import { compile } from "../expression/compile.ts";
import type { Scope } from "../expression/types.ts";

/** A boolean SQL expression over the fields of the contract, as a test of one row; null is null. */
export function conditionOf(sql: string, contract: Contract, place: string): (row: Row) => boolean | null {
  const columns = new Map(contract.fields.map(({ name, type, nullable }) => [name, { type, nullable }]));
  const scope: Scope = { columns };
  const program = compile([{ name: "condition", sql, place, expect: "boolean" }], scope);
  const { inputs } = program;
  return (row) => {
    const { values } = program.evaluate(inputs.map((name) => row[name] ?? null));
    return values[0] as boolean | null;
  };
}
