import { serve } from "../../src/cli/commands/run.ts";
import type { Desk } from "./world.ts";

/** A source, its dataset and a view of it, in the words of mlpe.yaml. The contract is `d.avsc`, the rows are `rows.csv`. */
export const ONE_OF_EACH = `site: s
listen: { port: 0 }
keys: { path: store.key }
data: data
sources:
  f: { connector: file, path: rows.csv, dataset: d }
datasets:
  d: { contract: d.avsc }
views:
  v: { spine: d, features: { n: n } }
`;

export const locationIn = (desk: Desk) => ({ config: desk.path("mlpe.yaml") });

/** A server over the project. `said` resolves with the first log line of that message; `stop` is a SIGTERM. */
export function toldServer<Told extends { readonly msg: string }>(desk: Desk) {
  const stopping = Promise.withResolvers<"SIGTERM">();
  const lines = new Map<string, PromiseWithResolvers<Told>>();
  const lineOf = (msg: string) => lines.getOrInsertComputed(msg, () => Promise.withResolvers<Told>());
  const world = {
    ...desk.world,
    stopRequested: () => stopping.promise,
    warn(line: string) {
      const told = JSON.parse(line) as Told;
      lineOf(told.msg).resolve(told);
    },
  };
  const ended = serve(world, locationIn(desk));
  const failed = ended.then(() => Promise.reject(new Error("the server ended")));
  failed.catch(() => {});
  return {
    said: (msg: string) => Promise.race([lineOf(msg).promise, failed]),
    async stop() {
      stopping.resolve("SIGTERM");
      await ended;
    },
  };
}
