import { firstWhere } from "../base/bisect.ts";
import type { Micros } from "../base/time.ts";
import { valueAt } from "../contract/batch.ts";
import { rowWith, STATIC_TIME, type Version, type VersionCursor } from "./as_of.ts";
import type { Names, Sealer } from "./catalogue.ts";
import type { StoredRows } from "./port.ts";
import { entityKeys } from "./select.ts";
import { NO_TIME, timesOf } from "./sort.ts";
import { rowsOfAppend, type Snapshot } from "./tail_index.ts";

interface Entry {
  readonly time: Micros;
  readonly stored: StoredRows;
  readonly index: number;
}

/** The tail's rows of each stream by entity, kept up as commits come and made anew when the tail was compacted. */
export interface TailVersions {
  cursor(snapshot: Snapshot, stream: string, key: string, at: Micros, upTo: number): VersionCursor | undefined;
}

interface StreamVersions {
  generation: number;
  upTo: number;
  readonly byEntity: Map<string, { entries: Entry[]; sorted: boolean }>;
}

export function tailVersions(sealer: Sealer, names: Names): TailVersions {
  const streams = new Map<string, StreamVersions>();
  const refresh = (snapshot: Snapshot, stream: string): StreamVersions => {
    const { generation, lastCommit } = snapshot.compacted;
    let known = streams.get(stream);
    if (!known || known.generation !== generation) {
      known = { generation, upTo: lastCommit, byEntity: new Map() };
      streams.set(stream, known);
    }
    const streamId = names.streamIdOf(stream);
    for (let i = known.upTo - lastCommit; i < snapshot.tail.length; i++) {
      const commit = snapshot.tail[i]!;
      commit.ranges.forEach((range, a) => {
        if (range.streamId !== streamId || range.rows === 0) return;
        addRows(known.byEntity, rowsOfAppend(commit, a, sealer, names));
      });
      known.upTo = commit.commitNo;
    }
    return known;
  };
  return {
    cursor(snapshot, stream, key, at, upTo) {
      if (snapshot.tail.length === 0) return undefined;
      const versions = refresh(snapshot, stream).byEntity.get(key);
      if (!versions) return undefined;
      if (!versions.sorted) versions.entries.sort((a, b) => a.time - b.time);
      versions.sorted = true;
      return entryCursor(versions.entries, at, upTo);
    },
  };
}

function addRows(byEntity: StreamVersions["byEntity"], stored: StoredRows): void {
  const { batch } = stored;
  const { eventTime } = batch.contract;
  const keyAt = entityKeys(batch);
  const times = eventTime === undefined ? undefined : timesOf(batch, eventTime);
  for (let index = 0; index < batch.length; index++) {
    const key = keyAt(index);
    const time = times ? times[index]! : STATIC_TIME;
    if (key === null || time === NO_TIME) continue;
    let versions = byEntity.get(key);
    if (!versions) {
      versions = { entries: [], sorted: true };
      byEntity.set(key, versions);
    }
    if (versions.entries.length > 0 && versions.entries.at(-1)!.time > time) versions.sorted = false;
    versions.entries.push({ time, stored, index });
  }
}

function entryCursor(entries: readonly Entry[], at: Micros, upTo: number): VersionCursor {
  let next = firstWhere(
    0,
    entries.length,
    (entry) => entries[entry]!.time > at && entries[entry]!.time !== STATIC_TIME,
  );
  const step = () => {
    do next--;
    while (next >= 0 && entries[next]!.stored.commitNos[entries[next]!.index]! > upTo);
  };
  step();
  return {
    time: () => entries[next]?.time,
    take() {
      const version = versionOf(entries[next]!);
      step();
      return version;
    },
  };
}

function versionOf({ stored, index }: Entry): Version {
  const { batch } = stored;
  const { fields } = batch.contract;
  return {
    contract: batch.contract,
    sequence: stored.sequences[index]!,
    tombstone: stored.tombstones[index] === 1,
    value(field) {
      const at = fields.findIndex(({ name }) => name === field);
      return valueAt(batch.columns[at]!, fields[at]!.type, index);
    },
    row: (columns) => rowWith(batch.contract, columns, (at) => valueAt(batch.columns[at]!, fields[at]!.type, index)),
  };
}
