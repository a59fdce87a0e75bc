import { cleared, uncleared } from "../base/room.ts";
import type { Pace } from "../base/turn.ts";
import type { Column } from "../contract/batch.ts";
import type { Field } from "../contract/contract.ts";
import { copyText, type LazyTexts, lengthAt, packedColumn, textsIn } from "../contract/texts.ts";

/** One column put together of parts of others: each row is put once, anywhere, and nothing is kept but where it belongs. */
export interface Gathering {
  /** Row `rows[i]` of the part becomes row `targets[i]`. Others have turns while room is made for a first part. */
  put(part: Column, rows: Int32Array, targets: Int32Array, steps: Pace): Promise<void>;
  /** The column, once every row was put. */
  finish(steps: Pace): Promise<Column>;
}

/** For a field, of `length` rows. Columns of texts must be packed, or have none. */
export function gathering({ type }: Field, length: number): Gathering {
  if (type === "string" || type === "enum") return textGathering(length);
  if (type === "bytes") return bytesGathering(length);
  return numberGathering(length);
}

function bytesGathering(length: number): Gathering {
  const values: (Uint8Array | null)[] = new Array(length).fill(null);
  return {
    async put(part, rows, targets) {
      if (part.kind !== "bytes") return; // all null
      for (let i = 0; i < rows.length; i++) values[targets[i]!] = part.values[rows[i]!]!;
    },
    finish: async () => ({ kind: "bytes", values }),
  };
}

type Numbers = Column & { kind: "number" | "bigint" };

/** The narrowest kind that holds every part: 32 bits, doubles, or 64 bits. */
function numberGathering(length: number): Gathering {
  let values: Numbers["values"] | undefined;
  let valid: Uint8Array | undefined;
  return {
    async put(part, rows, targets, steps) {
      const numbers = part as Numbers;
      values = await wideEnough(values, numbers, length, steps);
      if (values instanceof BigInt64Array) putLongs(values, numbers, rows, targets);
      else if (values instanceof Int32Array) putWholes(values, numbers.values as Int32Array, rows, targets);
      else putDoubles(values, numbers.values as Float64Array | Int32Array, rows, targets);
      if (!numbers.valid) return;
      valid ??= new Uint8Array(length).fill(1);
      putFlags(valid, numbers.valid, rows, targets);
    },
    async finish() {
      values ??= new Int32Array(length); // of no part
      const flags = valid ? { valid } : {};
      return values instanceof BigInt64Array
        ? { kind: "bigint", values, ...flags }
        : { kind: "number", values, ...flags };
    },
  };
}

/** What was put so far, in an array that holds the part's values too. */
async function wideEnough(
  values: Numbers["values"] | undefined,
  part: Numbers,
  length: number,
  steps: Pace,
): Promise<Numbers["values"]> {
  if (values instanceof BigInt64Array) return values;
  if (part.kind !== "bigint") {
    if (values instanceof Float64Array || (values && part.values instanceof Int32Array)) return values;
    if (part.values instanceof Int32Array) return new Int32Array(await cleared(length * 4, steps));
  }
  const room = await cleared(length * 8, steps);
  const wider = part.kind === "bigint" ? new BigInt64Array(room) : new Float64Array(room);
  for (let from = 0; values && from < length; from += STEP) {
    widen(values, wider, from, Math.min(from + STEP, length));
    if (steps.due()) await steps.turn();
  }
  return wider;
}

function widen(values: Int32Array | Float64Array, into: BigInt64Array | Float64Array, from: number, to: number): void {
  if (into instanceof Float64Array) into.set(values.subarray(from, to), from);
  else for (let i = from; i < to; i++) into[i] = BigInt(values[i]!);
}

// One function for each kind of array: a loop that sees two kinds is several times slower.
function putWholes(into: Int32Array, from: Int32Array, rows: Int32Array, targets: Int32Array): void {
  for (let i = 0; i < rows.length; i++) into[targets[i]!] = from[rows[i]!]!;
}

function putDoubles(into: Float64Array, from: Float64Array | Int32Array, rows: Int32Array, targets: Int32Array): void {
  for (let i = 0; i < rows.length; i++) into[targets[i]!] = from[rows[i]!]!;
}

