import { invariant } from "../base/errors.ts";
import type { Column } from "../contract/batch.ts";
import type { StoredRows } from "../store/port.ts";

/** Small whole numbers for values: equal values, equal numbers, counted from 0 in order of first sight. */
type Numbering = (value: number) => number;

const PAIR_BASE = 2 ** 26;

/** Numbers for doubles: an open-addressing table in typed arrays, several times faster here than a Map of texts. */
function numberDoubles(): Numbering {
  const double = new Float64Array(1);
  const halves = new Int32Array(double.buffer);
  const hashOf = (value: number): number => {
    double[0] = value + 0; // -0 becomes 0
    // Doubles of whole numbers end in zeros: every bit must reach the low ones (Appleby's MurmurHash3 finalizer).
    let hash = halves[0]! ^ Math.imul(halves[1]!, 0x9e3779b1);
    hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
    return hash ^ (hash >>> 16);
  };
  let mask = (1 << 12) - 1;
  let table = new Int32Array(mask + 1); // number + 1; 0 is free
  let values = new Float64Array((mask + 1) / 2);
  let count = 0;
  const grow = () => {
    mask = mask * 2 + 1;
    table = new Int32Array(mask + 1);
    const grown = new Float64Array((mask + 1) / 2);
    grown.set(values);
    values = grown;
    for (let id = 0; id < count; id++) {
      let at = hashOf(values[id]!) & mask;
      while (table[at] !== 0) at = (at + 1) & mask;
      table[at] = id + 1;
    }
  };
  // Rows come in order of time, so the value before is often the value again.
  let last = Number.NaN;
  let lastId = -1;
  const find = (value: number): number => {
    if (count === values.length) grow();
    let at = hashOf(value) & mask;
    for (let found = table[at]!; found !== 0; found = table[at]!) {
      if (values[found - 1] === value) return found - 1;
      at = (at + 1) & mask;
    }
    values[count] = value;
    table[at] = ++count;
    return count - 1;
  };
  return (value) => {
    if (value === last) return lastId;
    lastId = find(value);
    last = value;
    return lastId;
  };
}

/** Numbers for pairs of such numbers, each below 2^26 (67 million different values). */
export function numberPairs(): (a: number, b: number) => number {
  const doubles = numberDoubles();
  return (a, b) => {
    invariant(a < PAIR_BASE && b < PAIR_BASE, "more than 67 million different keys");
    return doubles(a * PAIR_BASE + b);
  };
}

/** Numbers for the values of columns: for each column a function from row to number, -1 where the value is null. */
export function numberColumn(): (column: Column) => (index: number) => number {
  const doubles = numberDoubles();
  const texts = new Map<string, number>();
  const textId = (text: string) => {
    const known = texts.get(text);
    if (known !== undefined) return known;
    texts.set(text, texts.size);
    return texts.size - 1;
  };
  return (column) => {
    switch (column.kind) {
      case "text": {
        const ids = Int32Array.from(column.dictionary, textId);
        return (index) => (column.codes[index]! < 0 ? -1 : ids[column.codes[index]!]!);
      }
      case "number":
        return (index) => (column.valid && column.valid[index] === 0 ? -1 : doubles(column.values[index]!));
      case "bigint":
        // A batch with large values holds bigints, another of the same column numbers: small ones must meet.
        return (index) => {
          if (column.valid && column.valid[index] === 0) return -1;
          const number = Number(column.values[index]!);
          return Number.isSafeInteger(number) ? doubles(number) : PAIR_BASE / 2 + textId(String(column.values[index]!));
        };
      case "bytes":
        return (index) => {
          const bytes = column.values[index];
          return bytes ? textId(Buffer.from(bytes).toString("hex")) : -1;
        };
    }
  };
}

export type RowKeys = (rows: StoredRows) => (index: number) => number;

/** Numbers for the `key_` fields of score and label rows together; -1 where one is null or there are none. */
export function numberKeys(): RowKeys {
  const columns: ReturnType<typeof numberColumn>[] = [];
  const pairs: ReturnType<typeof numberPairs>[] = [];
  return ({ batch }) => {
    const reads = batch.contract.fields
      .map((field, index) => ({ field, column: batch.columns[index]! }))
      .filter(({ field }) => field.name.startsWith("key_"))
      .map(({ column }, position) => {
        columns[position] ??= numberColumn();
        pairs[position] ??= numberPairs();
        return columns[position](column);
      });
    return (index) => {
      let id = -1;
      for (let position = 0; position < reads.length; position++) {
        const part = reads[position]!(index);
        if (part < 0) return -1;
        id = position === 0 ? part : pairs[position]!(id, part);
      }
      return id;
    };
  };
}
