/**
 * CSV as RFC 4180 has it, with LF or CRLF: a field is quoted if its first character is a double quote; inside, "" is one
 * quote and line breaks are text; a quote elsewhere is an ordinary character. This is the one scanner: a reader that cuts
 * a file into pages and a decoder that splits the records again must agree on where a record ends.
 */

const QUOTE = 0x22;
const LF = 0x0a;
const CR = 0x0d;

export interface RecordEnd {
  /** Where the next record begins. */
  readonly next: number;
  /**
   * True where a quote is never closed, or text follows a closing one: the record then ends at its first line break, so
   * that the lines after it survive. The two are not told apart, because which one is seen depends on how many bytes are.
   */
  readonly broken?: true;
}

/**
 * Finds the end of the record at `start`. Undefined when it does not end before `end` and more bytes may come: `final`
 * says that none will, which makes the end of the bytes the end of the record.
 */
export function recordEnd(
  bytes: Uint8Array,
  start: number,
  end: number,
  delimiter: number,
  final: boolean,
): RecordEnd | undefined {
  let at = start;
  for (;;) {
    if (at < end && bytes[at] === QUOTE) {
      const closed = closingQuote(bytes, at + 1, end);
      if (closed < 0) return final ? brokenRecord(bytes, start, end, final) : undefined;
      at = closed + 1;
      if (at >= end) return final ? { next: end } : undefined;
      const after = bytes[at]!;
      if (after === LF) return { next: at + 1 };
      if (after === CR && at + 1 >= end && !final) return undefined;
      if (after === CR && bytes[at + 1] === LF && at + 1 < end) return { next: at + 2 };
      if (after !== delimiter) return brokenRecord(bytes, start, end, final);
      at++;
      continue;
    }
    while (at < end && bytes[at] !== delimiter && bytes[at] !== LF) at++;
    if (at >= end) return final ? { next: end } : undefined;
    if (bytes[at] === LF) return { next: at + 1 };
    at++;
  }
}

/** The quote that ends a quoted field, or -1. A quote at the very end of the bytes is taken as the closing one. */
function closingQuote(bytes: Uint8Array, from: number, end: number): number {
  let at = from;
  for (;;) {
    at = bytes.indexOf(QUOTE, at);
    if (at < 0 || at >= end) return -1;
    if (at + 1 >= end || bytes[at + 1] !== QUOTE) return at;
    at += 2;
  }
}

function brokenRecord(bytes: Uint8Array, start: number, end: number, final: boolean): RecordEnd | undefined {
  const at = bytes.indexOf(LF, start);
  if (at >= 0 && at < end) return { next: at + 1, broken: true };
  return final ? { next: end, broken: true } : undefined;
}

/**
 * The fields of one well-formed record without its line break. `text` must hold the whole record; see `recordEnd` for
 * records that are not well formed.
 */
export function splitFields(text: string, delimiter: string): string[] {
  if (!text.includes('"')) return text.split(delimiter);
  const fields: string[] = [];
  let at = 0;
  for (;;) {
    if (text[at] === '"') {
      let close = at + 1;
      for (;;) {
        close = text.indexOf('"', close);
        if (close < 0) close = text.length;
        if (text[close + 1] !== '"') break;
        close += 2;
      }
      fields.push(text.slice(at + 1, close).replaceAll('""', '"'));
      at = close + 1;
    } else {
      const stop = text.indexOf(delimiter, at);
      fields.push(stop < 0 ? text.slice(at) : text.slice(at, stop));
      at = stop < 0 ? text.length : stop;
    }
    if (at >= text.length) return fields;
    at++; // the delimiter
    if (at === text.length) {
      fields.push("");
      return fields;
    }
  }
}

/** The record's bytes without its line break. */
export function trimBreak(bytes: Uint8Array, start: number, next: number): number {
  let end = next;
  if (end > start && bytes[end - 1] === LF) end--;
  if (end > start && bytes[end - 1] === CR) end--;
  return end;
}
