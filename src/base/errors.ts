/** What sort of failure this is. HTTP statuses and exit codes are derived from it, in one table each. */
export type ErrorKind =
  | "invalid" // the input is wrong; sending it again will fail again
  | "missing" // the named thing does not exist
  | "conflict" // it exists already, with other content
  | "refused" // understood, and not allowed
  | "unavailable" // not ready, or a system it needs is away
  | "overloaded" // a bound was reached; try again later
  | "unsupported" // valid, but not built
  | "too_large" // over a stated limit
  | "damaged" // stored bytes do not match what was written
  | "internal"; // our fault

/** One documented error code: `mlpe errors` prints this table, and the code throws from it. */
export interface ErrorEntry {
  readonly kind: ErrorKind;
  /** What happened, in one sentence. */
  readonly meaning: string;
  /** What the reader should do next. */
  readonly fix: string;
  readonly retryable?: boolean;
}

/** One thing wrong: the stable code, where it is, what is wrong there, and the next step. */
export interface Problem {
  readonly code: string;
  readonly message: string;
  /** File, line, field, row or path the problem is at. */
  readonly place?: string | undefined;
  readonly fix: string;
}

export interface ErrorDetails {
  readonly place?: string | undefined;
  /** Replaces the entry's general advice with one for this case. */
  readonly fix?: string | undefined;
  /** Several problems of one input, all reported together. */
  readonly problems?: readonly Problem[] | undefined;
  readonly cause?: unknown;
}

/** Every failure a user can meet. Anything else thrown is a broken invariant. */
export class MlpeError extends Error {
  readonly code: string;
  readonly kind: ErrorKind;
  readonly place: string | undefined;
  readonly fix: string;
  readonly retryable: boolean;
  readonly problems: readonly Problem[];

  constructor(code: string, entry: ErrorEntry, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = "MlpeError";
    this.code = code;
    this.kind = entry.kind;
    this.place = details.place;
    this.fix = details.fix ?? entry.fix;
    this.retryable = entry.retryable ?? (entry.kind === "unavailable" || entry.kind === "overloaded");
    this.problems = details.problems ?? [{ code, message, place: details.place, fix: this.fix }];
  }
}

export interface ErrorTable<Name extends string> {
  readonly prefix: string;
  readonly entries: Readonly<Record<Name, ErrorEntry>>;
  /** An error with the code `prefix.name`. */
  error(name: Name, message: string, details?: ErrorDetails): MlpeError;
  /** The same as a value, for inputs that report every problem at once. */
  problem(name: Name, message: string, details?: ErrorDetails): Problem;
}

/** The error codes of one room: `errorTable("config", { unknown_key: {...} })` makes `config.unknown_key`. */
export function errorTable<const Entries extends Readonly<Record<string, ErrorEntry>>>(
  prefix: string,
  entries: Entries,
): ErrorTable<keyof Entries & string> {
  return {
    prefix,
    entries: entries as Readonly<Record<keyof Entries & string, ErrorEntry>>,
    error: (name, message, details) => new MlpeError(`${prefix}.${name}`, entries[name]!, message, details),
    problem: (name, message, details = {}) => ({
      code: `${prefix}.${name}`,
      message,
      place: details.place,
      fix: details.fix ?? entries[name]!.fix,
    }),
  };
}

/** A broken invariant: loud, and never caught to be logged only. */
export function invariant(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`invariant broken: ${message}`);
}
