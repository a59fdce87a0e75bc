import type { Clock } from "../base/clock.ts";
import { invariant } from "../base/errors.ts";
import { batchOf, rowsOf } from "../contract/batch.ts";
import type { Committed, Connector, Next, Page, RouteCounts } from "../contract/page.ts";
import { CONTROL, controlContract, LEDGER, landingStream } from "../contract/streams.ts";
import type { Append, Receipt, Store } from "../store/port.ts";
import type { EntityTest } from "./erased.ts";
import { ingestionErrors } from "./errors.ts";
import { advanceState, type IngestResult, ingestPage } from "./ingest.ts";
import type { SourcePlan } from "./plan.ts";
import { endedSources, foldIngestState, type IngestState, nextLandingSequence, type SourceState } from "./state.ts";

/** What the runtime adds to a commit. */
export interface Extra {
  readonly appends: readonly Append[];
  /** dataset -> why its rows must go to quarantine; read in phase `judge` only. */
  readonly blocked?: ReadonlyMap<string, string>;
}

/**
 * Called twice a page: in phase `judge` with the rows as they would be accepted, so that checks can block a dataset, and
 * in phase `commit` with what will really be written. At the end of a finite source once more, in phase `end`, with null.
 * The appends of all phases go into the one commit.
 */
export type ExtraHook = (result: IngestResult | null, phase: "judge" | "commit" | "end") => Extra;

export interface StepInput {
  readonly store: Store;
  readonly plan: SourcePlan;
  readonly connector: Connector;
  readonly state: IngestState;
  readonly clock: Clock;
  readonly extra?: ExtraHook;
  /** Which entities were erased: their records are dropped. Asked before each page. */
  readonly erased?: () => Promise<EntityTest | undefined>;
  /** About how many bytes a page may have. */
  readonly maxBytes?: number;
}

const PAGE_BYTES = 1 << 20;
const NOTHING: ExtraHook = () => ({ appends: [] });

/**
 * One page of one source: read, judged, committed with its cursor, then acknowledged. `idle`: nothing to read now.
 * `end`: the source is finished, and `end_of_input` is committed. On any failure nothing of the page
 * is kept and the source is opened anew, from the committed cursor, by the next step. One step of a source at a time.
 */
export async function stepSource(input: StepInput): Promise<"progress" | "idle" | "end"> {
  const { plan, connector, state } = input;
  try {
    const source = (await knownSource(input)) ?? (await openSource(input));
    const next = await connector.next(input.maxBytes ?? PAGE_BYTES);
    if (next.kind === "wait") return "idle";
    return await inTurn(state, () =>
      next.kind === "page" ? commitPage(input, source, next) : commitEnd(input, source, next),
    );
  } catch (error) {
    forget(state, plan);
    connector.failed?.(error);
    throw error;
  }
}

/** Runs one after another, whatever becomes of the one before. */
function inTurn<T>(state: IngestState, act: () => Promise<T>): Promise<T> {
  const mine = state.turn.then(act, act);
  state.turn = mine.catch(() => undefined);
  return mine;
}

/** After a failure it is not known what was written: all that the step relied on is folded again. */
function forget(state: IngestState, plan: SourcePlan): void {
  state.sources.delete(plan.name);
  state.ended = undefined;
  for (const { dataset } of plan.routes) state.datasets.delete(dataset.name);
}

/** Undefined where the source must be opened: it was not yet, or its cursor is another now. One that ended needs no cursor. */
async function knownSource({ store, plan, state }: StepInput): Promise<SourceState | undefined> {
  const source = state.sources.get(plan.name);
  if (!source?.mayHaveMoved) return source;
  source.mayHaveMoved = false;
  return source.ended || (await store.cursor(plan.name)) === source.cursor ? source : undefined;
}

async function openSource(input: StepInput): Promise<SourceState> {
  const { store, plan, connector, state } = input;
  const cursor = await store.cursor(plan.name);
  const { remember, remembers } = connector;
  if (remember && remembers) await recall(store, plan.name, { remember, remembers });
  await connector.open(cursor);
  const opened: SourceState = {
    cursor,
    nextLanding: await nextLandingSequence(store, plan.name),
    ended: (await endedSources(store, state)).has(plan.name),
  };
  state.sources.set(plan.name, opened);
  return opened;
}

/** Commits read back at first, for the pages that a connector wants to be told of; then twice as many, and so on. */
const COMMITS_RECALLED = 4_096;

