import { invariant } from "../base/errors.ts";
import type { Row, Value } from "../base/row.ts";
import type { Batch, Column } from "../contract/batch.ts";

/**
 * The batch with some rows changed: null in every column where `changes` has null, else the values of the row. Nothing of
 * what stood there is left in the columns, in dictionaries neither.
 */
export function emptyRows(batch: Batch, changes: ReadonlyMap<number, Row | null>): Batch {
  const columns = batch.columns.map((column, c) => {
    const { name } = batch.contract.fields[c]!;
    return changedColumn(column, new Map([...changes].map(([index, row]) => [index, row?.[name] ?? null])));
  });
  return { ...batch, columns };
}

function changedColumn(column: Column, changes: ReadonlyMap<number, Value>): Column {
  if (column.kind === "text") return changedTexts(column, changes);
  if (column.kind === "bytes") {
    const values = column.values.slice();
    for (const [index, value] of changes) values[index] = value as Uint8Array | null;
    return { kind: "bytes", values };
  }
  const valid = column.valid?.slice() ?? new Uint8Array(column.values.length).fill(1);
  for (const [index, value] of changes) valid[index] = value === null ? 0 : 1;
  if (column.kind === "bigint") {
    const values = column.values.slice();
    for (const [index, value] of changes) values[index] = BigInt((value ?? 0) as number | bigint | boolean);
    return { kind: "bigint", values, valid };
  }
  const values = column.values.slice();
  for (const [index, value] of changes) {
    invariant(typeof value !== "bigint", "a replaced row keeps the numbers that it had");
    values[index] = Number(value ?? 0);
  }
  return { kind: "number", values, valid };
}

/** With a dictionary of its own, of the texts in use alone. */
function changedTexts({ codes, dictionary }: Column & { kind: "text" }, changes: ReadonlyMap<number, Value>): Column {
  const texts: string[] = [];
  const known = new Map<string, number>();
  const own = new Int32Array(codes.length);
  for (let i = 0; i < codes.length; i++) {
    const held = codes[i]! < 0 ? null : dictionary[codes[i]!]!;
    const text = changes.has(i) ? (changes.get(i) as string | null) : held;
    let code = text === null ? -1 : known.get(text);
    if (code === undefined) {
      code = texts.push(text!) - 1;
      known.set(text!, code);
    }
    own[i] = code;
  }
  return { kind: "text", codes: own, dictionary: texts };
}
