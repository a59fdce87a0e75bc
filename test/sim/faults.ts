import type { CommitRequest, Receipt } from "../../src/store/port.ts";
import type { LogStore } from "../../src/store/store.ts";

/** What becomes of a commit: all is well; it never reaches the log; it does, and nobody hears of it. */
export type Fault = "none" | "before" | "after";

export const FAULT = "SimulatedFault";

export function isFault(error: unknown): boolean {
  return error instanceof Error && error.name === FAULT;
}

function fault(when: string): Error {
  const error = new Error(`the simulation failed a commit ${when} it was made`);
  error.name = FAULT;
  return error;
}

/** Changes what reaches the log: for proofs that the checks notice. */
export type Sabotage = (
  request: CommitRequest,
  commit: (request: CommitRequest) => Promise<Receipt>,
) => Promise<Receipt>;

/** The store, with faults in its commits as `next` says. Everything else goes through. */
export function faultyStore(store: LogStore, next: () => Fault, sabotage?: Sabotage): LogStore {
  const apply = (request: CommitRequest) => store.commit(request);
  const commit = async (request: CommitRequest): Promise<Receipt> => {
    const what = next();
    if (what === "before") throw fault("before");
    const receipt = await (sabotage ? sabotage(request, apply) : apply(request));
    if (what === "after") throw fault("after");
    return receipt;
  };
  return new Proxy(store, {
    get(target, name) {
      if (name === "commit") return commit;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}
