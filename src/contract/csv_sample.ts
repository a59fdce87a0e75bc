import { recordEnd, splitFields, trimBreak } from "./csv.ts";
import { contractErrors } from "./errors.ts";

export interface SampleOptions {
  /** One ASCII character. */
  readonly delimiter: string;
  readonly rowsMax: number;
}

/** The beginning of a CSV file, for `inferContract`. */
export interface CsvSample {
  readonly header: readonly string[];
  readonly rows: readonly (readonly string[])[];
  /** What was left out, a sentence each. */
  readonly notes: readonly string[];
}

/** So much of a file is looked at: a small compressed file may hold far more than memory does. */
const SAMPLE_BYTES_MAX = 64 << 20;

/**
 * The header and the first records. Those that are no records of the header's width are left out and counted in a note.
 * `path` names the file in errors, and says by its ending how it is packed. Throws contract.unreadable_csv.
 */
export async function sampleCsv(path: string, stored: Uint8Array, options: SampleOptions): Promise<CsvSample> {
  const { delimiter, rowsMax } = options;
  const { bytes, whole } = await unpacked(path, stored);
  const decoder = new TextDecoder("utf-8", { fatal: true });
  const rows: string[][] = [];
  let header: string[] | undefined;
  let misfits = 0;
  let at = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0;
  while (at < bytes.length && rows.length < rowsMax) {
    const record = recordEnd(bytes, at, bytes.length, delimiter.charCodeAt(0), whole);
    if (!record) break; // cut off by the bound
    const end = trimBreak(bytes, at, record.next);
    const blank = end === at;
    const fields = blank || record.broken ? undefined : decoded(decoder, bytes.subarray(at, end), delimiter);
    at = record.next;
    if (blank) continue;
    if (!header) header = headerOf(fields, delimiter, path);
    else if (fields?.length === header.length) rows.push(fields);
    else misfits++;
  }
  if (!header) throw contractErrors.error("unreadable_csv", `${path} is empty`, { place: path });
  if (rows.length === 0) {
    const message =
      misfits === 0 ? `${path} has a header and no rows` : `no row of ${path} has the header's ${header.length} fields`;
    throw contractErrors.error("unreadable_csv", message, { place: path });
  }
  const notes = misfits === 0 ? [] : [misfitNote(misfits, header.length)];
  const more = rows.length === rowsMax ? "; --rows looks at more" : "";
  if (at < bytes.length || !whole) notes.push(`Only the first ${rows.length} rows were looked at${more}.`);
  return { header, rows, notes };
}

/** The beginning of the file's bytes, decompressed, and whether that is all of them. */
async function unpacked(path: string, stored: Uint8Array): Promise<{ bytes: Uint8Array; whole: boolean }> {
  const packing = path.endsWith(".gz") ? "gzip" : path.endsWith(".zst") ? "zstd" : undefined;
  if (!packing) return { bytes: stored.subarray(0, SAMPLE_BYTES_MAX), whole: stored.length <= SAMPLE_BYTES_MAX };
  const parts: Uint8Array[] = [];
  let size = 0;
  try {
    const plain = new Blob([new Uint8Array(stored)]).stream().pipeThrough(new DecompressionStream(packing));
    for await (const part of plain) {
      parts.push(part);
      size += part.length;
      if (size > SAMPLE_BYTES_MAX) break;
    }
  } catch (cause) {
    const message = `${path} can't be decompressed: ${(cause as Error).message}`;
    throw contractErrors.error("unreadable_csv", message, { place: path, cause });
  }
  const bytes = new Uint8Array(Buffer.concat(parts)).subarray(0, SAMPLE_BYTES_MAX);
  return { bytes, whole: size <= SAMPLE_BYTES_MAX };
}

function misfitNote(count: number, width: number): string {
  const left = count === 1 ? "1 record was left out" : `${count} records were left out`;
  return `${left}: a quote is not closed, the text is not UTF-8, or there are not ${width} fields. Ingestion would quarantine such records.`;
}

function decoded(decoder: TextDecoder, bytes: Uint8Array, delimiter: string): string[] | undefined {
  try {
    return splitFields(decoder.decode(bytes), delimiter);
  } catch {
    return undefined; // not UTF-8: counted with the records that don't fit
  }
}

function headerOf(fields: string[] | undefined, delimiter: string, path: string): string[] {
  const place = `${path}:1`;
  const refused = (message: string, fix?: string) => contractErrors.error("unreadable_csv", message, { place, fix });
  if (!fields) throw refused("the header has a quote that is not closed, or is not UTF-8");
  const other = [";", "\t", "|", ","].find((candidate) => candidate !== delimiter && fields[0]!.includes(candidate));
  if (fields.length === 1 && other !== undefined) {
    const fix = `Say --delimiter ${other === "\t" ? "tab" : `'${other}'`}.`;
    throw refused("the header is one field with another delimiter in it", fix);
  }
  const twin = fields.find((name, i) => fields.indexOf(name) !== i);
  if (twin === undefined) return fields;
  throw refused(`the header has two columns "${twin}"`, "Rename one of them in the file.");
}
