import { signText, treeHead, verifierKey } from "../audit/checkpoint.ts";
import { toBase64, toHex } from "../base/bytes.ts";
import { keyText, type Row, type Value } from "../base/row.ts";
import { type Batch, columnNamed, rowAt, valueAt } from "../contract/batch.ts";
import { curatedStream, featuresStream, LINEAGE, labelsStream, scoresStream, VERDICTS } from "../contract/streams.ts";
import { type EntityTest, idNames } from "../ingestion/erased.ts";
import type { ErasedRows } from "../store/erase.ts";
import { type RecordedErasure, recordedErasures } from "../store/erase_again.ts";
import { type CommitRange, type EntityName, type EraseRequest, joined } from "../store/erase_select.ts";
import type { Store } from "../store/port.ts";
import { backupsHolding } from "./backups.ts";
import type { Engine } from "./engine.ts";
import { nameEraser, storedEntity } from "./erase_names.ts";
import { cursorsOf, pagesOf, quarantineOf } from "./erase_pages.ts";
import { requestsOf } from "./erase_requests.ts";
import { type Project, viewOfModel } from "./project.ts";

/** What is handed to whoever asked: every word of it can be checked against the log, and the signature against its key. */
export interface ErasureReceipt {
  readonly erasure: string;
  readonly origin: string;
  readonly fields: readonly string[];
  /** The keyed digest that the entity is known by from now on, in hex. */
  readonly digest: string;
  readonly at: number;
  readonly commit_no: number;
  readonly known_time: number;
  /** Rows by stream: made empty places, or left with what is not of the entity (pages of raw bytes). */
  readonly streams: Readonly<Record<string, { readonly emptied: number; readonly replaced: number }>>;
  readonly emptied: number;
  readonly replaced: number;
  /**
   * Rows of earlier versions of MLPE: a holder of the store's salt key can test guesses against their kept leaves. Null in a
   * receipt that is given again: it is not recorded.
   */
  readonly guessable: number | null;
  /** Whether unused places of the database were overwritten; if not, the next start does it. */
  readonly scrubbed: boolean;
  /** The audit tree after the erasure. */
  readonly tree: { readonly size: number; readonly root: string };
  /** What the signature is checked with, as `mlpe audit checkpoint` gives it: compare it with one that was kept. */
  readonly verifier_key: string;
  /** The backups that the log knows of and that hold rows of the entity, or may; `commit_no` is the last commit in one. */
  readonly backups: readonly HoldingBackup[];
  /** What is beyond the log's reach. */
  readonly beyond: readonly string[];
}

interface HoldingBackup {
  /** As `mlpe streams --upkeep` counts them. */
  readonly number: number;
  readonly backup: string;
  /** When it was begun: microseconds since 1970. */
  readonly at: number;
  /** Null where only its begin is known. */
  readonly commit_no: number | null;
  /** SHA-256 of its manifest.json. */
  readonly manifest: string | null;
}

export interface SignedReceipt extends ErasureReceipt {
  /** Ed25519 by the store's signing key over the JSON of all other fields, in their order, in base64. */
  readonly signature: string;
}

/**
 * Erases an entity from every stream: rows with its fields; feature, score and label rows by these or by the record ids of
 * its rows; quarantine; its records in raw pages; its name in verdicts and events. Rows of it that come later are dropped. Throws runtime.not_an_entity, and
 * store.nothing_to_erase where nothing of it is stored, unless `ahead` says that only later rows may be meant.
 */
export async function eraseFrom(
  engine: Engine,
  entity: EntityName,
  ahead: boolean,
  server?: ErasingServer,
): Promise<SignedReceipt> {
  const { store } = engine;
  const request: EraseRequest = { ...requestFor(engine, entity), ...(server ? { quiet: server.quiet } : {}) };
  const done = [await store.erase({ ...request, mustBeStored: !ahead })];
  for (let looks = 0; server && looks < LOOKS_MAX; looks++) {
    const { commitNo: after } = done.at(-1)!.outcome;
    await server.renewed(after);
    const later = await store.eraseLater({ ...request, after });
    if (!later) break;
    done.push(later);
  }
  const guessable = done.reduce((sum, { outcome }) => sum + outcome.guessable, 0);
  return signed(store, await receiptOf(engine, done, guessable));
}

/**
 * The receipt of what was erased of an entity before, all of its erasures in one, from what the log says: who asked may have
 * lost the server before it answered. Nothing is changed. Throws store.not_erased.
 */
