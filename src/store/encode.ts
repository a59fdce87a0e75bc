import { ByteWriter } from "../base/bytes.ts";
import type { Random } from "../base/random.ts";
import { withWrittenTexts } from "../contract/batch.ts";
import { writeBatch } from "../contract/codec.ts";
import { boundTo, type Sealer } from "./catalogue.ts";
import { storeErrors } from "./errors.ts";
import { type ContentHasher, contentHasher } from "./leaves.ts";
import type { CommitRequest } from "./port.ts";
import { beginBody, type EncodedAppend, type EncodedCommit, finishBody, writeAppend } from "./record.ts";
import { newSalt } from "./salts.ts";
import { ERASED, TOMBSTONE } from "./select.ts";

/** What a thread needs to make commit records: one for each thread, as the memory it works in is kept. */
export interface Encoder {
  readonly sealer: Sealer;
  readonly contentRoot: ContentHasher;
  readonly random: Random;
  /** Fingerprints whose schema the log has already. */
  readonly known: Set<string>;
  /** What a record is bound to. */
  readonly bound: Uint8Array;
  /** A column, the columns of an append, a body. */
  readonly writers: readonly [column: ByteWriter, batch: ByteWriter, body: ByteWriter];
}

/** Larger memory is let go after the commit that needed it. */
const KEPT_BYTES = 256 << 10;

export function encoderOf(sealer: Sealer, saltKey: Uint8Array, random: Random): Encoder {
  return {
    sealer,
    contentRoot: contentHasher(saltKey),
    random,
    known: new Set(),
    bound: boundTo(sealer.storeId, "record"),
    writers: [new ByteWriter(4_096), new ByteWriter(16_384), new ByteWriter(16_384)],
  };
}

/** The request as the log takes it: columns packed, hashed, compressed and sealed, in the thread that commits. */
export function encodeCommit(request: CommitRequest, encoder: Encoder): EncodedCommit {
  const cursors = request.cursors ?? {};
  const readers = request.readers ?? {};
  checkPositions(readers);
  const appends: EncodedAppend[] = [];
  const [column, columns, writer] = encoder.writers;
  beginBody(writer.clear(), request.appends.length);
  for (const { stream, batch: given, tombstones } of request.appends) {
    const batch = withWrittenTexts(given);
    const salt = newSalt(encoder.random);
    const root = encoder.contentRoot(batch, tombstones, salt);
    const { fingerprint, schema } = batch.contract;
    const said = encoder.known.has(fingerprint) ? {} : { schema: JSON.stringify(schema) };
    appends.push({ stream, fingerprint, rows: batch.length, root, ...said });
    writeBatch(columns.clear(), batch, column);
    writeAppend(writer, { salt, root, tombstones: packFlags(tombstones), batch: columns.written() });
  }
  const record = encoder.sealer.keyring.seal(finishBody(writer, cursors, readers), encoder.bound);
  for (const used of encoder.writers) used.clear(KEPT_BYTES);
  return {
    appends,
    cursors,
    readers,
    expect: request.expect ?? {},
    score: request.priority === "score",
    relaxed: request.durability === "process",
    urgent: request.priority === undefined,
    record,
  };
}

/** A position is written as a varint, which takes no other number: what can't be read back must not be acknowledged. */
function checkPositions(readers: Readonly<Record<string, number>>): void {
  for (const [name, position] of Object.entries(readers)) {
    if (Number.isSafeInteger(position) && position >= 0) continue;
    throw storeErrors.error("bad_position", `reader ${name} can't stand at ${position}`, { place: name });
  }
}

/** A bit a row for tombstones, then, where any row is erased, a bit a row for these; empty where no flag is set. */
export function packFlags(flags: Uint8Array | undefined): Uint8Array {
  let set = 0;
  if (flags) for (let i = 0; i < flags.length; i++) set |= flags[i]!;
  if (!flags || set === 0) return new Uint8Array(0);
  const width = (flags.length + 7) >> 3;
  const bits = new Uint8Array((set & ERASED) === 0 ? width : width * 2);
  for (let i = 0; i < flags.length; i++) {
    if ((flags[i]! & TOMBSTONE) !== 0) bits[i >> 3]! |= 1 << (i & 7);
    if ((flags[i]! & ERASED) !== 0) bits[width + (i >> 3)]! |= 1 << (i & 7);
  }
  return bits;
}

export function unpackFlags(bits: Uint8Array, count: number): Uint8Array {
  const flags = new Uint8Array(count);
  if (bits.length === 0) return flags;
  const width = (count + 7) >> 3;
  if (bits.length !== width && bits.length !== width * 2) throw new RangeError("the flags are not of the rows");
  for (let i = 0; i < count; i++) flags[i] = (bits[i >> 3]! >> (i & 7)) & 1;
  if (bits.length === width) return flags;
  for (let i = 0; i < count; i++) flags[i]! |= ((bits[width + (i >> 3)]! >> (i & 7)) & 1) << 1;
  return flags;
}
