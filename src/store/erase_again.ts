import { toHex } from "../base/bytes.ts";
import { rowsOf } from "../contract/batch.ts";
import { ERASURES } from "../contract/streams.ts";
import { readState, type Sealer } from "./catalogue.ts";
import type { ErasureOutcome } from "./erase.ts";
import { type EntityName, type Erased, named, spelled } from "./erase_select.ts";
import { entityDigest, erasureKey } from "./erased.ts";
import { storeErrors } from "./errors.ts";
import type { LogReader } from "./log_reader.ts";
import type { Store } from "./port.ts";

/** An erasure as the log holds it. Of a replaced row it has the place; how many are guessable is not recorded. */
export interface RecordedErasure {
  readonly erasure: Erased["erasure"];
  readonly outcome: Omit<ErasureOutcome, "guessable" | "files">;
}

type Readable = Store & { readonly reader: LogReader; readonly sealer: Sealer };

interface Found {
  readonly commitNo: number;
  readonly knownTime: number;
  readonly at: number;
  /** By stream: sequences of the rows that are empty places, and of those that were replaced. */
  readonly places: Map<string, { readonly emptied: number[]; readonly replaced: number[] }>;
}

/** The erasures of an entity, in order, from the stream `erasures`. Throws store.not_erased where there is none. */
export async function recordedErasures(store: Readable, entity: EntityName): Promise<RecordedErasure[]> {
  const { fields, values } = named(entity);
  const digest = entityDigest(erasureKey(store.reader, store.sealer), fields, values);
  const found = await foundErasures(store, toHex(digest));
  if (found.size === 0) throw notErased(entity);
  const scrubbed = readState(store.reader.database, store.sealer).scrub !== true;
  return [...found].map(([erasure, { commitNo, knownTime, at, places }]) => {
    const streams = [...places].map(([stream, { emptied, replaced }]) => ({
      stream,
      emptied,
      replaced: replaced.map((sequence) => ({ sequence, row: {} })),
    }));
    const count = (what: "emptied" | "replaced") => streams.reduce((sum, rows) => sum + rows[what].length, 0);
    return {
      erasure: { erasure, fields, digest, body: "", at, streams },
      outcome: { commitNo, knownTime, emptied: count("emptied"), replaced: count("replaced"), scrubbed },
    };
  });
}

/** By their ids. An erasure's row `entity` comes before the rows of its places, in one commit. */
async function foundErasures(store: Store, digest: string): Promise<Map<string, Found>> {
  const found = new Map<string, Found>();
  const columns = ["erasure", "kind", "digest", "stream", "sequence", "replacement", "at"];
  for await (const { batch, commitNos, knownTimes } of store.scan(ERASURES, { columns })) {
    for (const [i, row] of rowsOf(batch).entries()) {
      const id = row.erasure as string;
      if (row.kind === "entity" && toHex(row.digest as Uint8Array) === digest) {
        const at = row.at as number;
        found.set(id, { commitNo: commitNos[i]!, knownTime: knownTimes[i]!, at, places: new Map() });
      }
      const places = row.kind === "row" ? found.get(id)?.places : undefined;
      if (!places) continue;
      const stream = row.stream as string;
      const rows = places.get(stream) ?? { emptied: [], replaced: [] };
      places.set(stream, rows);
      (row.replacement === null ? rows.emptied : rows.replaced).push(row.sequence as number);
    }
  }
  return found;
}

const notErased = (entity: EntityName): Error =>
  storeErrors.error("not_erased", `no erasure of ${spelled(entity)} is recorded`, { place: "entity" });
