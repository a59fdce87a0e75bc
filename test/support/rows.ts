import fc from "fast-check";
import type { Row } from "../../src/base/row.ts";
import { rowsOf } from "../../src/contract/batch.ts";
import { type Contract, streamContract } from "../../src/contract/contract.ts";
import type { StoredRows } from "../../src/store/port.ts";

/** Every field type, a composite nullable entity, and all the time fields. */
export const timedContract = streamContract({
  name: "timed",
  fields: {
    id: "string",
    place: "string?",
    gate: "int?",
    at: "timestamp",
    seen_at: "timestamp?",
    amount: "double?",
    ratio: "float?",
    count: "long?",
    open: "boolean?",
    day: "date?",
    note: "string?",
    payload: "bytes?",
  },
  entity: ["place", "gate"],
  eventTime: "at",
  availableTime: "seen_at",
  recordId: ["id"],
});

export const staticContract = streamContract({
  name: "fixed",
  fields: { code: "string", name: "string?", size: "long?" },
  entity: ["code"],
  recordId: ["code"],
});

export const plainContract = streamContract({
  name: "plain",
  fields: { kind: "string", body: "bytes?", at: "timestamp" },
  eventTime: "at",
  recordId: "position",
});

const text = fc.oneof(fc.constantFrom("", "a", "b", "ä", "x y"), fc.string({ unit: "binary", maxLength: 12 }));
const optional = <T>(inner: fc.Arbitrary<T>) => fc.option(inner, { nil: null, freq: 4 });
const long = fc.oneof(
  fc.integer({ min: -1000, max: 1000 }),
  fc.integer({ min: -(2 ** 53) + 1, max: 2 ** 53 - 1 }),
  fc.bigInt({ min: 2n ** 53n, max: 2n ** 63n - 1n }),
);
const double = fc.oneof(fc.double(), fc.constantFrom(0, -0, 1, 1e40, Number.MAX_SAFE_INTEGER));

const timedRow: fc.Arbitrary<Row> = fc.record({
  id: fc.constantFrom("r1", "r2", "r3", "r4"),
  place: optional(fc.constantFrom("JFK", "LGA", "", "Ü")),
  gate: optional(fc.constantFrom(1, 2, -3)),
  at: fc.integer({ min: 0, max: 20 }),
  seen_at: optional(fc.integer({ min: 0, max: 30 })),
  amount: optional(double),
  ratio: optional(fc.float()),
  count: optional(long),
  open: optional(fc.boolean()),
  day: optional(fc.integer({ min: -1000, max: 40000 })),
  note: optional(text),
  payload: optional(fc.uint8Array({ maxLength: 9 })),
});

const staticRow: fc.Arbitrary<Row> = fc.record({
  code: fc.constantFrom("A", "B", "C"),
  name: optional(text),
  size: optional(long),
});

const plainRow: fc.Arbitrary<Row> = fc.record({
  kind: fc.constantFrom("k", "l"),
  body: optional(fc.uint8Array({ maxLength: 40 })),
  at: fc.integer({ min: -5, max: 5 }),
});

export const streams: Readonly<Record<string, { contract: Contract; row: fc.Arbitrary<Row> }>> = {
  "curated/timed": { contract: timedContract, row: timedRow },
  "curated/fixed": { contract: staticContract, row: staticRow },
  "landing/plain": { contract: plainContract, row: plainRow },
};

/** Rows with what the store knows of them, as plain objects in order of sequence: for comparing two stores. */
export function plainRows(stored: readonly StoredRows[]): object[] {
  const rows = stored.flatMap((part) =>
    rowsOf(part.batch).map((row, i) => ({
      stream: part.stream,
      row,
      sequence: part.sequences[i]!,
      commitNo: part.commitNos[i]!,
      knownTime: part.knownTimes[i]!,
      tombstone: part.tombstones[i]!,
    })),
  );
  return rows.sort((a, b) => (a.stream < b.stream ? -1 : a.stream > b.stream ? 1 : a.sequence - b.sequence));
}
