import type { Random } from "../base/random.ts";
import { withUsedTexts } from "../contract/batch.ts";
import { encodeBatch } from "../contract/codec.ts";
import { boundTo, type Sealer } from "./catalogue.ts";
import { storeErrors } from "./errors.ts";
import type { ContentHasher } from "./leaves.ts";
import type { CommitRequest } from "./port.ts";
import { type EncodedAppend, type EncodedCommit, encodeBody, type RecordAppend } from "./record.ts";
import { newSalt } from "./salts.ts";
import { ERASED, TOMBSTONE } from "./select.ts";

/** What a thread needs to make commit records. */
export interface Encoder {
  readonly sealer: Sealer;
  readonly contentRoot: ContentHasher;
  readonly random: Random;
  /** Fingerprints whose schema the log has already. */
  readonly known: Set<string>;
}

/** The request as the log takes it: columns packed, hashed, compressed and sealed, in the thread that commits. */
export function encodeCommit(request: CommitRequest, encoder: Encoder): EncodedCommit {
  const appends: EncodedAppend[] = [];
  const bodies: RecordAppend[] = [];
  for (const { stream, batch: given, tombstones } of request.appends) {
    const batch = withUsedTexts(given);
    const salt = newSalt(encoder.random);
    const root = encoder.contentRoot(batch, tombstones, salt);
    const { fingerprint, schema } = batch.contract;
    const said = encoder.known.has(fingerprint) ? {} : { schema: JSON.stringify(schema) };
    appends.push({ stream, fingerprint, rows: batch.length, root, ...said });
    bodies.push({ salt, root, tombstones: packFlags(tombstones), batch: encodeBatch(batch) });
  }
  const cursors = request.cursors ?? {};
  const readers = request.readers ?? {};
  checkPositions(readers);
  const body = encodeBody({ appends: bodies, cursors, readers });
  return {
    appends,
    cursors,
    readers,
    expect: request.expect ?? {},
    score: request.priority === "score",
    relaxed: request.durability === "process",
    urgent: request.priority === undefined,
    record: encoder.sealer.keyring.seal(body, boundTo(encoder.sealer.storeId, "record")),
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
