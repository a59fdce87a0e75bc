import { recordEnd, splitFields, trimBreak } from "../contract/csv.ts";
import { exactJsonText, parseExactJson } from "../contract/json.ts";
import type { PageFormat } from "../contract/page.ts";
import { ingestionErrors } from "./errors.ts";
import type { Rejection } from "./rejects.ts";

/** A record as its format has it: CSV fields in the header's order, or a JSON object. */
export type RawRecord = readonly string[] | Readonly<Record<string, unknown>>;

export interface Broken {
  readonly rejection: Rejection;
  /** The record as it came. */
  readonly text: string;
}

export interface DecodedPage {
  /** Null where the record is broken. */
  readonly records: readonly (RawRecord | null)[];
  /** By index of the record. */
  readonly broken: ReadonlyMap<number, Broken>;
  /** CSV: the names of the columns. Null where records are objects. */
  readonly header: readonly string[] | null;
  /** CSV: whether the text means null. */
  isNull(text: string): boolean;
  /** The record as JSON text, or as it came where it could not be decoded. */
  text(index: number): string;
}

interface Collected {
  readonly records: (RawRecord | null)[];
  readonly broken: Map<number, Broken>;
}

type CsvFormat = Extract<PageFormat, { kind: "csv" }>;

/** The records of a page. Throws only where the page as a whole makes no sense (a header with a column twice). */
export function decodePage(payload: Uint8Array, format: PageFormat): DecodedPage {
  const into: Collected = { records: [], broken: new Map() };
  const header = format.kind === "csv" ? format.header : null;
  if (format.kind === "csv") decodeCsv(payload, format, into);
  else if (format.kind === "jsonl") decodeLines(payload, format.line, into);
  else if (format.kind === "json") decodeArray(payload, into);
  else {
    const message = `the record at line ${format.line} has ${format.bytes} bytes, more than a record may have`;
    breakRecord(into, "too_long", message, new TextDecoder().decode(payload));
  }
  return {
    ...into,
    header,
    isNull: nullTest(format.kind === "csv" ? format.nulls : []),
    text: (index) => {
      const record = into.records[index];
      if (!record) return into.broken.get(index)!.text;
      return header ? csvText(header, record as readonly string[]) : exactJsonText(record);
    },
  };
}

/** Nearly every field is longer than any text that means null, or differs at once: no set is asked. */
function nullTest(nulls: readonly string[]): (text: string) => boolean {
  const longest = nulls.reduce((length, text) => Math.max(length, text.length), 0);
  return (text) => text.length <= longest && nulls.includes(text);
}

const csvText = (header: readonly string[], fields: readonly string[]) =>
  JSON.stringify(Object.fromEntries(header.map((name, i) => [name, fields[i]])));

function breakRecord(into: Collected, rule: string, message: string, text: string): void {
  const rejection: Rejection = { code: "ingestion.undecodable", field: null, rule, message, value: text };
  into.broken.set(into.records.length, { rejection, text });
  into.records.push(null);
}

/** The text, or undefined where the bytes are not UTF-8. */
function utf8(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

function decodeCsv(payload: Uint8Array, format: CsvFormat, into: Collected): void {
  const twice = format.header.find((name, i) => format.header.indexOf(name) !== i);
  if (twice !== undefined) {
    throw ingestionErrors.error("duplicate_column", `the header has the column "${twice}" twice`, { place: "line 1" });
  }
  const text = payload.includes(0x22) ? undefined : utf8(payload);
  if (text === undefined) decodeQuoted(payload, format, into);
  else decodePlain(text, format, into);
}

/** Without a quote in the page, lines are records: the fast way. */
function decodePlain(text: string, format: CsvFormat, into: Collected): void {
  const lines = text.split("\n");
  if (lines.at(-1) === "") lines.pop();
  const carriage = text.includes("\r");
  for (let i = format.headed ? 1 : 0; i < lines.length; i++) {
    const line = carriage && lines[i]!.endsWith("\r") ? lines[i]!.slice(0, -1) : lines[i]!;
    addFields(line, line.split(format.delimiter), format, format.line + i, into);
  }
}

function decodeQuoted(payload: Uint8Array, format: CsvFormat, into: Collected): void {
  const delimiter = format.delimiter.charCodeAt(0);
  let line = format.line;
  let skip = format.headed;
  for (let at = 0; at < payload.length; ) {
    const { next, broken } = recordEnd(payload, at, payload.length, delimiter, true)!;
    const bytes = payload.subarray(at, trimBreak(payload, at, next));
    if (!skip) addQuoted(bytes, broken === true, format, line, into);
    skip = false;
    for (let i = at; i < next; i++) if (payload[i] === 0x0a) line++;
    at = next;
  }
}

function addQuoted(bytes: Uint8Array, broken: boolean, format: CsvFormat, line: number, into: Collected): void {
  const text = utf8(bytes);
  if (text === undefined) {
    breakRecord(into, "utf8", `line ${line} is not UTF-8`, new TextDecoder().decode(bytes));
  } else if (broken) {
    breakRecord(into, "quote", `line ${line} has a quote that is not closed, or text after a closing one`, text);
  } else addFields(text, splitFields(text, format.delimiter), format, line, into);
}

function addFields(text: string, fields: readonly string[], format: CsvFormat, line: number, into: Collected): void {
  if (text === "" && format.header.length > 1) return; // blank lines are no records
  if (fields.length === format.header.length) into.records.push(fields);
  else {
    const message = `line ${line} has ${fields.length} columns, the header has ${format.header.length}`;
    breakRecord(into, "columns", message, text);
  }
}

function decodeLines(payload: Uint8Array, firstLine: number, into: Collected): void {
  const whole = utf8(payload);
  let line = firstLine;
  if (whole !== undefined) {
    for (const text of whole.split("\n")) addObject(text, line++, into);
    return;
  }
  for (let at = 0; at < payload.length; line++) {
    const found = payload.indexOf(0x0a, at);
    const end = found < 0 ? payload.length : found;
    const bytes = payload.subarray(at, end);
    const text = utf8(bytes);
    if (text === undefined) breakRecord(into, "utf8", `line ${line} is not UTF-8`, new TextDecoder().decode(bytes));
    else addObject(text, line, into);
    at = end + 1;
  }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function addObject(line: string, number: number, into: Collected): void {
  const text = number === 1 && line.startsWith("\uFEFF") ? line.slice(1) : line;
  if (text.trim() === "") return;
  try {
    const value = parseExactJson(text);
    if (isObject(value)) into.records.push(value);
    else breakRecord(into, "object", `line ${number} is JSON, but not an object`, text);
  } catch (cause) {
    breakRecord(into, "json", `line ${number} is not JSON: ${(cause as Error).message}`, text);
  }
}

function decodeArray(payload: Uint8Array, into: Collected): void {
  const list = parseExactJson(new TextDecoder().decode(payload)) as unknown[];
  for (const item of list) {
    if (isObject(item)) into.records.push(item);
    else breakRecord(into, "object", `item ${into.records.length} is not an object`, exactJsonText(item));
  }
}
