import { sha256Hex } from "../base/digest.ts";
import { MlpeError } from "../base/errors.ts";
import type { PushSourceConfig } from "../config/schema.ts";
import { parseExactJson } from "../contract/json.ts";
import type { Committed, Connector, Next, PageFormat } from "../contract/page.ts";
import { isDamage } from "../store/damage.ts";
import type { ConnectorContext, ConnectorKind } from "./connector.ts";
import { connectorErrors } from "./errors.ts";

/** Requests that may wait for their commit; one more is answered `busy`. */
export const QUEUED_REQUESTS_MAX = 64;
/** Bytes of all waiting requests together. */
const QUEUED_BYTES_MAX = 64 << 20;
/** Bytes of one request: it becomes one page, one commit. */
const PUSH_BYTES_MAX = 8 << 20;
/** Idempotency keys remembered; the oldest is forgotten first. A forgotten key's rows still count as duplicates. */
const KEYS_KEPT = 100_000;

/** What a sender is told, the same again for the same key. */
export interface PushOutcome extends Committed {
  /** True where the key was used before, so that nothing was done now. */
  readonly repeated: boolean;
}

export interface PushRequest {
  /** JSON: an array of objects, or one object a line. */
  readonly body: Uint8Array;
  /** `Idempotency-Key`: the same key and body are taken once. */
  readonly key?: string;
}

/** The `http_push` connector, and the door that the server pushes through. */
export interface PushConnector extends Connector {
  /**
   * Resolves once the rows are committed. Rejects with `bad_body`, `too_many_rows`, `bad_key`, `key_conflict`, `busy` or
   * `closed`, or with the error that kept the rows from being committed. While the source can't be opened, or what it needs
   * is damaged, it rejects at once: nobody waits for what will not come.
   */
  push(request: PushRequest): Promise<PushOutcome>;
  /** Answers every request that waits, but the one that is being committed, with the error. */
  refuse(error: MlpeError): void;
}

export const pushKind: ConnectorKind<PushSourceConfig> = {
  connector: "http_push",
  description: "rows pushed over HTTP as JSON, answered once they are committed",
  finite: false,
  create: (name, config, context) => pushConnector(`sources.${name}`, config, context),
};

export const isPushConnector = (connector: Connector): connector is PushConnector => "push" in connector;

interface Waiting {
  readonly body: Uint8Array;
  readonly format: PageFormat;
  readonly key: string | undefined;
  readonly digest: string;
  readonly promise: Promise<PushOutcome>;
  resolve(outcome: PushOutcome): void;
  reject(error: unknown): void;
}

/**
 * The number of the request; its landing row keeps what makes its key known after a restart, too. Earlier versions had all of
 * it in both, and a digest where there was no key.
 */
interface PushCursor {
  readonly count: number;
  readonly key?: string;
  /** Of the body; "" where rows of it were erased. */
  readonly digest?: string;
}

interface Remembered {
  /** "" where it is not known any more: then any body counts as the same. */
  readonly digest: string;
  readonly committed: Committed;
}

function pushConnector(place: string, config: PushSourceConfig, context: ConnectorContext): PushConnector {
  const desk = createDesk(place);
  let count = 0;
  return {
    open: async (cursor) => {
      count = cursor === "" ? 0 : parsePushCursor(cursor, place).count;
      desk.open();
    },
    next: async (): Promise<Next> => {
      const handed = desk.hand();
      if (!handed) return { kind: "wait" };
      const { body, format, key, digest } = handed;
      const at: PushCursor = { count: count + 1 };
      const cursor = JSON.stringify(at);
      const landed = key === undefined ? cursor : JSON.stringify({ ...at, key, digest } satisfies PushCursor);
      return { kind: "page", payload: body, format, cursor, landed, receivedAt: context.clock.now() };
    },
    ack: async (_cursor, committed) => {
      count++;
      desk.settle((waiting) => {
        if (waiting.key !== undefined) desk.keep(waiting.key, { digest: waiting.digest, committed });
        waiting.resolve({ ...committed, repeated: false });
      });
    },
    failed: desk.failed,
    refuse: desk.refuse,
    remembers: KEYS_KEPT,
    remember: (landed, committed) => {
      const { key, digest = "" } = parsePushCursor(landed, place);
      if (key !== undefined) desk.recall(key, { digest, committed });
    },
    close: async () => desk.close(),
    push: async ({ body, key }) => {
      desk.requireOpen();
      if (key !== undefined && !/^[\x21-\x7e]{1,200}$/.test(key)) {
        throw connectorErrors.error("bad_key", "the idempotency key can't be used", { place });
      }
      const digest = sha256Hex(body);
      const known = key === undefined ? undefined : desk.answered(key, digest);
      if (known) return known;
      const format = checkBody(body, config.max_rows, place);
      const { promise, resolve, reject } = Promise.withResolvers<PushOutcome>();
      desk.join({ body, format, key, digest, promise, resolve, reject });
      return promise;
    },
  };
}

/** Requests in the order they came; one that is handed out still counts until it leaves. Bounded in number and bytes. */
function createQueue(place: string) {
  const queue: Waiting[] = [];
  const byKey = new Map<string, Waiting>();
  let bytes = 0;
  return {
    join: (waiting: Waiting) => {
      if (queue.length >= QUEUED_REQUESTS_MAX || bytes + waiting.body.length > QUEUED_BYTES_MAX) throw busy(place);
      queue.push(waiting);
      bytes += waiting.body.length;
      if (waiting.key !== undefined) byKey.set(waiting.key, waiting);
    },
    next: () => queue.shift(),
    putBack: (waiting: Waiting) => void queue.unshift(waiting),
    leave: (waiting: Waiting) => {
      const at = queue.indexOf(waiting);
      if (at >= 0) queue.splice(at, 1);
      bytes -= waiting.body.length;
      if (waiting.key !== undefined) byKey.delete(waiting.key);
    },
    ofKey: (key: string) => byKey.get(key),
    /** Answers all of them with the error. */
    refuse: (error: MlpeError) => {
      for (const waiting of queue.splice(0)) {
        bytes -= waiting.body.length;
        if (waiting.key !== undefined) byKey.delete(waiting.key);
        waiting.reject(error);
      }
    },
  };
}

