import { seededRandom } from "../../src/base/random.ts";
import type { Row, Value } from "../../src/base/row.ts";
import { MICROS_PER_SECOND } from "../../src/base/time.ts";
import { batchOf } from "../../src/contract/batch.ts";
import { type Contract, contractOf, type Field } from "../../src/contract/contract.ts";
import {
  artifactContract,
  BACKUPS,
  backupContract,
  controlContract,
  landingContract,
  ledgerContract,
  lineageContract,
  quarantineContract,
  verdictContract,
} from "../../src/contract/streams.ts";
import type { Append, CommitRequest } from "../../src/store/port.ts";
import type { LogStore } from "../../src/store/store.ts";
import type { Questions } from "./digests.ts";

/** Every type of field, a composite entity that may be null, and all the time fields. The second version adds one. */
function readingContract(version: 1 | 2): Contract {
  const optional = (name: string, type: unknown) => ({ name, type: ["null", type] });
  return contractOf(
    {
      type: "record",
      name: "reading",
      entity: ["place", "gate"],
      eventTime: "at",
      availableTime: "seen_at",
      recordId: ["id"],
      fields: [
        { name: "id", type: "string" },
        optional("place", "string"),
        optional("gate", "int"),
        { name: "at", type: { type: "long", logicalType: "timestamp-micros" } },
        optional("seen_at", { type: "long", logicalType: "timestamp-micros" }),
        optional("amount", "double"),
        optional("price", "double"),
        optional("ratio", "float"),
        optional("count", "long"),
        optional("open", "boolean"),
        optional("day", { type: "int", logicalType: "date" }),
        optional("colour", { type: "enum", name: "colour", symbols: ["red", "green", "blue"] }),
        optional("note", "string"),
        optional("payload", "bytes"),
        ...(version === 2 ? [optional("added", "double")] : []),
      ],
    },
    `golden reading ${version}`,
  );
}

const fixedContract = contractOf(
  {
    type: "record",
    name: "fixed",
    entity: ["code"],
    recordId: ["code"],
    fields: [
      { name: "code", type: "string" },
      { name: "size", type: ["null", "long"] },
    ],
  },
  "golden fixed",
);

const PLAIN: Readonly<Record<string, Contract>> = {
  "curated/fixed": fixedContract,
  "landing/source": landingContract,
  "quarantine/reading": quarantineContract,
  ledger: ledgerContract,
  control: controlContract,
  verdicts: verdictContract,
  lineage: lineageContract,
  artifacts: artifactContract,
};

const READING = "curated/reading";
const PLACES = ["JFK", "LGA", "", "Zürich", "日本 🛫", null];
const START = 1_700_000_000 * MICROS_PER_SECOND;

export const questions: Questions = {
  cursors: ["source", "other", "never"],
  readers: ["fuse/reading", "lineage/post", "never"],
  probes: {
    [READING]: PLACES.flatMap((place) =>
      [1, 2, -3, null].flatMap((gate) => [0, 50, 100, 170, 400].map((at) => ({ entity: [place, gate], at: START + at }))),
    ),
    "curated/fixed": ["c0", "c1", "c7", "none"].map((code) => ({ entity: [code], at: START })),
  },
};

type Draw = (count: number) => number;

const LONGS: readonly Value[] = [0, -1, 2 ** 53 - 1, -(2 ** 53) + 1, 2n ** 53n, 2n ** 63n - 1n, -(2n ** 63n)];
const DOUBLES: readonly Value[] = [0, -0, Number.NaN, 1 / 3, 1e300, -1e-300, Number.POSITIVE_INFINITY, 12.25];
const TEXTS: readonly Value[] = ["", "a", "x y", "ä", "日本", "🛫🛬", '"quoted"\n', "nul \u0000 inside"];

function valueOf({ type, nullable, symbols }: Field, draw: Draw): Value {
  if (nullable && draw(5) === 0) return null;
  const pick = (list: readonly Value[]) => list[draw(list.length)]!;
  switch (type) {
    case "boolean":
      return draw(2) === 1;
    case "int":
      return pick([1, 2, -3]);
    case "date":
      return draw(40_000) - 1_000;
    case "timestamp":
      return START + draw(200);
    case "long":
      return draw(2) === 0 ? draw(1_000) : pick(LONGS);
    case "float":
      return Math.fround(draw(1_000) / 7);
    case "double":
      return draw(2) === 0 ? draw(100_000) / 100 : pick(DOUBLES);
    case "bytes":
      return Uint8Array.from({ length: draw(40) }, () => draw(256));
    case "enum":
      return symbols![draw(symbols!.length)]!;
    case "string":
      return pick(TEXTS);
  }
}

