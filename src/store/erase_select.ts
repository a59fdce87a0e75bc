import { toHex } from "../base/bytes.ts";
import type { Clock } from "../base/clock.ts";
import type { Random } from "../base/random.ts";
import type { Micros } from "../base/time.ts";
import { columnNamed, valueAt } from "../contract/batch.ts";
import { type Contract, fieldOf } from "../contract/contract.ts";
import { BACKUPS, ERASURES, RETENTION } from "../contract/streams.ts";
import type { Sealer } from "./catalogue.ts";
import type { WriteChannel } from "./channel.ts";
import type { ErasedRows, Erasure, ErasureOutcome } from "./erase.ts";
import { entityDigest, entityText, erasureKey } from "./erased.ts";
import { storeErrors } from "./errors.ts";
import type { LogReader } from "./log_reader.ts";
import type { Store, StoredRows } from "./port.ts";

/** What names an entity: fields and the texts of their values. */
export type EntityName = Readonly<Record<string, string>>;

/** Commits that are looked through. */
export interface CommitRange {
  readonly after: number;
  readonly upTo: number;
}

export interface EraseRequest {
  readonly entity: EntityName;
  /** The same as whoever asks wrote it, for messages; default `entity`. */
  readonly given?: EntityName;
  /** Put before a field's name, each also names it: `key_` in feature rows. Default the name alone. */
  readonly prefixes?: readonly string[];
  /** Only what was committed after this commit, and nothing is done where nothing of it was. Default everything. */
  readonly after?: number;
  /** Whether it is refused where nothing of the entity is stored: a name with a mistake in it would be suppressed for good. */
  readonly mustBeStored?: boolean;
  /**
   * Rows that those who know what streams hold find beside those with the entity's fields: in raw pages, say. Asked again
   * for what came meanwhile, with what was `found` in that; rows from before may be given too.
   */
  readonly also?: (found: ReadonlyMap<string, readonly number[]>, range: CommitRange) => Promise<readonly ErasedRows[]>;
  /**
   * Cursors of sources that are to become others with the erasure of these rows: asked for in the end, while nothing is
   * committed. Default none.
   */
  readonly cursors?: (streams: readonly ErasedRows[]) => Promise<Readonly<Record<string, string>>>;
  /** Runs the last part while whoever has it in hand commits nothing, so that little comes meanwhile. Default at once. */
  readonly quiet?: <T>(last: () => Promise<T>) => Promise<T>;
}

type Selectable = Store & { readonly reader: LogReader; readonly sealer: Sealer };

/** Rows that were found: by stream, and by sequence what stands there afterwards. */
export interface ErasurePlan {
  readonly upTo: number;
  readonly streams: readonly ErasedRows[];
}

/** What was erased, and what became of it. */
export interface Erased {
  readonly erasure: Omit<Erasure, "held" | "cursors">;
  readonly outcome: ErasureOutcome;
}

/** An erasure is begun anew where its hold was over too early or retention came between, so often. */
const ERASE_TRIES_MAX = 5;

/**
 * Finds the rows, and has the writer erase them: commits go on meanwhile, and wait only while the last of them are looked
 * through. Undefined where nothing came `after` a commit. Throws store.stale_writer where that took too long again and
 * again, and store.nothing_to_erase where the request says so.
 */
