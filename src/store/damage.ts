import { MlpeError } from "../base/errors.ts";
import { storeErrors } from "./errors.ts";
import type { Store } from "./port.ts";
import type { SegmentInfo } from "./segment_info.ts";

/** Which rows damaged bytes were of: what a `store.damaged` says in its place. */
export interface DamagedRows {
  readonly stream: string;
  /** The segment file. */
  readonly file: string;
  readonly firstSequence: number;
  readonly lastSequence: number;
}

type Named = Pick<SegmentInfo, "file" | "stream" | "firstSequence" | "rows">;

const placeOf = ({ file, stream, firstSequence, rows }: Named): string =>
  `segment ${file}, stream ${stream}, sequences ${firstSequence} to ${firstSequence + rows - 1}`;

/** The error for a part of a segment that is not what was written. */
export function damagedSegment(info: Named, what: string, cause?: unknown): MlpeError {
  const place = placeOf(info);
  return storeErrors.error("damaged", `${place}: ${what}`, { place, cause });
}

/** The rows that an error says are damaged; undefined where it is another error, or damage to something else. */
export function damagedRows(error: unknown): DamagedRows | undefined {
  if (!isDamage(error)) return undefined;
  const named = /^segment ([0-9a-f]+), stream (\S+), sequences (\d+) to (\d+)$/.exec(error.place ?? "");
  if (!named) return undefined;
  const [, file, stream, first, last] = named;
  return { stream: stream!, file: file!, firstSequence: Number(first), lastSequence: Number(last) };
}

export const isDamage = (error: unknown): error is MlpeError =>
  error instanceof MlpeError && error.code === "store.damaged";

/** What `read` gives; damage goes to `leftOut` where there is one, and is undefined. */
export function passing<T>(leftOut: ((damage: MlpeError) => void) | undefined, read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (!leftOut || !isDamage(error)) throw error;
    leftOut(error);
    return undefined;
  }
}

/** The same of what is read in steps. */
export function* passingSteps<T>(
  leftOut: ((damage: MlpeError) => void) | undefined,
  read: Generator<undefined, T>,
): Generator<undefined, T | undefined> {
  for (;;) {
    const step = passing(leftOut, () => read.next());
    if (!step) return undefined;
    if (step.done) return step.value;
    yield undefined;
  }
}

/**
 * The store, whose scans leave out what is damaged and note it: an older version may then pass for the latest, so whoever
 * reads from it must show the list. Streams of the store's own are never read in part.
 */
export function passingOver<S extends Pick<Store, "scan">>(store: S): { readonly store: S; leftOut(): MlpeError[] } {
  const noted = new Map<string, MlpeError>();
  const leftOut = (damage: MlpeError) => void noted.set(damage.message, damage);
  const scan: Store["scan"] = (stream, options) =>
    store.scan(stream, stream.startsWith(".") ? options : { ...options, leftOut });
  return { store: { ...store, scan }, leftOut: () => [...noted.values()] };
}