function rowOf(contract: Contract, draw: Draw): Row {
  const row = Object.fromEntries(contract.fields.map((field) => [field.name, valueOf(field, draw)]));
  if (contract.name === "reading") return { ...row, id: `r${draw(60)}`, place: PLACES[draw(PLACES.length)]! };
  if (contract.name === "fixed") return { ...row, code: `c${draw(12)}` };
  return row;
}

/** Commit number `i` from 0: most write readings, each third some other streams, and some nothing at all. */
function requestOf(i: number, draw: Draw): CommitRequest {
  const appends: Append[] = [];
  const add = (stream: string, contract: Contract, count: number, tombstones: boolean) => {
    const batch = batchOf(
      contract,
      Array.from({ length: count }, () => rowOf(contract, draw)),
    );
    const flags = Uint8Array.from({ length: count }, () => (draw(6) === 0 ? 1 : 0));
    appends.push({ stream, batch, ...(tombstones && flags.includes(1) ? { tombstones: flags } : {}) });
  };
  if (i % 10 !== 9) add(READING, readingContract(i < 60 ? 1 : 2), 1 + draw(40), true);
  if (i % 10 === 4) add(READING, readingContract(i < 60 ? 1 : 2), 2, false); // twice in one commit
  if (i % 10 === 5) add(READING, readingContract(1), 0, false); // no rows
  for (const [stream, contract] of Object.entries(PLAIN)) {
    if (i % 3 === 0) add(stream, contract, 1 + draw(4), stream === "curated/fixed");
  }
  return {
    appends,
    ...(i % 2 === 0 ? { cursors: { source: `{"line":${i}}`, ...(i % 8 === 0 ? { other: "ü" } : {}) } } : {}),
    ...(i % 4 === 0 ? { readers: { "fuse/reading": i, ...(i % 12 === 0 ? { "lineage/post": i } : {}) } } : {}),
    priority: i % 7 === 0 ? "score" : "pipeline",
  };
}

/** A clock that the content moves: forward, and now and then back. */
export function goldenClock() {
  let now = START;
  return {
    now: () => now,
    tick(i: number) {
      now += i % 13 === 12 ? -5 * MICROS_PER_SECOND : MICROS_PER_SECOND;
    },
  };
}

const COMMITS = 120;
/** Compactions end long before the last commits: what they leave is merged segments, young ones, and a tail. */
const COMPACTED = 100;
const COMPACT_EVERY = 10;

const BACKUP: Row[] = [
  { backup: "b0", destination: "file", commit_no: null, files: null, bytes: null, manifest: null, at: START },
  { backup: "b0", destination: "file", commit_no: 100, files: 7, bytes: 12_345, manifest: "0f", at: START + 1 },
];

/**
 * Commits the content; with `upkeep` some of it is erased and dropped before the tail is written, all of it is sealed under new
 * keys, and a backup is recorded.
 */
export async function writeContent(
  store: LogStore,
  clock: ReturnType<typeof goldenClock>,
  upkeep: boolean,
): Promise<void> {
  const { next } = seededRandom(20_131_001);
  const draw: Draw = (count) => Math.floor(next() * count);
  for (let i = 0; i < COMMITS; i++) {
    clock.tick(i);
    if (upkeep && i === COMPACTED) {
      await store.erase({ entity: { place: "Zürich", gate: "2" } });
      await store.erase({ entity: { code: "c3" } });
      await store.retain({ rules: [{ streams: "lineage", bytes: 1 }] });
      await store.rotate();
      await store.commit({ appends: [{ stream: BACKUPS, batch: batchOf(backupContract, BACKUP) }] });
    }
    await store.commit(requestOf(i, draw));
    if (i < COMPACTED && i % COMPACT_EVERY === COMPACT_EVERY - 1) await store.compact();
  }
}