export async function eraseEntity(
  store: Selectable,
  writer: Pick<WriteChannel, "prepareErasure" | "holdCommits" | "endErasure" | "erase">,
  request: EraseRequest,
  clock: Clock,
  random: Random,
): Promise<Erased | undefined> {
  const { quiet = (last) => last() } = request;
  for (let tries = 1; ; tries++) {
    const first = await planErasure(store, request);
    if (first.streams.length === 0) {
      if (request.after !== undefined) return undefined;
      if (request.mustBeStored) throw notStored(request.given ?? request.entity);
    }
    const id = toHex(random.bytes(16));
    let held: number | undefined;
    try {
      await writer.prepareErasure(id, first.streams);
      return await quiet(async () => {
        const second = await planErasure(store, request, first.upTo);
        if (second.streams.length > 0) await writer.prepareErasure(id, second.streams);
        const hold = await writer.holdCommits();
        held = hold.held;
        const last = await planErasure(store, request, second.upTo);
        const streams = joined([first, second, last]);
        const erasure = erasureOf(store, request.entity, id, { upTo: last.upTo, streams }, clock.now());
        const cursors = (await request.cursors?.(streams)) ?? {};
        const outcome = await writer.erase({ ...erasure, cursors, held, streams: last.streams });
        return { erasure, outcome };
      });
    } catch (cause) {
      await writer.endErasure(id, held).catch(() => {}); // the cause says more
      if ((cause as { code?: string }).code !== "store.stale_writer" || tries === ERASE_TRIES_MAX) throw cause;
    }
  }
}

/** What the log says of itself names no entity, whatever its columns are called. */
const OWN: ReadonlySet<string> = new Set([ERASURES, RETENTION, BACKUPS]);

/** As it is given to `mlpe erase`: `tailnum=N14228`. */
export const spelled = (entity: EntityName): string =>
  Object.entries(entity)
    .map(([field, value]) => `${field}=${value}`)
    .join(", ");

function notStored(entity: EntityName): Error {
  const message = `nothing is stored of ${spelled(entity)}; nothing was changed`;
  return storeErrors.error("nothing_to_erase", message, { place: "entity" });
}

/** Finds every row of the entity, in every stream whose contract has its fields, up to the log's head as it is now. */
export async function planErasure(
  store: Selectable,
  request: EraseRequest,
  after: number = request.after ?? 0,
): Promise<ErasurePlan> {
  const { commitNo: upTo } = await store.head();
  if (upTo <= after) return { upTo, streams: [] };
  const { fields, values } = named(request.entity);
  const emptied = new Map<string, number[]>();
  const { prefixes = [""] } = request;
  for (const { stream, lastCommit, contracts } of await store.streams()) {
    if (OWN.has(stream) || lastCommit <= after || !contracts.some((one) => hasFields(one, fields, prefixes))) continue;
    const sequences = await rowsWith(store, stream, fields, values, prefixes, { after, upTo });
    if (sequences.length > 0) emptied.set(stream, sequences);
  }
  const also = (await request.also?.(emptied, { after, upTo })) ?? [];
  return { upTo, streams: merged(emptied, also) };
}

const hasFields = (contract: Contract, fields: readonly string[], prefixes: readonly string[]): boolean =>
  prefixes.some((prefix) => fields.every((field) => fieldOf(contract, prefix + field)));

/** The fields in order, and their values. */
export function named(entity: EntityName) {
  const fields = Object.keys(entity).sort();
  return { fields, values: fields.map((field) => entity[field]!) };
}

/** The rows of several plans by stream, each once. */
export const joined = (plans: readonly Pick<ErasurePlan, "streams">[]): ErasedRows[] =>
  merged(
    new Map(),
    plans.flatMap(({ streams }) => streams),
  );

function erasureOf(
  store: Selectable,
  entity: EntityName,
  erasure: string,
  { upTo, streams }: ErasurePlan,
  at: Micros,
): Erased["erasure"] {
  const { fields, values } = named(entity);
  const counts = streams.map((rows) => [rows.stream, { emptied: rows.emptied.length, replaced: rows.replaced.length }]);
  return {
    erasure,
    fields,
    digest: entityDigest(erasureKey(store.reader, store.sealer), fields, values),
    body: JSON.stringify({ up_to: upTo, streams: Object.fromEntries(counts) }),
    at,
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
  range: CommitRange,
): Promise<number[]> {
  const found: number[] = [];
  const columns = prefixes.flatMap((prefix) => fields.map((field) => prefix + field));
  for await (const stored of store.scan(stream, { columns, ...range })) {
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