export async function receiptAgain(engine: Engine, given: EntityName): Promise<SignedReceipt> {
  const { project, store } = engine;
  return signed(store, await receiptOf(engine, await recordedErasures(store, storedEntity(project, given)), null));
}

const signed = (store: Engine["store"], receipt: ErasureReceipt): SignedReceipt => ({
  ...receipt,
  signature: signText(store, JSON.stringify(receipt)),
});

/** What an erasure needs of the server that it runs in. */
export interface ErasingServer {
  /** Runs the last part while no step of the pipeline does, and has these forget what they remember of rows. */
  readonly quiet: NonNullable<EraseRequest["quiet"]>;
  /** Resolves once requests are answered from the log as it is after that commit. */
  renewed(commitNo: number): Promise<void>;
}

/** Requests that came before the index was made anew may have stored scores of the entity: it is looked again, so often. */
const LOOKS_MAX = 3;

/** What `eraseFrom` would erase: rows by stream. */
export async function planErasureOf(engine: Engine, entity: EntityName): Promise<ErasureReceipt["streams"]> {
  return countsOf((await engine.store.planErase(requestFor(engine, entity))).streams);
}

const countsOf = (streams: readonly ErasedRows[]): ErasureReceipt["streams"] =>
  Object.fromEntries(
    streams
      .filter(({ emptied, replaced }) => emptied.length + replaced.length > 0)
      .map(({ stream, emptied, replaced }) => [stream, { emptied: emptied.length, replaced: replaced.length }]),
  );

async function receiptOf(
  { store }: Engine,
  done: readonly RecordedErasure[],
  guessable: number | null,
): Promise<ErasureReceipt> {
  const { origin, size, root } = treeHead(store);
  const [{ erasure }] = done as [RecordedErasure];
  const { commitNo, knownTime, scrubbed } = done.at(-1)!.outcome;
  const backups = await backupsHolding(store, done);
  const sum = (field: "emptied" | "replaced") => done.reduce((total, { outcome }) => total + outcome[field], 0);
  return {
    erasure: erasure.erasure,
    origin,
    fields: erasure.fields,
    digest: toHex(erasure.digest),
    at: erasure.at,
    commit_no: commitNo,
    known_time: knownTime,
    streams: countsOf(joined(done.map((one) => one.erasure))),
    emptied: sum("emptied"),
    replaced: sum("replaced"),
    guessable,
    scrubbed,
    tree: { size, root: toBase64(root) },
    verifier_key: verifierKey(store),
    backups: backups.map(({ number, backup, begun, commitNo: upTo, manifest }) => ({
      number,
      backup,
      at: begun,
      commit_no: upTo ?? null,
      manifest: manifest ?? null,
    })),
    beyond: [
      `${said(backups)}; a backup made before commit ${commitNo} that the log does not know of may still hold it`,
      "exported files, training sets and models made from the data are not reached",
      "devices may keep copies of overwritten blocks; segments among them can't be opened, as their nonces are gone",
    ],
  };
}

function said(backups: readonly { readonly number: number }[]): string {
  if (backups.length === 0) return "no backup that the log knows of holds what was erased";
  const [one] = backups;
  if (backups.length === 1) return `backup ${one!.number} still holds it`;
  return `${backups.length} backups still hold it, from ${one!.number} to ${backups.at(-1)!.number}`;
}

/** `given` names the entity as it was written; rows hold it as their types do. */
function requestFor(engine: Engine, given: EntityName): EraseRequest {
  const { project, store } = engine;
  const entity = storedEntity(project, given);
  const test: EntityTest = {
    fieldSets: [Object.keys(entity).sort()],
    has: (names, values) =>
      names.every((name, i) => {
        const value = values[i] ?? null;
        return value !== null && (String(value) === entity[name] || String(value) === given[name]);
      }),
  };
  const known = new Map<string, KnownIds>();
  // Numbers and single letters are in ids of all kinds.
  const namesRequest = nameEraser(project, given) ? (id: string) => idNames(id, test) : () => false;
  return {
    entity,
    given,
    prefixes: ["", "key_"],
    also: async (found, range) => {
      const derived = await derivedRows(store, project, found, range, known);
      const gone = [...[...found].map(([stream, emptied]) => ({ stream, emptied, replaced: [] })), ...derived];
      return [
        ...(await pagesOf(store, project, test, range)),
        ...(await quarantineOf(store, project, test, range)),
        ...derived,
        ...(await requestsOf(store, project, gone, range, namesRequest)),
        ...(await mentions(store, project, given, range)),
      ];
    },
    cursors: (streams) => cursorsOf(store, streams, test),
  };
}

