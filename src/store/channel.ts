import { MlpeError } from "../base/errors.ts";
import type { PendingErasure } from "./catalogue.ts";
import type { CompactionFailure } from "./compact.ts";
import type { ErasedRows, Erasure, ErasureOutcome, Erasures, Held } from "./erase.ts";
import { storeErrors } from "./errors.ts";
import type { WrittenFold } from "./folds.ts";
import type { Pending } from "./pending.ts";
import type { Receipt } from "./port.ts";
import type { EncodedCommit } from "./record.ts";
import type { RetentionOutcome } from "./retain.ts";
import type { RetentionPolicy } from "./retention_rules.ts";
import type { Rotation } from "./rotate.ts";
import type { Keys } from "./sealer.ts";
import type { SpaceReport } from "./space.ts";
import type { CheckpointMode } from "./sums.ts";
import type { OpenWriter } from "./writer.ts";

/** The way to whoever writes: in this thread, or behind a message port. */
export interface WriteChannel {
  commit(request: EncodedCommit): Promise<Receipt>;
  cursor(source: string): Promise<string>;
  position(reader: string): Promise<number>;
  compact(): Promise<void>;
  /** As of an `OpenWriter`. */
  checkpoint(mode: CheckpointMode): Promise<boolean>;
  /** As of `Erasures`. */
  prepareErasure(erasure: string, streams: readonly ErasedRows[]): Promise<void>;
  holdCommits(): Promise<Held>;
  /** Ends a hold, and gives up what was prepared for an erasure. */
  endErasure(erasure: string, held: number | undefined): Promise<void>;
  erase(erasure: Erasure): Promise<ErasureOutcome>;
  retain(policy: RetentionPolicy): Promise<RetentionOutcome>;
  rotate(): Promise<Rotation>;
  /** Called once there is another store key: what is sealed under the one before is refused. */
  onRekeyed(listener: () => void): void;
  /** As of `PendingWork`. */
  pend(erasure: PendingErasure, what: Pending): Promise<void>;
  interrupt(): Promise<void>;
  /** As of `Rotations`. */
  rewrap(to: Keys): Promise<number[]>;
  onRewrapped(listener: (to: Keys) => void): void;
  /** As of a `FoldKeeper`. */
  beginFold(): Promise<number>;
  keepFold(fold: WrittenFold, begun: number): Promise<boolean>;
  /** Called after commits of any thread. */
  onHead(listener: () => void): void;
  onCompactionFailed(listener: (failure: CompactionFailure) => void): void;
  /** Told of each look at the free space, where the store was opened with `space`; at once of the last. */
  onSpace(listener: (report: SpaceReport) => void): void;
  /** Called once the writer is gone though nobody closed it: nothing can be committed any more. */
  onEnded(listener: (cause: Error) => void): void;
  /** A port through which another thread of this process can commit: for `connectStore`. */
  port(): MessagePort;
  close(): Promise<void>;
}

/** What can carry the messages: a MessagePort, a Worker, or a worker's own scope. */
export interface Carrier {
  postMessage(message: unknown, transfer: (ArrayBuffer | MessagePort)[]): void;
}

/** What the far end of a carrier answers as its channel does, with what it is given: one line each. */
const ASKED = [
  "commit",
  "cursor",
  "position",
  "compact",
  "checkpoint",
  "prepareErasure",
  "holdCommits",
  "endErasure",
  "erase",
  "retain",
  "rotate",
  "pend",
  "interrupt",
  "rewrap",
  "beginFold",
  "keepFold",
] as const satisfies readonly (keyof WriteChannel)[];
type Asked = (typeof ASKED)[number];

type Request =
  | { [Kind in Asked]: { readonly kind: Kind; readonly given: Parameters<WriteChannel[Kind]> } }[Asked]
  | { readonly kind: "connect"; readonly given: readonly [port: MessagePort] }
  | { readonly kind: "close"; readonly given: readonly [] };

interface Call {
  readonly id: number;
  readonly request: Request;
}

type Answer =
  | ({ readonly id: number; readonly head?: true } & ({ readonly result: unknown } | { readonly failure: Failure }))
  | Announcement;

/** What is told unasked. */
type Announcement =
  | { readonly head: true }
  | { readonly rekeyed: true }
  | { readonly rewrapped: Keys }
  | { readonly compactionFailed: Failure; readonly retryInMs?: number | undefined }
  | { readonly space: SpaceReport };

