import type { Row } from "../base/row.ts";
import { rowAt } from "../contract/batch.ts";
import { scoresStream } from "../contract/streams.ts";
import type { Store } from "../store/port.ts";
import { scoringErrors } from "./errors.ts";

/**
 * Which request ids were answered, and with which score rows. Bounded: the latest `REQUESTS_MAX` ids are remembered, and
 * after a start those among the last `COMMITS_FOLDED` commits; an id older than that counts as new.
 */
export interface RequestMemory {
  readonly requests: Map<string, AnsweredRequest>;
  /** Ids that are being answered now: a second request with the id waits for the first. */
  readonly running: Map<string, { readonly digest: string; readonly rows: Promise<readonly Row[]> }>;
}

interface AnsweredRequest {
  readonly digest: string;
  readonly rows: Row[];
}

const REQUESTS_MAX = 10_000;
const COMMITS_FOLDED = 20_000;

export const emptyRequestMemory = (): RequestMemory => ({ requests: new Map(), running: new Map() });

/** The memory of a model's requests, folded from its recent scores. */
export async function foldRequests(store: Store, model: string): Promise<RequestMemory> {
  const memory = emptyRequestMemory();
  const head = await store.head();
  let after = Math.max(0, head.commitNo - COMMITS_FOLDED);
  while (after < head.commitNo) {
    const page = await store.tail(after, [scoresStream(model)]);
    for (const { batch, tombstones } of page.rows) {
      for (let i = 0; i < batch.length; i++) if (tombstones[i] === 0) remember(memory, rowAt(batch, i));
    }
    after = page.upTo;
  }
  return memory;
}

/** Takes a committed score row into the memory; rows without a request id are nothing to remember. */
export function remember(memory: RequestMemory, row: Row): void {
  const { request_id: id, request_digest: digest } = row;
  if (typeof id !== "string" || typeof digest !== "string") return;
  const known = memory.requests.get(id);
  if (known?.digest === digest) {
    known.rows.push(row);
    return;
  }
  memory.requests.delete(id);
  memory.requests.set(id, { digest, rows: [row] });
  if (memory.requests.size > REQUESTS_MAX) memory.requests.delete(memory.requests.keys().next().value!);
}

/**
 * The stored rows of a request that was made before with the same body, undefined where it is new. Throws
 * `scoring.request_conflict` where the id was used with another body.
 */
export async function recall(memory: RequestMemory, id: string, digest: string): Promise<readonly Row[] | undefined> {
  const running = memory.running.get(id);
  const known = running ?? memory.requests.get(id);
  if (!known) return undefined;
  if (known.digest !== digest) {
    const message = `the request id ${JSON.stringify(id.slice(0, 80))} was used before with another body`;
    throw scoringErrors.error("request_conflict", message, { place: "id" });
  }
  return running ? await running.rows : known.rows;
}
