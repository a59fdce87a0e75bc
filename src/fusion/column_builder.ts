import type { Value } from "../base/row.ts";
import type { Column } from "../contract/batch.ts";
import type { FieldType } from "../contract/contract.ts";

/** Makes one column of a batch, a value at a time; every row is set once. */
export interface ColumnBuilder {
  /** False where the value does not fit and became null. */
  set(row: number, value: Value): boolean;
  finish(): Column;
}

/** A builder for `length` rows of a type. A `float` is rounded to 32 bits. */
export function builderOf(type: FieldType, length: number): ColumnBuilder {
  if (type === "string" || type === "enum") return textBuilder(length);
  if (type === "bytes") return bytesBuilder(length);
  return type === "long" ? longBuilder(length) : numberBuilder(type, length);
}

const numberBuilder = (type: FieldType, length: number): ColumnBuilder =>
  type === "int" || type === "boolean" || type === "date"
    ? wholeBuilder(length)
    : realBuilder(type === "float", length);

// One builder for each kind of array: a store that sees two kinds is several times slower.
function wholeBuilder(length: number): ColumnBuilder {
  const values = new Int32Array(length);
  const nulls = nullsOf(length);
  return {
    set(row, value) {
      const number = Number(value);
      if (value === null || !Number.isFinite(number)) return nulls.set(row, value);
      values[row] = number;
      return true;
    },
    finish: () => ({ kind: "number", values, ...nulls.finish() }),
  };
}

function realBuilder(narrow: boolean, length: number): ColumnBuilder {
  const values = new Float64Array(length);
  const nulls = nullsOf(length);
  return {
    set(row, value) {
      const wide = typeof value === "number" ? value : Number(value);
      const number = narrow ? Math.fround(wide) : wide;
      if (value === null || !Number.isFinite(number)) return nulls.set(row, value);
      values[row] = number;
      return true;
    },
    finish: () => ({ kind: "number", values, ...nulls.finish() }),
  };
}

/** Which rows are null; made with the first of them. */
function nullsOf(length: number) {
  let valid: Uint8Array | undefined;
  return {
    /** True where the value itself is null, false where it did not fit. */
    set(row: number, value: Value): boolean {
      valid ??= new Uint8Array(length).fill(1);
      valid[row] = 0;
      return value === null;
    },
    finish: () => (valid ? { valid } : {}),
  };
}

function longBuilder(length: number): ColumnBuilder {
  const exact = new Map<number, bigint>();
  const numbers = numberBuilder("long", length);
  return {
    set(row, value) {
      if (typeof value === "bigint") exact.set(row, value);
      return numbers.set(row, value);
    },
    finish() {
      const column = numbers.finish();
      if (exact.size === 0 || column.kind !== "number") return column;
      const values = BigInt64Array.from({ length }, (_, row) => exact.get(row) ?? BigInt(column.values[row]!));
      return column.valid ? { kind: "bigint", values, valid: column.valid } : { kind: "bigint", values };
    },
  };
}

function textBuilder(length: number): ColumnBuilder {
  const codes = new Int32Array(length).fill(-1);
  const dictionary: string[] = [];
  const known = new Map<string, number>();
  return {
    set(row, value) {
      if (value === null) codes[row] = -1;
      else {
        const text = value as string;
        let code = known.get(text);
        if (code === undefined) {
          code = dictionary.push(text) - 1;
          known.set(text, code);
        }
        codes[row] = code;
      }
      return true;
    },
    finish: () => ({ kind: "text", codes, dictionary }),
  };
}

function bytesBuilder(length: number): ColumnBuilder {
  const values: (Uint8Array | null)[] = new Array(length).fill(null);
  return {
    set(row, value) {
      values[row] = value as Uint8Array | null;
      return true;
    },
    finish: () => ({ kind: "bytes", values }),
  };
}