export interface Failure {
  readonly message: string;
  /** Present for an MlpeError. */
  readonly known?: Pick<MlpeError, "code" | "kind" | "place" | "fix" | "retryable">;
}

export function failureOf(cause: unknown): Failure {
  if (!(cause instanceof MlpeError)) return { message: cause instanceof Error ? cause.message : String(cause) };
  const { code, kind, place, fix, retryable, message } = cause;
  return { message, known: { code, kind, place, fix, retryable } };
}

export function errorOf({ message, known }: Failure): Error {
  if (!known) return new Error(message);
  const { code, kind, place, fix, retryable } = known;
  return new MlpeError(code, { kind, meaning: message, fix, retryable }, message, { place });
}

/** The writer in this thread, as a channel. */
export function localChannel(writer: OpenWriter): WriteChannel {
  const { log } = writer;
  const ports: MessagePort[] = [];
  return {
    commit: (request) => writer.commit(request),
    cursor: async (source) => log.state().cursors.get(source) ?? "",
    position: async (reader) => log.state().readers.get(reader) ?? 0,
    compact: () => writer.compact(),
    checkpoint: async (mode) => writer.checkpoint(mode),
    prepareErasure: (erasure, streams) => writer.erasures.prepare(erasure, streams),
    holdCommits: () => writer.erasures.hold(),
    endErasure: async (erasure, held) => endErasure(writer.erasures, erasure, held),
    erase: (erasure) => writer.erasures.finish(erasure),
    retain: (policy) => writer.retain(policy),
    rotate: () => writer.rotate(),
    onRekeyed: (listener) => writer.onRekeyed(listener),
    rewrap: (to) => writer.rewrap(to),
    pend: (erasure, what) => writer.pend(erasure, what),
    interrupt: async () => writer.interrupt(),
    onRewrapped: (listener) => writer.onRewrapped(listener),
    beginFold: async () => writer.folds.begin(),
    keepFold: async (fold, begun) => writer.folds.keep(fold, begun),
    onHead: (listener) => log.onCommitted(listener),
    onCompactionFailed: (listener) => writer.onCompactionFailed(listener),
    onSpace: (listener) => writer.onSpace(listener),
    onEnded: () => {}, // it ends with this thread
    port() {
      const { port1, port2 } = new MessageChannel();
      ports.push(port1);
      servePort(port1, this);
      return port2;
    },
    async close() {
      for (const port of ports) port.close();
      await writer.close();
    },
  };
}

function endErasure(erasures: Pick<Erasures, "release" | "abandon">, erasure: string, held: number | undefined): void {
  if (held !== undefined) erasures.release(held);
  erasures.abandon(erasure);
}

/** Answers the calls that come through a port from the channel; its far end can't close the writer. */
function servePort(port: MessagePort, channel: WriteChannel): void {
  const answer = serve(
    channel,
    (message) => port.postMessage(message),
    // After the answer: what is posted to a closed port is lost, and the far end would wait for it for ever.
    async () => void setImmediate(() => port.close()),
  );
  port.onmessage = (event: { data: unknown }) => answer(event.data as Call);
}

/**
 * The handler of calls; heads are posted as they move. A far end that waits for a commit hears it with the answer, which
 * comes at most one transaction later: a message less for each commit, and a thread woken once.
 */
export function serve(
  channel: WriteChannel,
  post: (answer: Answer) => void,
  close: () => Promise<void>,
): (call: Call) => void {
  let commits = 0; // not answered yet
  channel.onHead(() => {
    if (commits === 0) post({ head: true });
  });
  channel.onRekeyed(() => post({ rekeyed: true }));
  channel.onRewrapped((rewrapped) => post({ rewrapped }));
  channel.onCompactionFailed(({ cause, retryInMs }) => post({ compactionFailed: failureOf(cause), retryInMs }));
  channel.onSpace((space) => post({ space }));
  const run = async ({ kind, given }: Request): Promise<unknown> => {
    if (kind === "connect") return servePort(given[0], channel);
    if (kind === "close") return close();
    return (channel[kind] as (...given: readonly unknown[]) => Promise<unknown>)(...given);
  };
  return ({ id, request }) => {
    const head = request.kind === "commit" ? { head: true as const } : {};
    if (head.head) commits++;
    const answer = (said: { result: unknown } | { failure: Failure }) => {
      post({ id, ...said, ...head });
      if (head.head) commits--;
    };
    run(request).then(
      (result) => answer({ result }),
      (cause) => answer({ failure: failureOf(cause) }),
    );
  };
}

