import { toHex } from "../base/bytes.ts";
import type { Clock } from "../base/clock.ts";
import type { Random } from "../base/random.ts";
import { columnNamed, valueAt } from "../contract/batch.ts";
import { type Contract, fieldOf } from "../contract/contract.ts";
import { ERASURES, RETENTION } from "../contract/streams.ts";
import type { Sealer } from "./catalogue.ts";
import type { ErasedRows, Erasure, ErasureOutcome } from "./erase.ts";
import { entityDigest, entityText, erasureKey } from "./erased.ts";
import { storeErrors } from "./errors.ts";
import type { LogReader } from "./log_reader.ts";
import type { Store, StoredRows } from "./port.ts";

/** What names an entity: fields and the texts of their values. */
export type EntityName = Readonly<Record<string, string>>;

export interface EraseRequest {
  readonly entity: EntityName;
  /** The same as whoever asks wrote it, for messages; default `entity`. */
  readonly given?: EntityName;
  /** Put before a field's name, each also names it: `key_` in feature rows. Default the name alone. */
  readonly prefixes?: readonly string[];
  /** Whether it is refused where nothing of the entity is stored: a name with a mistake in it would be suppressed for good. */
  readonly mustBeStored?: boolean;
  /** Rows that those who know what streams hold find beside those with the entity's fields: in raw pages, say. */
  readonly also?: (found: ReadonlyMap<string, readonly number[]>, upTo: number) => Promise<readonly ErasedRows[]>;
}

type Selectable = Store & { readonly reader: LogReader; readonly sealer: Sealer };

/** What was erased, and what became of it. */
export interface Erased {
  readonly erasure: Erasure;
  readonly outcome: ErasureOutcome;
}

/** An erasure is planned anew where the log has moved on meanwhile, so often. */
const ERASE_TRIES_MAX = 5;

/**
 * Plans, and has the writer do it. Throws store.stale_writer where others write all the time, and store.nothing_to_erase where
 * the request says so.
 */
export async function eraseEntity(
  store: Selectable,
  writer: { erase(erasure: Erasure): Promise<ErasureOutcome> },
  request: EraseRequest,
  clock: Clock,
  random: Random,
): Promise<Erased> {
  for (let tries = 1; ; tries++) {
    const erasure = await planErasure(store, request, clock, random);
    if (request.mustBeStored && erasure.streams.length === 0) throw notStored(request.given ?? request.entity);
    try {
      return { erasure, outcome: await writer.erase(erasure) };
    } catch (cause) {
      if ((cause as { code?: string }).code !== "store.stale_writer" || tries === ERASE_TRIES_MAX) throw cause;
    }
  }
}

function notStored(entity: EntityName): Error {
  const named = Object.entries(entity).map(([field, value]) => `${field}=${value}`);
  return storeErrors.error("nothing_to_erase", `nothing is stored of ${named.join(", ")}; nothing was changed`, {
    place: "entity",
  });
}

/** Finds every row of the entity, in every stream whose contract has its fields, as the log stands now. */
export async function planErasure(
  store: Selectable,
  request: EraseRequest,
  clock: Clock,
  random: Random,
): Promise<Erasure> {
  const { commitNo: head } = await store.head();
  const fields = Object.keys(request.entity).sort();
  const values = fields.map((field) => request.entity[field]!);
  const emptied = new Map<string, number[]>();
  for (const { stream } of await store.streams()) {
    if (stream === ERASURES || stream === RETENTION) continue;
    const sequences = await rowsWith(store, stream, fields, values, request.prefixes ?? [""], head);
    if (sequences.length > 0) emptied.set(stream, sequences);
  }
  const also = (await request.also?.(emptied, head)) ?? [];
  const streams = merged(emptied, also);
  const counts = streams.map((rows) => [rows.stream, { emptied: rows.emptied.length, replaced: rows.replaced.length }]);
  return {
    erasure: toHex(random.bytes(16)),
    head,
    fields,
    digest: entityDigest(erasureKey(store.reader, store.sealer), fields, values),
    body: JSON.stringify({ up_to: head, streams: Object.fromEntries(counts) }),
    at: clock.now(),
    streams,
  };
}

function merged(emptied: ReadonlyMap<string, readonly number[]>, also: readonly ErasedRows[]): ErasedRows[] {
  const names = new Set([...emptied.keys(), ...also.map(({ stream }) => stream)]);
  return [...names].map((stream) => {
    const more = also.filter((rows) => rows.stream === stream);
    const all = new Set([...(emptied.get(stream) ?? []), ...more.flatMap((rows) => [...rows.emptied])]);
    const replaced = more.flatMap((rows) => [...rows.replaced]).filter(({ sequence }) => !all.has(sequence));
    return { stream, emptied: [...all], replaced };
  });
}

async function rowsWith(
  store: Store,
  stream: string,
  fields: readonly string[],
  values: readonly string[],
  prefixes: readonly string[],
  upTo: number,
): Promise<number[]> {
  const found: number[] = [];
  const columns = prefixes.flatMap((prefix) => fields.map((field) => prefix + field));
  for await (const stored of store.scan(stream, { columns, upTo })) {
    for (const prefix of prefixes) {
      const names = fields.map((field) => prefix + field);
      if (names.every((name) => fieldOf(stored.batch.contract, name))) found.push(...matching(stored, names, values));
    }
  }
  return found;
}

function matching({ batch, sequences }: StoredRows, names: readonly string[], values: readonly string[]): number[] {
  const tests = names.map((name, i) => valueTest(batch.contract, columnNamed(batch, name), name, values[i]!));
  const found: number[] = [];
  for (let row = 0; row < batch.length; row++) if (tests.every((test) => test(row))) found.push(sequences[row]!);
  return found;
}

function valueTest(contract: Contract, column: ReturnType<typeof columnNamed>, name: string, text: string) {
  if (column.kind === "text") {
    const codes = new Set(column.dictionary.flatMap((entry, code) => (entry === text ? [code] : [])));
    return (row: number) => codes.has(column.codes[row]!);
  }
  const { type } = fieldOf(contract, name)!;
  return (row: number) => entityText(valueAt(column, type, row)) === text;
}
