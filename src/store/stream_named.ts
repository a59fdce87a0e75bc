import { nearest } from "../base/nearest.ts";
import { storeErrors } from "./errors.ts";
import type { Store, StreamInfo } from "./port.ts";

/**
 * The stored stream of a name: as it is called (`curated/departures`), a curated dataset by its own name (`departures`), or
 * as queries spell it (`scores_flight_delay`). Throws `store.unknown_stream`.
 */
export async function streamNamed(store: Store, name: string): Promise<StreamInfo> {
  const streams = await store.streams();
  const found =
    streams.find(({ stream }) => stream === name) ??
    streams.find(({ stream }) => stream === `curated/${name}`) ??
    streams.find(({ stream }) => stream.replace("/", "_") === name);
  if (found) return found;
  const names = streams.map(({ stream }) => stream).sort();
  const near = nearest(name, names);
  const list = names.length === 0 ? "Nothing is stored yet." : `Streams: ${names.join(", ")}.`;
  throw storeErrors.error("unknown_stream", `there is no stream "${name.slice(0, 200)}"`, {
    fix: near ? `Did you mean ${near}? ${list}` : list,
  });
}
