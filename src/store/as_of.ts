import { compareValues, type Row, type Value } from "../base/row.ts";
import type { Micros } from "../base/time.ts";
import type { Contract } from "../contract/contract.ts";
import { identityOf } from "./latest.ts";
import type { AsOfOptions, Probe } from "./port.ts";
import { entityKey } from "./select.ts";

/** One stored version of a record: its deciding fields are read when asked for, the whole row only if it wins. */
export interface Version {
  readonly contract: Contract;
  readonly sequence: number;
  readonly tombstone: boolean;
  value(field: string): Value;
  row(columns: readonly string[] | undefined): Row;
}

/**
 * The versions of one entity in one place (a segment, the tail), latest event time first. `time` is that of the version
 * that `take` would give next, or undefined at the end.
 */
export interface VersionCursor {
  time(): Micros | undefined;
  take(): Version;
}

/** The places that may hold versions of the entity, by the latest event time that each may have, latest first. */
export interface VersionSources {
  /** No version of the places that are left is later; undefined where none is left. */
  bound(): Micros | undefined;
  /** Takes the next place and looks into it: undefined where it holds no version. */
  next(): VersionCursor | undefined;
}

/**
 * The winner of one probe. All versions of a record in one entity have one event time (a correction that moves it
 * writes a tombstone at the old place), so it is enough to go back through event times, newest first, and to collapse
 * the versions of each time. A source is looked into only where it may hold a version that is as late as the latest
 * found so far. `first` is a cursor of the place that has no bound, the tail.
 */
export function winnerOf(
  first: VersionCursor | undefined,
  sources: VersionSources,
  probe: Probe,
  options: AsOfOptions,
): Version | undefined {
  const oldest = options.maxAge === undefined ? Number.NEGATIVE_INFINITY : probe.at - options.maxAge;
  const cursors = first ? [first] : [];
  for (;;) {
    let time = latestOf(cursors);
    for (;;) {
      const bound = sources.bound();
      if (bound === undefined || bound < oldest || (time !== undefined && bound < time)) break;
      const cursor = sources.next();
      if (!cursor) continue;
      cursors.push(cursor);
      time = latestOf(cursors);
    }
    if (time === undefined || time < oldest) return undefined;
    const versions: Version[] = [];
    for (const cursor of cursors) while (cursor.time() === time) versions.push(cursor.take());
    const best = bestOf(versions, probe.at);
    if (best) return best;
  }
}

function latestOf(cursors: readonly VersionCursor[]): Micros | undefined {
  let latest: Micros | undefined;
  for (const cursor of cursors) {
    const time = cursor.time();
    if (time !== undefined && (latest === undefined || time > latest)) latest = time;
  }
  return latest;
}

/** Static datasets have no event time: all their versions of an entity are looked at together, whatever the age. */
export const STATIC_TIME = 2 ** 60;

function bestOf(versions: readonly Version[], at: Micros): Version | undefined {
  if (versions.length === 1) return isLive(versions[0]!, at) ? versions[0] : undefined;
  const latest = new Map<string, Version>();
  for (const version of versions) {
    const key = recordKey(version);
    const known = latest.get(key);
    if (!known || known.sequence < version.sequence) latest.set(key, version);
  }
  let best: Version | undefined;
  for (const version of latest.values()) {
    if (isLive(version, at) && (!best || compareVersions(version, best) > 0)) best = version;
  }
  return best;
}

function isLive(version: Version, at: Micros): boolean {
  if (version.tombstone) return false;
  const { eventTime, availableTime } = version.contract;
  if (eventTime === undefined || availableTime === undefined) return true;
  const available = version.value(availableTime) as number | null;
  return available === null || available <= at;
}

function recordKey(version: Version): string {
  if (version.contract.recordId === "position") return String(version.sequence);
  return identityOf(version.contract)
    .map((name) => {
      const value = version.value(name);
      return value === null ? "0;" : entityKey([value, true]);
    })
    .join("");
}

/** By the contract's order field, then the record id, then the sequence (event times are equal here). */
function compareVersions(a: Version, b: Version): number {
  const { order } = a.contract;
  const names = [...(order === undefined ? [] : [order]), ...identityOf(a.contract)];
  for (const name of names) {
    const compared = compareValues(a.value(name), b.value(name));
    if (compared !== 0) return compared;
  }
  return a.sequence - b.sequence;
}

/** A row object with the fields of `columns`, the others null. */
export function rowWith(
  contract: Contract,
  columns: readonly string[] | undefined,
  valueIn: (field: number) => Value,
): Row {
  const row: Record<string, Value> = {};
  contract.fields.forEach((field, c) => {
    const wanted = columns === undefined || columns.includes(field.name);
    row[field.name] = wanted ? valueIn(c) : null;
  });
  return row;
}