/** Tells the connector what became of the newest pages it handed out in earlier runs, oldest first. */
async function recall(store: Store, source: string, { remember, remembers }: Recalling): Promise<void> {
  const spans: RecalledPage[][] = [];
  let found = 0;
  let upTo = (await store.head()).commitNo;
  for (let width = COMMITS_RECALLED; upTo > 0 && found < remembers; width *= 2) {
    const after = Math.max(0, upTo - width);
    const span = await recalledPages(store, source, after, upTo);
    spans.push(span);
    found += span.length;
    upTo = after;
  }
  for (const { cursor, committed } of spans.reverse().flat().slice(-remembers)) remember(cursor, committed);
}

interface Recalling {
  readonly remember: NonNullable<Connector["remember"]>;
  readonly remembers: number;
}

interface RecalledPage {
  readonly cursor: string;
  readonly committed: Committed;
}

/** The pages of the source in those commits, in their order. */
async function recalledPages(store: Store, source: string, after: number, upTo: number): Promise<RecalledPage[]> {
  const counts = new Map<number, Record<string, RouteCounts>>();
  const pages: RecalledPage[] = [];
  for await (const { batch, commitNos } of store.scan(landingStream(source), { columns: ["cursor"], after, upTo })) {
    rowsOf(batch).forEach((row, i) => {
      const commitNo = commitNos[i]!;
      const known = counts.get(commitNo) ?? {};
      counts.set(commitNo, known);
      pages.push({ cursor: row.cursor as string, committed: { commitNo, counts: known } });
    });
  }
  if (pages.length === 0) return [];
  for await (const { batch, commitNos } of store.scan(LEDGER, { after, upTo })) {
    rowsOf(batch).forEach((row, i) => {
      const known = row.source === source ? counts.get(commitNos[i]!) : undefined;
      if (!known) return;
      const { received, curated, corrected, duplicate, quarantined, dropped } = row as unknown as RouteCounts;
      known[row.dataset as string] = { received, curated, corrected, duplicate, quarantined, dropped };
    });
  }
  return pages.sort((a, b) => a.committed.commitNo - b.committed.commitNo);
}

async function commitPage(input: StepInput, source: SourceState, page: Page): Promise<"progress"> {
  const { store, plan, connector, state, clock, extra = NOTHING } = input;
  await foldIngestState(store, plan, state);
  const now = clock.now();
  const erased = await input.erased?.();
  let result = ingestPage(plan, state, page, now, undefined, erased);
  const judged = extra(result, "judge");
  if (judged.blocked && judged.blocked.size > 0) result = ingestPage(plan, state, page, now, judged.blocked, erased);
  const final = extra(result, "commit");
  const receipt = await store.commit({
    appends: [...result.appends, ...judged.appends, ...final.appends],
    cursors: { [plan.name]: page.cursor },
    expect: { cursors: { [plan.name]: source.cursor } },
    durability: plan.config.ack ?? "power-loss",
  });
  checkLanding(plan, source, receipt);
  advanceState(state, result);
  source.cursor = page.cursor;
  source.nextLanding++;
  await connector.ack(page.cursor, committedOf(result, receipt));
  return "progress";
}

function committedOf(result: IngestResult, receipt: Receipt): Committed {
  const counts = Object.fromEntries(result.routes.map((route) => [route.dataset.name, route.counts]));
  return { commitNo: receipt.commitNo, counts };
}

/** Quarantine rows name their landing row by the sequence it was going to have: one writer a source makes that true. */
function checkLanding(plan: SourcePlan, source: SourceState, receipt: Receipt): void {
  const sequence = receipt.firstSequence[landingStream(plan.name)];
  invariant(sequence !== undefined, `the receipt names no landing row of ${plan.name}`);
  if (sequence === source.nextLanding) return;
  const message = `the landing row of ${plan.name} got the sequence ${sequence} instead of ${source.nextLanding}`;
  throw ingestionErrors.error("landing_moved", message, { place: `sources.${plan.name}` });
}

async function commitEnd(input: StepInput, source: SourceState, end: Extract<Next, { kind: "end" }>): Promise<"end"> {
  const { store, plan, clock, extra = NOTHING } = input;
  if (source.ended) return "end";
  const row = { kind: "end_of_input", subject: plan.name, body: "{}", at: clock.now() };
  await store.commit({
    appends: [{ stream: CONTROL, batch: batchOf(controlContract, [row]) }, ...extra(null, "end").appends],
    cursors: { [plan.name]: end.cursor },
    expect: { cursors: { [plan.name]: source.cursor } },
  });
  source.cursor = end.cursor;
  source.ended = true;
  return "end";
}
