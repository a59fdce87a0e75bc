import { verifyAudit } from "../../../src/audit/verify.ts";
import type { Probe, Store } from "../../../src/store/port.ts";
import type { LogStore } from "../../../src/store/store.ts";
import { plainRows, streams } from "../../support/rows.ts";
import type { Draw } from "../draw.ts";
import { differences, type Folded, folded } from "./history.ts";

/** A read with all that it is asked. */
export interface Question {
  readonly what: string;
  /** The answer is a row for each probe. */
  readonly rowByRow?: true;
  ask(store: Store): Promise<unknown>;
}

const PLACES = ["JFK", "LGA", "", "Ü", "none", null] as const;
const GATES = [1, 2, -3, null] as const;
const CODES = ["A", "B", "C", "D"] as const;

/**
 * A few reads of every kind with random bounds: two stores of the same content answer them alike. `upToHead` leaves out what
 * further commits would change.
 */
export function questionsFrom(draw: Draw, head: number, upToHead = false): Question[] {
  const maybe = <T extends object>(probability: number, options: T): Partial<T> =>
    draw.chance(probability) ? options : {};
  const commit = () => draw.integer(0, head);
  const questions: Question[] = [];
  for (const stream of Object.keys(streams)) {
    const scan = {
      ...maybe(upToHead ? 1 : 0.4, { upTo: commit() }),
      ...maybe(0.3, { after: commit() }),
      ...maybe(0.3, { from: draw.integer(0, 15) }),
      ...maybe(0.3, { to: draw.integer(5, 25) }),
      ...maybe(0.3, { columns: ["at", "note", "count", "code", "body"] }),
    };
    questions.push({ what: `scan ${stream} ${JSON.stringify(scan)}`, ask: (store) => rowsOfScan(store, stream, scan) });
    const probes: Probe[] = Array.from({ length: 4 }, () => ({
      entity: stream === "curated/timed" ? [draw.pick(PLACES), draw.pick(GATES)] : [draw.pick(CODES)],
      at: draw.integer(-1, 31),
    }));
    if (stream.startsWith("landing/")) continue;
    const bounds = { ...maybe(upToHead ? 1 : 0.5, { upTo: commit() }), ...maybe(0.3, { maxAge: draw.integer(0, 10) }) };
    const what = `as-of ${stream} ${JSON.stringify({ probes, bounds })}`;
    questions.push({ what, rowByRow: true, ask: (store) => store.asOf(stream, probes, bounds) });
    const { entity } = probes[0]!;
    questions.push({
      what: `scan ${stream} of ${JSON.stringify(entity)}`,
      ask: (store) => rowsOfScan(store, stream, upToHead ? { entity, upTo: head } : { entity }),
    });
  }
  const from = commit();
  if (upToHead) return questions;
  questions.push({ what: `tail after ${from}`, ask: (store) => rowsOfTail(store, from, draw.integer(1, 60)) });
  return questions;
}

async function rowsOfScan(store: Store, stream: string, options: Parameters<Store["scan"]>[1]): Promise<unknown> {
  const parts = [];
  for await (const part of store.scan(stream, options)) parts.push(part);
  return plainRows(parts);
}

/** Pages may end at different commits, but not leave a row out or give one twice. */
async function rowsOfTail(store: Store, from: number, maxRows: number): Promise<unknown> {
  const { commitNo } = await store.head();
  const parts = [];
  for (let after = from; after < commitNo; ) {
    const page = await store.tail(after, Object.keys(streams), maxRows);
    parts.push(...page.rows);
    after = page.upTo;
  }
  return plainRows(parts);
}

/** One sentence for each read that the store answers otherwise than the model. */
export async function unlike(store: Store, model: Store, questions: readonly Question[]): Promise<string[]> {
  const wrong: string[] = [];
  for (const { what, ask } of questions) {
    if (!Bun.deepEquals(await ask(store), await ask(model))) wrong.push(`${what} is answered wrongly`);
  }
  return wrong;
}

/** The model's answer as it was, or as it is `now`; an as-of read looks its rows up one by one. */
export function isEither({ rowByRow }: Question, answer: unknown, before: unknown, now: unknown): boolean {
  const isOneOf = (one: unknown, other: unknown, third: unknown) =>
    Bun.deepEquals(one, other) || Bun.deepEquals(one, third);
  if (!rowByRow) return isOneOf(answer, before, now);
  const [first, second] = [before, now] as [unknown[], unknown[]];
  return (answer as unknown[]).every((row, i) => isOneOf(row, first[i], second[i]));
}

/** Everything that must hold of an undamaged store. */
export async function wrongWith(store: LogStore, wanted: Folded): Promise<string[]> {
  const found = await folded(store);
  const wrong = differences(found, wanted);
  if (found.commitNo !== wanted.commitNo) wrong.push(`the head is ${found.commitNo}, not ${wanted.commitNo}`);
  const { problems, size } = await verifyAudit(store);
  if (size !== found.commitNo) wrong.push(`the audit tree has ${size} commits, the log ${found.commitNo}`);
  return [...wrong, ...problems.map(({ place, message }) => `audit: ${place}: ${message}`)];
}
