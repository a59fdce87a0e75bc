import type { Row, Value } from "../base/row.ts";
import { rowAt } from "../contract/batch.ts";
import { isReject } from "../contract/coerce.ts";
import type { PageFormat } from "../contract/page.ts";
import { landingStream, quarantineStream } from "../contract/streams.ts";
import { decodePage } from "../ingestion/decode.ts";
import { cursorWithout, type EntityTest, recordsNaming, withoutRecords, wordsName } from "../ingestion/erased.ts";
import type { ErasedRows } from "../store/erase.ts";
import type { CommitRange } from "../store/erase_select.ts";
import type { Store } from "../store/port.ts";
import type { Project } from "./project.ts";

/** Where records stand as they came: raw pages, with the positions of their sources, and quarantine. */

const LANDING = landingStream("");

/** The pages that lose records of the entity, and what they become. */
export async function pagesOf(
  store: Store,
  { sources }: Project,
  test: EntityTest,
  range: CommitRange,
): Promise<ErasedRows[]> {
  const found: ErasedRows[] = [];
  for (const { stream } of await store.streams()) {
    if (!stream.startsWith(LANDING)) continue;
    const plan = sources.get(stream.slice(LANDING.length));
    const replaced: { sequence: number; row: Row }[] = [];
    await eachRow(store, stream, range, (row, sequence) => {
      const format = JSON.parse(row.format as string) as PageFormat;
      const payload = row.payload as Uint8Array;
      const gone = recordsNaming(plan, decodePage(payload, format), test);
      if (gone.size === 0) return;
      const cursor = cursorWithout(row.cursor as string, test);
      replaced.push({ sequence, row: { ...row, payload: withoutRecords(payload, format, gone), cursor } });
    });
    if (replaced.length > 0) found.push({ stream, emptied: [], replaced });
  }
  return found;
}

/** The positions of sources that lost records of raw pages, without what was made of these. */
export async function cursorsOf(
  store: Store,
  streams: readonly ErasedRows[],
  test: EntityTest,
): Promise<Readonly<Record<string, string>>> {
  const changed: Record<string, string> = {};
  for (const { stream, replaced } of streams) {
    if (!stream.startsWith(LANDING) || replaced.length === 0) continue;
    const source = stream.slice(LANDING.length);
    const cursor = await store.cursor(source);
    const left = cursorWithout(cursor, test);
    if (left !== cursor) changed[source] = left;
  }
  return changed;
}

/** Quarantined records of the entity, told by the names that the sources use, or by any word of a line that is no record. */
export async function quarantineOf(
  store: Store,
  project: Project,
  test: EntityTest,
  range: CommitRange,
): Promise<ErasedRows[]> {
  const found: ErasedRows[] = [];
  for (const [name, dataset] of project.datasets) {
    const emptied: number[] = [];
    const [fields] = test.fieldSets;
    const positions = fields!.map((field) => dataset.contract.fields.findIndex((own) => own.name === field));
    const ways = [fields!.map((field, i) => dataset.sourceNames[positions[i]!] ?? field), fields!];
    const stored = (value: Value, i: number): Value => {
      const read = value === null ? null : dataset.coercers[positions[i]!]?.(value);
      return read === undefined || isReject(read) ? value : read;
    };
    await eachRow(store, quarantineStream(name), range, (row, sequence) => {
      const text = row.record as string;
      const record = objectIn(text);
      const isNamed = record
        ? ways.some((names) =>
            test.has(
              fields!,
              names.map((one, i) => stored(plain(record[one]), i)),
            ),
          )
        : wordsName(text, test);
      if (isNamed) emptied.push(sequence);
    });
    if (emptied.length > 0) found.push({ stream: quarantineStream(name), emptied, replaced: [] });
  }
  return found;
}

const plain = (value: unknown): Value =>
  typeof value === "string" || typeof value === "number" || typeof value === "bigint" || typeof value === "boolean"
    ? value
    : null;

function objectIn(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

async function eachRow(
  store: Store,
  stream: string,
  range: CommitRange,
  look: (row: Row, sequence: number) => void,
): Promise<void> {
  for await (const stored of store.scan(stream, range)) {
    for (let i = 0; i < stored.batch.length; i++) look(rowAt(stored.batch, i), stored.sequences[i]!);
  }
}
