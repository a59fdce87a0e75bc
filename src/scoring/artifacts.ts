import { concatBytes } from "../base/bytes.ts";
import type { Row } from "../base/row.ts";
import { batchOf, rowAt } from "../contract/batch.ts";
import { ARTIFACTS, artifactContract } from "../contract/streams.ts";
import type { Append, Store } from "../store/port.ts";
import { scoringErrors } from "./errors.ts";
import { MANIFEST_FILE, packageDigest } from "./package.ts";

/** A part of a file: small enough that a commit of one holds nobody up. */
const PART_BYTES = 512 * 1024;

/**
 * The files of a package as rows of the artifacts stream, one append for each part: the caller may commit them one by one
 * (small transactions), or together. The package counts as stored once the last one is.
 */
export function storePackage(files: ReadonlyMap<string, Uint8Array>): Append[] {
  const digest = packageDigest(files);
  // The manifest goes last: a package without it is not whole.
  const ordered = [...files].sort(([a], [b]) => Number(a === MANIFEST_FILE) - Number(b === MANIFEST_FILE));
  return ordered.flatMap(([path, bytes]) => {
    const parts = Math.max(1, Math.ceil(bytes.length / PART_BYTES));
    return Array.from({ length: parts }, (_, part): Append => {
      const content = bytes.slice(part * PART_BYTES, (part + 1) * PART_BYTES);
      const rows: Row[] = [{ digest, path, part, parts, bytes: content }];
      return { stream: ARTIFACTS, batch: batchOf(artifactContract, rows) };
    });
  });
}

/** Whether every part of that package is stored and whole. */
export async function hasPackage(store: Store, digest: string): Promise<boolean> {
  const files = await readParts(store, digest);
  return files !== undefined && packageDigest(files) === digest;
}

/**
 * The files of a stored package. Throws `scoring.package_missing_file` where it is not stored whole, and
 * `scoring.package_digest` where its bytes are not those of the digest.
 */
export async function loadPackageFiles(store: Store, digest: string): Promise<Map<string, Uint8Array>> {
  const files = await readParts(store, digest);
  if (files === undefined) {
    const message = `the package ${digest.slice(0, 80)} is not stored, or not whole`;
    throw scoringErrors.error("package_missing_file", message, {
      place: "artifacts",
      fix: "Add the package again with `mlpe promote`, or restore the data directory from a copy that has it.",
    });
  }
  const found = packageDigest(files);
  if (found !== digest) {
    const message = `the stored package ${digest} has the digest ${found}`;
    throw scoringErrors.error("package_digest", message, { place: "artifacts" });
  }
  return files;
}

async function readParts(store: Store, digest: string): Promise<Map<string, Uint8Array> | undefined> {
  const found = new Map<string, (Uint8Array | undefined)[]>();
  for await (const { batch, tombstones } of store.scan(ARTIFACTS, { entity: [digest] })) {
    for (let i = 0; i < batch.length; i++) {
      const { digest: owner, path, part, parts, bytes } = rowAt(batch, i);
      if (owner !== digest || tombstones[i] === 1) continue;
      const list = found.get(path as string) ?? new Array<Uint8Array | undefined>(parts as number).fill(undefined);
      list[part as number] = bytes as Uint8Array;
      found.set(path as string, list);
    }
  }
  const files = new Map<string, Uint8Array>();
  for (const [path, parts] of found) {
    const whole = parts.filter((part) => part !== undefined);
    if (whole.length < parts.length) return undefined;
    files.set(path, concatBytes(whole));
  }
  return files.has(MANIFEST_FILE) ? files : undefined;
}