function keepNewest(used: Map<string, Remembered>, key: string, remembered: Remembered): void {
  used.delete(key);
  used.set(key, remembered);
  if (used.size > KEYS_KEPT) used.delete(used.keys().next().value!);
}

/** The requests that wait, the one that is being committed, and the keys that were used: all bounded. */
function createDesk(place: string) {
  const queue = createQueue(place);
  const used = new Map<string, Remembered>();
  let handed: Waiting | undefined;
  let closed = false;
  let broken: MlpeError | undefined;
  const keep = (key: string, remembered: Remembered) => keepNewest(used, key, remembered);
  const settle = (answer: (waiting: Waiting) => void) => {
    const waiting = handed;
    handed = undefined;
    if (!waiting) return;
    queue.leave(waiting);
    answer(waiting);
  };
  return {
    keep,
    /** A request that was handed out, and neither acknowledged nor failed, goes back to the front. */
    open: () => {
      closed = false;
      broken = undefined;
      if (handed) queue.putBack(handed);
      handed = undefined;
    },
    requireOpen: () => {
      if (closed) throw connectorErrors.error("closed", "the source is closed", { place });
    },
    hand: () => {
      handed = queue.next();
      return handed;
    },
    settle,
    /** What was handed out failed; where nothing was, or rows are damaged, the next request would fare no better. */
    failed: (error: unknown) => {
      if (error instanceof MlpeError && (!handed || isDamage(error))) {
        broken = error;
        queue.refuse(error);
      }
      settle((waiting) => waiting.reject(error));
    },
    /**
     * A key of a page that the log holds. A sender that did not hear of it may have sent the request again already, before
     * the log was asked: it has its answer now, and its rows are not taken twice.
     */
    recall: (key: string, remembered: Remembered) => {
      keep(key, remembered);
      const again = queue.ofKey(key);
      if (!again) return;
      if (handed === again) handed = undefined;
      queue.leave(again);
      if (!sameBody(remembered, again.digest)) return again.reject(keyConflict(place));
      again.resolve({ ...remembered.committed, repeated: true });
    },
    /** The answer that is known already, or on its way. */
    answered: (key: string, digest: string): Promise<PushOutcome> | undefined => {
      const before = used.get(key) ?? queue.ofKey(key);
      if (!before) return undefined;
      if (!sameBody(before, digest)) throw keyConflict(place);
      return "promise" in before ? before.promise : Promise.resolve({ ...before.committed, repeated: true });
    },
    join: (waiting: Waiting) => {
      if (broken) throw broken;
      queue.join(waiting);
    },
    refuse: queue.refuse,
    close: () => {
      closed = true;
      queue.refuse(connectorErrors.error("closed", "the source was closed before the rows were committed", { place }));
    },
  };
}

const sameBody = (known: { readonly digest: string }, digest: string): boolean =>
  known.digest === "" || known.digest === digest;

function keyConflict(place: string): MlpeError {
  return connectorErrors.error("key_conflict", "the idempotency key was used before, with another body", { place });
}

function busy(place: string): MlpeError {
  return connectorErrors.error("busy", "as many pushed requests are waiting as may wait", { place });
}

function parsePushCursor(text: string, place: string): PushCursor {
  try {
    const cursor = JSON.parse(text) as PushCursor;
    if (Number.isSafeInteger(cursor.count)) return cursor;
  } catch {
    // told below
  }
  throw connectorErrors.error("bad_cursor", "the stored position is no position of pushed requests", { place });
}

/** The format of a body that can be taken as a page; what is wrong with single rows is found later. */
function checkBody(body: Uint8Array, maxRows: number, place: string): PageFormat {
  if (body.length > PUSH_BYTES_MAX) {
    const message = `the body has ${body.length} bytes; one request may have ${PUSH_BYTES_MAX}`;
    throw connectorErrors.error("too_many_rows", message, { place });
  }
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(body);
  } catch (cause) {
    throw connectorErrors.error("bad_body", "the body is not UTF-8", { place, cause });
  }
  const start = text.trimStart();
  const rows = start.startsWith("[") ? arrayLength(text, place) : start === "" ? 0 : lineCount(text);
  if (rows > maxRows) {
    const message = `the body has ${rows} rows; one request may have ${maxRows}`;
    throw connectorErrors.error("too_many_rows", message, { place });
  }
  if (rows === 0) throw connectorErrors.error("bad_body", "the body has no rows", { place });
  if (start.startsWith("[")) return { kind: "json" };
  if (start.startsWith("{")) return { kind: "jsonl", line: 1 };
  throw connectorErrors.error("bad_body", "the body begins with neither [ nor {", { place });
}

function arrayLength(text: string, place: string): number {
  try {
    return (parseExactJson(text) as unknown[]).length;
  } catch (cause) {
    throw connectorErrors.error("bad_body", `the body is not JSON: ${(cause as Error).message}`, { place, cause });
  }
}

const lineCount = (text: string) => text.split("\n").filter((line) => line.trim() !== "").length;
