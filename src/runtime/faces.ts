import type { Degraded } from "./damage.ts";
import type { Unloaded } from "./live_models.ts";
import type { SpaceShown } from "./space.ts";

/** What the HTTP faces need of the house. Bodies arrive as text: each service parses with its own limits. */
export interface Services extends StatusServices, InferenceServices, ScoreServices, DeliveryServices, StreamServices {
  readonly site: string;
  readonly version: string;
  /** Rows for a source that takes pushed ones; resolves once they are committed. */
  push(source: string, body: string, idempotencyKey: string | undefined): Promise<object>;
  /** Erases an entity; resolves with the receipt once requests are answered without it. */
  erase(body: string): Promise<object>;
  /** Drops what the config's retention no longer keeps, now; resolves with what went. */
  retain(body: string): Promise<object>;
  /** Makes new data keys; resolves once nothing is sealed under the old ones any more. */
  rotateKeys(): Promise<object>;
  /** Has another key file wrap the keys, which all threads go by from then on. */
  rewrapKeys(body: string): Promise<object>;
}

export interface StatusServices {
  ready(): boolean;
  /** The models whose live package can't be loaded: ready is whoever has none. */
  unloaded(): readonly Unloaded[];
  /** What stored rows can't be read, and what is not served because of it. */
  degraded(): readonly Degraded[];
  /** The disk of the data directory, as readiness tells it; undefined where there is room. */
  space(): SpaceShown | undefined;
  /** Prometheus text. */
  metrics(): string;
  /** Counts a request that was answered with an error. */
  failed(code: string): void;
  verdicts(): object;
}

/** Open Inference Protocol. `infer` answers JSON text, so that 64-bit whole numbers keep their digits. */
export interface InferenceServices {
  modelReady(model: string, version?: string): boolean;
  modelMetadata(model: string, version?: string): object;
  infer(model: string, version: string | undefined, body: string): string;
}

/** Entity and row scoring, which answers once the scores are durable, and what becomes of scores later. */
export interface ScoreServices {
  score(model: string, body: string): Promise<object>;
  findScore(scoreId: string): Promise<object>;
  label(model: string, body: string): Promise<object>;
  performance(model: string): Promise<object>;
}

export interface DeliveryServices {
  /** Commits what a command beside the server made, as `runtime/beside.ts` sends it. */
  commit(body: string): Promise<object>;
  models(): Promise<object>;
  promote(model: string, body: string): Promise<object>;
  rollback(model: string): Promise<object>;
  rollforward(model: string): Promise<object>;
}

/** What is stored, in the order in which it was committed. */
export interface StreamServices {
  streams(): Promise<object>;
  /**
   * Every version of a stream's rows after a position (as text). `limit` is a number of rows as text, or `all`: beyond what one
   * answer has, rows are made while they are sent.
   */
  rows(
    stream: string,
    options: {
      readonly after: string | undefined;
      readonly limit: string | undefined;
      readonly format: RowsFormat;
    },
  ): Promise<StreamRows>;
}

export type RowsFormat = "json" | "csv" | "arrow";

/** Parts as they are asked for. Who takes one must take all, or `return` it: there may be few at a time. */
export interface StreamedBody {
  next(): Promise<IteratorResult<Uint8Array, void>>;
  return(): Promise<void>;
}

export interface StreamRows {
  /** The content type. */
  readonly type: string;
  /** Whole, or in parts as they are made. */
  readonly body: Uint8Array | StreamedBody;
  /** The position to go on from; undefined where rows are still being made: then it is that of the last row. */
  readonly next: string | undefined;
}
