import type { Micros } from "../base/time.ts";

/**
 * How the bytes of a page are to be decoded: stored as JSON beside them, so that a landing row can be decoded again
 * without the file it came from.
 */
export type PageFormat =
  | {
      readonly kind: "csv";
      readonly header: readonly string[];
      readonly delimiter: string;
      /** Texts that mean null. */
      readonly nulls: readonly string[];
      /** True where the payload begins with the header record itself (and the byte order mark, if there was one). */
      readonly headed: boolean;
      /** The line of the file that the payload begins at, from 1. */
      readonly line: number;
    }
  | { readonly kind: "jsonl"; readonly line: number }
  /** One JSON array of objects. */
  | { readonly kind: "json" }
  /** The beginning of one record that is longer than the connector's record bound; the rest was passed over. */
  | { readonly kind: "cut"; readonly line: number; readonly bytes: number };

/** A run of whole records, exactly as received (compressed files: decompressed), and the position after it. */
export interface Page {
  readonly kind: "page";
  readonly payload: Uint8Array;
  readonly format: PageFormat;
  /** Opaque to all but the connector. Never the same for two pages of a source. */
  readonly cursor: string;
  /** What the landing row keeps of it; default all. What is not needed there can't tell of a row that was erased. */
  readonly landed?: string;
  readonly receivedAt: Micros;
}

/**
 * A cursor without the digests of what was read, by which whoever holds it could tell a right guess of an erased row. Every
 * connector gives them these names, and takes "" for one that is not known any more. Without its idempotency key too, where
 * that is not to be kept.
 */
export function withoutDigests(cursor: string, keepsKey: (key: string) => boolean = () => true): string {
  let known: unknown;
  try {
    known = JSON.parse(cursor);
  } catch {
    return cursor; // of a kind that is not known: no connector of ours wrote it
  }
  if (typeof known !== "object" || known === null) return cursor;
  const kept = Object.entries(known).filter(([name, value]) => name !== "key" || keepsKey(String(value)));
  return JSON.stringify(Object.fromEntries(kept.map(([name, value]) => [name, DIGESTS.has(name) ? "" : value])));
}

const DIGESTS: ReadonlySet<string> = new Set(["digest", "head"]);

/** `wait`: nothing now, more may come. `end`: a finite source is read to its end; nothing will come. */
export type Next = Page | { readonly kind: "wait" } | { readonly kind: "end"; readonly cursor: string };

/** What became of the rows offered to one route: received = the sum of the others. */
export interface RouteCounts {
  received: number;
  curated: number;
  corrected: number;
  duplicate: number;
  quarantined: number;
  dropped: number;
}

/** What a source is told once its page is committed. */
export interface Committed {
  readonly commitNo: number;
  /** By dataset. */
  readonly counts: Readonly<Record<string, RouteCounts>>;
}

/**
 * One configured input. `open`, then `next` and `ack` in turn; `open` again goes back to a cursor and forgets what was
 * not acknowledged. One caller at a time.
 */
export interface Connector {
  /** Goes on after the page whose cursor this is; "" is the beginning. */
  open(cursor: string): Promise<void>;
  /** The next page, of about `maxBytes` at most (one record may be as long as the connector's record bound). */
  next(maxBytes: number): Promise<Next>;
  /** The page with this cursor is durable. */
  ack(cursor: string, committed: Committed): Promise<void>;
  /** The page handed out last could not be committed, or, where none was, the source could not be opened. */
  failed?(error: unknown): void;
  /** So many of the newest pages `remember` is told of. */
  readonly remembers?: number;
  /** Told on opening, in order of commit, what landing rows kept of cursors and what became of their rows. */
  remember?(landed: string, committed: Committed): void;
  close(): Promise<void>;
}
