import type { Row, Value } from "../base/row.ts";
import type { Micros } from "../base/time.ts";
import { batchOf, batchOfValues } from "../contract/batch.ts";
import type { Page, RouteCounts } from "../contract/page.ts";
import {
  curatedStream,
  LEDGER,
  landingContract,
  landingStream,
  ledgerContract,
  quarantineContract,
  quarantineStream,
} from "../contract/streams.ts";
import type { Append } from "../store/port.ts";
import { type DecodedPage, decodePage, type RawRecord } from "./decode.ts";
import { type EntityTest, ERASED_REASON, pageWithout, recordsNaming } from "./erased.ts";
import { FingerprintTable, fingerprinter } from "./fingerprints.ts";
import { lookupOf, normalise } from "./normalise.ts";
import type { DatasetPlan, RoutePlan, SourcePlan } from "./plan.ts";
import { type Rejection, valueDigest } from "./rejects.ts";
import { createDatasetState, type DatasetState, entityKey, type IngestState, timeOf } from "./state.ts";

const NONE: ReadonlySet<number> = new Set();

/** One quarantined record of a page. */
export interface Rejected extends Rejection {
  readonly dataset: string;
  /** The record's place in the page, from 0. */
  readonly index: number;
}

/** What one page became for one route. */
export interface RouteResult {
  readonly dataset: DatasetPlan;
  readonly counts: RouteCounts;
  /** Drop reason -> rows. */
  readonly reasons: Readonly<Record<string, number>>;
  /** How many rows are new or corrected. */
  readonly accepted: number;
  /** Those rows in the order of arrival, without tombstones. Made when first asked for: use `accepted` for the count. */
  readonly rows: readonly Row[];
  readonly rejects: readonly Rejected[];
}

export interface IngestResult {
  readonly source: string;
  readonly page: Page;
  /** landing, curated, quarantine and ledger rows: one commit with the page's cursor. */
  readonly appends: readonly Append[];
  readonly routes: readonly RouteResult[];
  /** What `advanceState` adds once the commit has succeeded. */
  readonly changes: ReadonlyMap<string, DatasetState>;
}

/**
 * Judges one page: every record is offered to every route and is, per route, exactly one of curated, corrected,
 * duplicate, quarantined or dropped. Pure: the state is only read. Rows of a `blocked` dataset go to
 * quarantine with its message; records of `erased` entities are dropped, and go from the page too. Throws where the page as a whole can't be read (a missing column).
 */
export function ingestPage(
  plan: SourcePlan,
  state: IngestState,
  page: Page,
  now: Micros,
  blocked: ReadonlyMap<string, string> = new Map(),
  erased?: EntityTest,
): IngestResult {
  const decoded = decodePage(page.payload, page.format);
  const gone = erased ? recordsNaming(plan, decoded, erased) : NONE;
  const landingSequence = state.sources.get(plan.name)?.nextLanding ?? 0;
  const left = erased && gone.size > 0 ? pageWithout(page, gone, erased) : page;
  const appends: Append[] = [landingAppend(plan, left)];
  const changes = new Map<string, DatasetState>();
  const routes = plan.routes.map((route) => {
    const name = route.dataset.name;
    const known = state.datasets.get(name) ?? createDatasetState();
    const pass = createPass(route, known, blocked.get(name), decoded.records.length);
    runRoute(pass, decoded, gone);
    appends.push(...routeAppends(plan.name, pass, decoded, landingSequence, page.receivedAt));
    changes.set(name, pass.changes);
    return resultOf(pass);
  });
  appends.push(ledgerAppend(plan.name, routes, now));
  return { source: plan.name, page, appends, routes, changes };
}

/** Takes a committed page's changes into the state. */
export function advanceState(state: IngestState, result: IngestResult): void {
  for (const [name, changes] of result.changes) {
    const known = state.datasets.get(name);
    if (!known) state.datasets.set(name, changes);
    else {
      known.table.merge(changes.table);
      for (const [key, values] of changes.entities) known.entities.set(key, values);
    }
  }
}

/** The working state of one route over one page. */
interface Pass {
  readonly route: RoutePlan;
  readonly known: DatasetState;
  readonly changes: DatasetState;
  readonly blocked: string | undefined;
  readonly counts: RouteCounts;
  readonly reasons: Record<string, number>;
  /** The rows and tombstones as they are appended, as values in the contract's order. */
  readonly appended: (readonly Value[])[];
  /** Which of them are tombstones. */
  readonly tombstones: number[];
  readonly rejects: Rejected[];
}

function createPass(route: RoutePlan, known: DatasetState, blocked: string | undefined, records: number): Pass {
  return {
    route,
    known,
    changes: { table: new FingerprintTable(records), entities: new Map() },
    blocked,
    counts: { received: 0, curated: 0, corrected: 0, duplicate: 0, quarantined: 0, dropped: 0 },
    reasons: {},
    appended: [],
    tombstones: [],
    rejects: [],
  };
}

function resultOf(pass: Pass): RouteResult {
  const { counts, reasons, rejects, appended } = pass;
  const { dataset } = pass.route;
  let rows: readonly Row[] | undefined;
  return {
    dataset,
    counts,
    reasons,
    rejects,
    accepted: counts.curated + counts.corrected,
    get rows() {
      const withdrawn = new Set(pass.tombstones);
      rows ??= appended.filter((_, at) => !withdrawn.has(at)).map((values) => rowOf(dataset, values));
      return rows;
    },
  };
}