/** The near end of a carrier: hand every message from the far end to `receive`. */
export function remoteChannel(
  carrier: Carrier,
  closed: () => Promise<void>,
): { readonly channel: WriteChannel; receive(answer: unknown): void; ended(cause: Error): void } {
  const pending = new Map<number, { resolve(value: never): void; reject(cause: unknown): void }>();
  const { take, ...listeners } = announcements();
  const endListeners: ((cause: Error) => void)[] = [];
  let next = 0;
  let broken: Error | undefined;
  const call = <T>(request: Request, transfer: (ArrayBuffer | MessagePort)[] = []): Promise<T> =>
    new Promise<T>((resolve, reject) => {
      if (broken) return reject(broken);
      const id = next++;
      pending.set(id, { resolve, reject });
      carrier.postMessage({ id, request } satisfies Call, transfer);
    });
  const fail = (cause: Error) => {
    broken = cause;
    for (const { reject } of pending.values()) reject(cause);
    pending.clear();
  };
  return {
    channel: {
      ...asking(call),
      commit: (commit) => call({ kind: "commit", given: [commit] }, [commit.record.buffer as ArrayBuffer]),
      ...listeners,
      onEnded: (listener) => endListeners.push(listener),
      port() {
        const { port1, port2 } = new MessageChannel();
        call({ kind: "connect", given: [port1] }, [port1]).catch(() => port2.close());
        return port2;
      },
      async close() {
        await (broken ? Promise.resolve() : call({ kind: "close", given: [] })).finally(() => {
          fail(storeErrors.error("closed", "the store is closed"));
          return closed();
        });
      },
    },
    receive(message) {
      const answer = message as Answer;
      if (!("id" in answer)) return take(answer);
      const waiting = pending.get(answer.id);
      pending.delete(answer.id);
      if ("failure" in answer) waiting?.reject(errorOf(answer.failure));
      else waiting?.resolve(answer.result as never);
      if (answer.head) take({ head: true });
    },
    ended(cause) {
      if (broken) return; // closed, or known already
      fail(cause);
      for (const listener of endListeners) listener(cause);
    },
  };
}

/** The near end of each of these. */
const asking = (call: (request: Request) => Promise<unknown>): Pick<WriteChannel, Asked> =>
  Object.fromEntries(
    ASKED.map((kind) => [kind, (...given: never[]) => call({ kind, given } as unknown as Request)]),
  ) as unknown as Pick<WriteChannel, Asked>;

/** Who listens at the near end to what the far end tells unasked. */
function announcements() {
  const headListeners: (() => void)[] = [];
  const keyListeners: (() => void)[] = [];
  const wrapListeners: ((to: Keys) => void)[] = [];
  const failureListeners: ((failure: CompactionFailure) => void)[] = [];
  const spaceListeners: ((report: SpaceReport) => void)[] = [];
  let space: SpaceReport | undefined;
  return {
    onHead: (listener: () => void) => headListeners.push(listener),
    onRekeyed: (listener: () => void) => keyListeners.push(listener),
    onRewrapped: (listener: (to: Keys) => void) => wrapListeners.push(listener),
    onCompactionFailed: (listener: (failure: CompactionFailure) => void) => failureListeners.push(listener),
    onSpace(listener: (report: SpaceReport) => void) {
      spaceListeners.push(listener);
      if (space) listener(space);
    },
    take(told: Announcement): void {
      if ("head" in told) for (const listener of headListeners) listener();
      else if ("rekeyed" in told) for (const listener of keyListeners) listener();
      else if ("rewrapped" in told) for (const listener of wrapListeners) listener(told.rewrapped);
      else if ("space" in told) {
        space = told.space;
        for (const listener of spaceListeners) listener(space);
      } else {
        const failure = { cause: errorOf(told.compactionFailed), retryInMs: told.retryInMs };
        for (const listener of failureListeners) listener(failure);
      }
    },
  };
}
