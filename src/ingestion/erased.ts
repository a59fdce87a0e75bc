import type { Value } from "../base/row.ts";
import { isReject } from "../contract/coerce.ts";
import { recordEnd, trimBreak } from "../contract/csv.ts";
import { exactJsonText, parseExactJson } from "../contract/json.ts";
import { type Page, type PageFormat, withoutDigests } from "../contract/page.ts";
import type { DecodedPage, RawRecord } from "./decode.ts";
import { lookupOf, normalise } from "./normalise.ts";
import type { DatasetPlan, RoutePlan, SourcePlan } from "./plan.ts";

/** How rows of an entity are told: by sets of fields and a test of their values. */
export interface EntityTest {
  readonly fieldSets: readonly (readonly string[])[];
  has(fields: readonly string[], values: readonly Value[]): boolean;
}

/** The drop reason of records whose entity was erased. */
export const ERASED_REASON = "erased";

/**
 * The records of a page that name such an entity, by index. Read as the source's datasets read them; a record that can't be
 * decoded counts where any word of it is the value of an entity that one field names.
 */
export function recordsNaming(plan: SourcePlan | undefined, page: DecodedPage, test: EntityTest): ReadonlySet<number> {
  const found = new Set<number>();
  const readers = test.fieldSets.flatMap((fields) => [
    ...(plan?.routes ?? []).flatMap((route) => readerOf(route, page, fields) ?? []),
    byName(page, fields),
  ]);
  for (const [index, record] of page.records.entries()) {
    const named = record
      ? readers.some(({ fields, read }) => test.has(fields, read(record)))
      : wordsName(page.broken.get(index)!.text, test);
    if (named) found.add(index);
  }
  return found;
}

interface Reader {
  readonly fields: readonly string[];
  read(record: RawRecord): readonly Value[];
}

/** The fields as a route's dataset has them; undefined where it lacks one. */
function readerOf(route: RoutePlan, page: DecodedPage, fields: readonly string[]): Reader | undefined {
  const { dataset } = route;
  const positions = fields.map((name) => dataset.contract.fields.findIndex((field) => field.name === name));
  if (positions.includes(-1)) return undefined;
  if (positions.some((position) => dataset.computed[position])) {
    const lookup = lookupOf(dataset, page);
    return {
      fields,
      read(record) {
        const row = normalise(route, page, lookup, record);
        return positions.map((position) => (row && "values" in row ? row.values[position]! : null));
      },
    };
  }
  return { fields, read: (record) => positions.map((position) => plainValue(dataset, position, page, record)) };
}

/** A value as it is stored; one that its type refuses, as it came. */
function plainValue(dataset: DatasetPlan, position: number, page: DecodedPage, record: RawRecord): Value {
  const raw = rawValue(page, record, dataset.sourceNames[position]!);
  const value = dataset.coercers[position]!(raw);
  return isReject(value) ? String(raw) : value;
}

function rawValue({ header, isNull }: DecodedPage, record: RawRecord, name: string): unknown {
  if (!header) return Object.hasOwn(record, name) ? (record as Readonly<Record<string, unknown>>)[name] : undefined;
  const at = header.indexOf(name);
  const text = at < 0 ? undefined : (record as readonly string[])[at];
  return text === undefined || isNull(text) ? null : text;
}

/** The fields by their own names, whatever datasets say: for sources that are configured no more, or otherwise. */
function byName(page: DecodedPage, fields: readonly string[]): Reader {
  return {
    fields,
    read: (record) =>
      fields.map((name) => {
        const raw = rawValue(page, record, name);
        return raw === null || raw === undefined || typeof raw === "object" ? null : String(raw);
      }),
  };
}

/** Whether a text that is no record has the value of such an entity among its words. */
export function wordsName(text: string, test: EntityTest): boolean {
  const words = new Set(text.split(/[\s,;|\t"'`:{}[\]()]+/));
  return test.fieldSets.some((fields) => {
    const [field] = fields;
    return fields.length === 1 && [...words].some((word) => word !== "" && test.has([field!], [word]));
  });
}

/** What a page lands as without these records. */
export function pageWithout(page: Page, gone: ReadonlySet<number>, test: EntityTest): Page {
  const landed = cursorWithout(page.landed ?? page.cursor, test);
  return { ...page, payload: withoutRecords(page.payload, page.format, gone), landed };
}

/** A position of which records were left out: without digests that they are in, and without a key that names an entity. */
export const cursorWithout = (cursor: string, test: EntityTest): string =>
  withoutDigests(cursor, (key) => !idNames(key, test));

/** Whether an id that somebody made up (of a request, say) has the value of such an entity in it. */
export const idNames = (id: string, test: EntityTest): boolean =>
  wordsName(id, test) || wordsName(id.replace(/[^\p{L}\p{N}]+/gu, " "), test);

/** The page's bytes without these records; the others stay byte for byte, but in a JSON array, which is written anew. */
export function withoutRecords(payload: Uint8Array, format: PageFormat, gone: ReadonlySet<number>): Uint8Array {
  if (gone.size === 0) return payload;
  if (format.kind === "cut") return new Uint8Array(0);
  if (format.kind === "json") {
    const list = parseExactJson(new TextDecoder().decode(payload)) as unknown[];
    const kept = list.filter((_, index) => !gone.has(index));
    return new TextEncoder().encode(`[${kept.map(exactJsonText).join(",")}]`);
  }
  const spans = format.kind === "csv" ? csvSpans(payload, format) : lineSpans(payload, format.line);
  const kept: Uint8Array[] = [];
  let at = 0;
  for (const index of [...gone].sort((a, b) => a - b)) {
    const span = spans[index];
    if (!span) return new Uint8Array(0); // not understood as it was decoded: rather too little is kept
    kept.push(payload.subarray(at, span.from));
    at = span.to;
  }
  kept.push(payload.subarray(at));
  return new Uint8Array(Buffer.concat(kept));
}

interface Span {
  readonly from: number;
  readonly to: number;
}

function csvSpans(payload: Uint8Array, format: PageFormat & { kind: "csv" }): Span[] {
  const spans: Span[] = [];
  const delimiter = format.delimiter.charCodeAt(0);
  let skip = format.headed;
  for (let from = 0; from < payload.length; ) {
    const to = recordEnd(payload, from, payload.length, delimiter, true)!.next;
    const isBlank = trimBreak(payload, from, to) === from && format.header.length > 1;
    if (!skip && !isBlank) spans.push({ from, to });
    skip = false;
    from = to;
  }
  return spans;
}

function lineSpans(payload: Uint8Array, firstLine: number): Span[] {
  const spans: Span[] = [];
  let line = firstLine;
  for (let from = 0; from < payload.length; line++) {
    const found = payload.indexOf(0x0a, from);
    const to = found < 0 ? payload.length : found + 1;
    const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(payload.subarray(from, to));
    const own = line === 1 && text.startsWith("\uFEFF") ? text.slice(1) : text;
    if (own.trim() !== "") spans.push({ from, to });
    from = to;
  }
  return spans;
}