function runRoute(pass: Pass, decoded: DecodedPage, gone: ReadonlySet<number>): void {
  const { dataset } = pass.route;
  const lookup = lookupOf(dataset, decoded);
  const digests = fingerprinter(dataset.identity ?? null);
  const { records } = decoded;
  for (let index = 0; index < records.length; index++) {
    pass.counts.received++;
    if (gone.has(index)) {
      drop(pass, ERASED_REASON);
      continue;
    }
    const record: RawRecord | null = records[index]!;
    if (record === null) {
      reject(pass, index, decoded.broken.get(index)!.rejection);
      continue;
    }
    const normalised = normalise(pass.route, decoded, lookup, record);
    if (normalised === null) drop(pass, pass.route.reason);
    else if ("rejection" in normalised) reject(pass, index, normalised.rejection);
    else if (dataset.identity === undefined) accept(pass, index, normalised.values, null, "curated");
    else judge(pass, index, normalised.values, digests.digest(normalised.values));
  }
}

function drop(pass: Pass, reason: string): void {
  pass.counts.dropped++;
  pass.reasons[reason] = (pass.reasons[reason] ?? 0) + 1;
}

function reject(pass: Pass, index: number, rejection: Rejection): void {
  pass.counts.quarantined++;
  pass.rejects.push({ ...rejection, dataset: pass.route.dataset.name, index });
}

/** New, duplicate or corrected, against what this page brought before it and what the log holds. */
function judge(pass: Pass, index: number, values: Value[], words: Uint32Array): void {
  const fresh = pass.changes.table.find(words);
  const table = fresh >= 0 ? pass.changes.table : pass.known.table;
  const slot = fresh >= 0 ? fresh : table.find(words);
  const heldTime = slot < 0 ? Number.NaN : table.time(slot);
  if (Number.isNaN(heldTime)) accept(pass, index, values, words, "curated");
  else if (table.sameContent(slot, words)) pass.counts.duplicate++;
  else {
    const old = pass.route.dataset.movable.length === 0 ? undefined : heldEntity(pass, words);
    accept(pass, index, values, words, "corrected", withdrawal(pass.route.dataset, values, heldTime, old));
  }
}

function heldEntity(pass: Pass, words: Uint32Array): readonly Value[] | undefined {
  const key = entityKey(words);
  return pass.changes.entities.get(key) ?? pass.known.entities.get(key);
}

/** The tombstone for the old place of a record whose event time or entity has moved; null where it stays. */
function withdrawal(
  dataset: DatasetPlan,
  values: readonly Value[],
  heldTime: Micros,
  heldEntityValues: readonly Value[] | undefined,
): readonly Value[] | null {
  const moved = heldEntityValues?.some((value, i) => value !== values[dataset.movable[i]!]) ?? false;
  if (!moved && heldTime === timeOf(dataset, values)) return null;
  const old = [...values];
  if (dataset.eventTime >= 0) old[dataset.eventTime] = heldTime;
  dataset.movable.forEach((position, i) => {
    old[position] = heldEntityValues![i]!;
  });
  return old;
}

function accept(
  pass: Pass,
  index: number,
  values: readonly Value[],
  words: Uint32Array | null,
  as: "curated" | "corrected",
  tombstone: readonly Value[] | null = null,
): void {
  const { dataset } = pass.route;
  if (pass.blocked !== undefined) {
    reject(pass, index, { code: "ingestion.blocked", field: null, rule: "check", message: pass.blocked });
    return;
  }
  if (tombstone) {
    pass.tombstones.push(pass.appended.length);
    pass.appended.push(tombstone);
  }
  pass.counts[as]++;
  pass.appended.push(values);
  if (words === null) return;
  pass.changes.table.put(words, timeOf(dataset, values), Number.POSITIVE_INFINITY);
  if (dataset.movable.length === 0) return;
  pass.changes.entities.set(
    entityKey(words),
    dataset.movable.map((position) => values[position]!),
  );
}

function rowOf(dataset: DatasetPlan, values: readonly Value[]): Row {
  const row: Record<string, Value> = {};
  const { fields } = dataset.contract;
  for (let f = 0; f < fields.length; f++) row[fields[f]!.name] = values[f]!;
  return row;
}

function landingAppend(plan: SourcePlan, page: Page): Append {
  const row: Row = {
    payload: page.payload,
    format: JSON.stringify(page.format),
    cursor: page.landed ?? page.cursor,
    received_at: page.receivedAt,
  };
  return { stream: landingStream(plan.name), batch: batchOf(landingContract, [row]) };
}

function routeAppends(
  source: string,
  pass: Pass,
  decoded: DecodedPage,
  landingSequence: number,
  receivedAt: Micros,
): Append[] {
  const appends: Append[] = [];
  const { name, contract } = pass.route.dataset;
  if (pass.appended.length > 0) {
    const batch = batchOfValues(contract, pass.appended);
    const stream = curatedStream(name);
    if (pass.tombstones.length === 0) appends.push({ stream, batch });
    else {
      const tombstones = new Uint8Array(batch.length);
      for (const at of pass.tombstones) tombstones[at] = 1;
      appends.push({ stream, batch, tombstones });
    }
  }
  if (pass.rejects.length > 0) {
    const rows = pass.rejects.map((rejected) => ({
      source,
      landing_sequence: landingSequence,
      index: rejected.index,
      record: decoded.text(rejected.index),
      code: rejected.code,
      field: rejected.field,
      rule: rejected.rule,
      value_digest: valueDigest(rejected.value),
      message: rejected.message,
      received_at: receivedAt,
    }));
    appends.push({ stream: quarantineStream(name), batch: batchOf(quarantineContract, rows) });
  }
  return appends;
}

function ledgerAppend(source: string, routes: readonly RouteResult[], now: Micros): Append {
  const rows = routes.map(({ dataset, counts, reasons }) => ({
    source,
    dataset: dataset.name,
    ...counts,
    reasons: JSON.stringify(reasons),
    at: now,
  }));
  return { stream: LEDGER, batch: batchOf(ledgerContract, rows) };
}