function putFlags(into: Uint8Array, from: Uint8Array, rows: Int32Array, targets: Int32Array): void {
  for (let i = 0; i < rows.length; i++) into[targets[i]!] = from[rows[i]!]!;
}

function putLongs(into: BigInt64Array, { values }: Numbers, rows: Int32Array, targets: Int32Array): void {
  for (let i = 0; i < rows.length; i++) into[targets[i]!] = BigInt(values[rows[i]!]!);
}

/** Rows whose codes are found, or texts that are copied, before it is asked whether others should have a turn. */
const STEP = 1_024;

function textGathering(length: number): Gathering {
  let codes: Int32Array | undefined; // plus one, 0 for null: of all the parts' texts, one part after another
  const parts: LazyTexts[] = [];
  const starts: number[] = [];
  const known = new Map<LazyTexts, number>();
  let texts = 0;
  return {
    async put(part, rows, targets, steps) {
      if (part.kind !== "text" || !part.packed) return; // all null
      codes ??= new Int32Array(await cleared(length * 4, steps));
      const start = known.get(part.packed) ?? texts;
      if (start === texts) {
        known.set(part.packed, start);
        parts.push(part.packed);
        starts.push(start);
        texts += part.packed.length;
      }
      putCodes(codes, start + 1, part.codes, rows, targets);
    },
    async finish(steps) {
      codes ??= new Int32Array(length);
      const used = await renumbered(codes, texts, steps);
      return packedColumn(codes, await textsAt(used, parts, starts, steps));
    },
  };
}

function putCodes(into: Int32Array, first: number, codes: Int32Array, rows: Int32Array, targets: Int32Array): void {
  for (let i = 0; i < rows.length; i++) {
    const code = codes[rows[i]!]!;
    if (code >= 0) into[targets[i]!] = first + code;
  }
}

/**
 * Numbers the codes, each plus one, in order of first use, so that neighbours have texts that are neighbours, -1 for none;
 * answers those in use.
 */
async function renumbered(codes: Int32Array, texts: number, steps: Pace): Promise<Int32Array> {
  const renamed = new Int32Array(await cleared(texts * 4, steps)); // plus one, 0 before the first use
  const used = new Int32Array(uncleared(Math.min(texts, codes.length) * 4));
  let count = 0;
  for (let from = 0; from < codes.length; from += STEP) {
    count = rename(codes, renamed, used, count, from, Math.min(from + STEP, codes.length));
    if (steps.due()) await steps.turn();
  }
  return used.subarray(0, count);
}

function rename(
  codes: Int32Array,
  renamed: Int32Array,
  used: Int32Array,
  known: number,
  from: number,
  to: number,
): number {
  let count = known;
  for (let i = from; i < to; i++) {
    const code = codes[i]! - 1;
    if (code >= 0 && renamed[code] === 0) {
      used[count] = code;
      renamed[code] = ++count;
    }
    codes[i] = code < 0 ? -1 : renamed[code]! - 1;
  }
  return count;
}

async function textsAt(
  used: Int32Array,
  parts: readonly LazyTexts[],
  firsts: readonly number[],
  steps: Pace,
): Promise<LazyTexts> {
  const starts = new Uint32Array(uncleared((used.length + 1) * 4));
  starts[0] = 0;
  await inSteps(used.length, steps, (i) => {
    const part = partOf(firsts, used[i]!);
    starts[i + 1] = starts[i]! + lengthAt(parts[part]!, used[i]! - firsts[part]!);
  });
  const bytes = new Uint8Array(uncleared(starts[used.length]!));
  await inSteps(used.length, steps, (i) => {
    const part = partOf(firsts, used[i]!);
    copyText(parts[part]!, used[i]! - firsts[part]!, bytes, starts[i]!);
  });
  return textsIn(bytes, starts, parts.every(({ plain }) => plain) || undefined);
}

async function inSteps(count: number, steps: Pace, step: (index: number) => void): Promise<void> {
  for (let from = 0; from < count; from += STEP) {
    const to = Math.min(from + STEP, count);
    for (let i = from; i < to; i++) step(i);
    if (steps.due()) await steps.turn();
  }
}

/** The last part that starts at or before the code, and has texts. */
function partOf(starts: readonly number[], code: number): number {
  let low = 0;
  let high = starts.length;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (starts[middle]! <= code) low = middle;
    else high = middle;
  }
  return low;
}