/** What is known of a view's rows of the entity: record ids of its spine rows, and ids of its scores. */
interface KnownIds {
  readonly records: Set<string>;
  readonly scores: Set<string>;
}

/**
 * Feature, score and label rows that were made from the entity's spine rows: those with their record ids. `known` goes on
 * from one range to the next; where a spine row with another id is found, rows from before it are looked through once more.
 */
async function derivedRows(
  store: Store,
  project: Project,
  found: ReadonlyMap<string, readonly number[]>,
  range: CommitRange,
  known: Map<string, KnownIds>,
): Promise<ErasedRows[]> {
  const rows: ErasedRows[] = [];
  for (const [view, plan] of project.views) {
    const keys = plan.shape.keys.map(({ name }) => name);
    if (keys.length === 0) continue;
    const ids = known.get(view) ?? { records: new Set(), scores: new Set() };
    known.set(view, ids);
    const before = ids.records.size;
    await learnRecords(store, curatedStream(plan.spine), keys, found, range, ids.records);
    if (ids.records.size === 0) continue;
    const after = ids.records.size > before ? 0 : range.after;
    const models = Object.keys(project.config.models).filter((model) => viewOfModel(project, model).name === view);
    const streams = [featuresStream(view), ...models.flatMap((model) => [scoresStream(model), labelsStream(model)])];
    for (const stream of streams) {
      const emptied: number[] = [];
      const names = keys.map((key) => `key_${key}`);
      for await (const { batch, sequences } of store.scan(stream, {
        columns: [...names, SCORE_ID],
        after,
        upTo: range.upTo,
      })) {
        const keyOf = valuesNamed(batch, names);
        const scoreOf = valuesNamed(batch, [SCORE_ID]);
        for (let i = 0; i < batch.length; i++) {
          const isOwn = ids.records.has(keyText(keyOf(i)));
          const [scoreId] = scoreOf(i) as [string | null];
          if (isOwn && scoreId !== null) ids.scores.add(scoreId);
          if (isOwn || (scoreId !== null && ids.scores.has(scoreId))) emptied.push(sequences[i]!);
        }
      }
      if (emptied.length > 0) rows.push({ stream, emptied, replaced: [] });
    }
  }
  return rows;
}

const SCORE_ID = "score_id";

/** The values of some fields by row, null where the contract has none of that name. */
function valuesNamed({ contract, columns }: Batch, names: readonly string[]): (row: number) => Value[] {
  const found = names.map((name) => contract.fields.findIndex((field) => field.name === name));
  return (row) => found.map((at) => (at < 0 ? null : valueAt(columns[at]!, contract.fields[at]!.type, row)));
}

async function learnRecords(
  store: Store,
  spine: string,
  keys: readonly string[],
  found: ReadonlyMap<string, readonly number[]>,
  range: CommitRange,
  records: Set<string>,
): Promise<void> {
  const sequences = new Set(found.get(spine));
  if (sequences.size === 0) return;
  for await (const stored of store.scan(spine, { columns: keys, ...range })) {
    const keyOf = valuesNamed(stored.batch, keys);
    stored.sequences.forEach((sequence, i) => {
      if (sequences.has(sequence)) records.add(keyText(keyOf(i)));
    });
  }
}

/** Where free text may name an entity; everything else of these streams is names of ours. */
const MENTIONING = [
  { stream: VERDICTS, column: "detail" },
  { stream: LINEAGE, column: "event" },
] as const;

/** Verdicts and events that name the entity lose the name. */
async function mentions(store: Store, project: Project, given: EntityName, range: CommitRange): Promise<ErasedRows[]> {
  const erase = nameEraser(project, given);
  if (erase === undefined) return [];
  const found: ErasedRows[] = [];
  for (const { stream, column } of MENTIONING) {
    const replaced: { sequence: number; row: Row }[] = [];
    for await (const { batch, sequences } of store.scan(stream, range)) {
      const texts = columnNamed(batch, column);
      if (texts.kind !== "text") continue;
      const changed = texts.dictionary.map(erase);
      for (let i = 0; i < batch.length; i++) {
        const code = texts.codes[i]!;
        if (code < 0 || changed[code] === texts.dictionary[code]) continue;
        replaced.push({ sequence: sequences[i]!, row: { ...rowAt(batch, i), [column]: changed[code]! } });
      }
    }
    if (replaced.length > 0) found.push({ stream, emptied: [], replaced });
  }
  return found;
}
