import { closeSync, fsyncSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { fromHex, toHex } from "../base/bytes.ts";
import { FIRST_STREAM_KEY } from "../keys/keyring.ts";
import { NONCE_BYTES } from "../keys/xaes.ts";
import type { Names, Sealer } from "./catalogue.ts";
import { damagedSegment } from "./damage.ts";
import { segmentsPath } from "./database.ts";
import { chunkBinder } from "./segment_format.ts";
import type { SegmentInfo } from "./segment_info.ts";
import { openSegment } from "./segment_read.ts";
import type { SegmentTarget } from "./segment_write.ts";
import { keyForSegment, type StreamKeyRow } from "./stream_keys.ts";

/** Tells the segments that are not under a current key: those of a store key, and of stream keys that an old one seals. */
export function retiredIn(rows: readonly StreamKeyRow[], { keyring }: Sealer): (info: SegmentInfo) => boolean {
  const current = new Set(rows.filter(({ sealed }) => sealed[0] === keyring.currentKeyId).map(({ keyId }) => keyId));
  return ({ keyId }) => keyId < FIRST_STREAM_KEY || !current.has(keyId);
}

/**
 * Writes the file anew under its stream's current key, chunk by chunk: what is inside stays as it is, bit for bit. Gives
 * the row for the new file, which is fsynced. Throws store.damaged where a chunk does not open; then nothing was made.
 */
export async function resealSegment(info: SegmentInfo, target: SegmentTarget, names: Names): Promise<SegmentInfo> {
  const { directory, sealer, random } = target;
  const { fingerprint } = names.contractOf(info.contractId);
  const opened = openSegment(directory, info, sealer, names);
  opened.close();
  const lengths = [...opened.footer.chunkLengths, info.bytes - info.footerAt];
  const old = sealer.keyring.chunks(info.keyId, fromHex(info.nonce));
  const key = keyForSegment(sealer, info.stream, info.lastKnownTime, random);
  const nonce = random.bytes(NONCE_BYTES);
  const fresh = sealer.keyring.chunks(key.keyId, nonce);
  const file = toHex(random.bytes(16));
  const oldBound = chunkBinder(sealer.storeId, info.file, info.stream, fingerprint);
  const bound = chunkBinder(sealer.storeId, file, info.stream, fingerprint);
  const path = join(segmentsPath(directory), file);
  const to = openSync(path, "wx", 0o600);
  let from: number | undefined;
  try {
    from = openSync(join(segmentsPath(directory), info.file), "r");
    for (const [chunk, length] of lengths.entries()) {
      const sealed = new Uint8Array(length);
      const plain = readSync(from, sealed) === length ? old.open(chunk, sealed, oldBound(chunk)) : undefined;
      if (!plain) throw damagedSegment(info, `chunk ${chunk} is not what was written`);
      const again = fresh.seal(chunk, plain, bound(chunk));
      for (let at = 0; at < again.length; ) at += writeSync(to, again, at);
      await target.pause();
    }
    fsyncSync(to);
    return { ...info, file, keyId: key.keyId, sealedKey: key.sealed, nonce: toHex(nonce) };
  } catch (cause) {
    rmSync(path, { force: true });
    throw cause;
  } finally {
    if (from !== undefined) closeSync(from);
    closeSync(to);
  }
}
