import type { CommitRequest, Receipt } from "../../src/store/port.ts";
import type { LogStore } from "../../src/store/store.ts";

/** What becomes of a commit: all is well; it never reaches the log; it does, and nobody hears of it. */
export type Fault = "none" | "before" | "after";

const FAULT = "SimulatedFault";

export function isFault(error: unknown): boolean {
  return error instanceof Error && error.name === FAULT;
}

function fault(what: string): Error {
  const error = new Error(`the simulation failed ${what}`);
  error.name = FAULT;
  return error;
}

/** Changes what reaches the log: for proofs that the checks notice. */
export type Sabotage = (
  request: CommitRequest,
  commit: (request: CommitRequest) => Promise<Receipt>,
) => Promise<Receipt>;

export interface Faults {
  commit(): Fault;
  /** Whether this read fails. */
  read(): boolean;
}

export const NO_FAULTS: Faults = { commit: () => "none", read: () => false };

const READS: ReadonlySet<PropertyKey> = new Set(["tail", "scan", "position", "cursor"]);

/** The store, with faults in its commits and reads. Everything else goes through. */
export function faultyStore(store: LogStore, faults: Faults, sabotage?: Sabotage): LogStore {
  const apply = (request: CommitRequest) => store.commit(request);
  const commit = async (request: CommitRequest): Promise<Receipt> => {
    const what = faults.commit();
    if (what === "before") throw fault("a commit before it was made");
    const receipt = await (sabotage ? sabotage(request, apply) : apply(request));
    if (what === "after") throw fault("a commit after it was made");
    return receipt;
  };
  return new Proxy(store, {
    get(target, name) {
      if (name === "commit") return commit;
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== "function") return value;
      return (...parameters: unknown[]) => {
        if (READS.has(name) && faults.read()) throw fault(`a read (${String(name)})`);
        return Reflect.apply(value, target, parameters);
      };
    },
  });
}
