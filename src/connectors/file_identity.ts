import { open, stat } from "node:fs/promises";
import { sha256Hex } from "../base/digest.ts";
import type { ConnectorContext } from "./connector.ts";
import { connectorErrors } from "./errors.ts";

const HEAD_BYTES = 64 << 10;

/** What tells a file from another of the same name: its size and its first 64 KiB, as stored. */
export interface FileIdentity {
  readonly size: number;
  /** Digest of these; "" where rows from the file were erased, which could be guessed from it. */
  readonly head: string;
}

/**
 * The identity of a file that is read on from that position, as it is to be remembered. Throws `file_changed` where it is not
 * the one that was begun, or can't be told to be.
 */
export function readOn(
  from: FileCursor | undefined,
  is: FileIdentity,
  path: string,
  place: string,
  { shown }: ConnectorContext,
): FileIdentity {
  if (!from) return is;
  const isElsewhere = from.path !== undefined && from.path !== (shown?.(path) ?? path);
  requireSame(from.head === "" && isElsewhere ? { ...from, head: "not known" } : from, is, path, place);
  return from.head === "" ? { ...is, head: "" } : is;
}

/** Throws `file_missing` where there is no readable file. */
export async function identify(path: string, place: string): Promise<FileIdentity> {
  try {
    const found = await stat(path);
    if (!found.isFile()) throw new Error("it is not a file");
    const handle = await open(path, "r");
    try {
      const head = new Uint8Array(Math.min(HEAD_BYTES, found.size));
      await handle.read(head, 0, head.length, 0);
      return { size: found.size, head: sha256Hex(head).slice(0, 32) };
    } finally {
      await handle.close();
    }
  } catch (cause) {
    const code = (cause as { code?: string }).code;
    const why =
      code === "ENOENT" ? "it does not exist" : code === "EACCES" ? "access is denied" : (cause as Error).message;
    throw connectorErrors.error("file_missing", `${path} can't be read: ${why}`, { place, cause });
  }
}

/** Throws `file_changed` where the file is not the one it was. */
export function requireSame(was: FileIdentity, is: FileIdentity, path: string, place: string): void {
  if (was.size === is.size && (was.head === "" || was.head === is.head)) return;
  const what =
    was.size === is.size
      ? "other content"
      : is.size > was.size
        ? `grown from ${was.size} to ${is.size} bytes`
        : `shrunk from ${was.size} to ${is.size} bytes`;
  throw connectorErrors.error("file_changed", `${path} is not the file that was being read: ${what}`, { place });
}

/** Where reading goes on. `at` counts bytes of the unpacked text, or rows of a Parquet file. */
export interface FileCursor extends FileIdentity {
  readonly at: number;
  /** The line that `at` stands on, from 1. */
  readonly line: number;
  /** Digest of the CSV header; "" where there is none. */
  readonly header: string;
  readonly done: boolean;
  /** Of a file that was read to its end: its path as it was told. */
  readonly path?: string;
}

export const endOf = (path: string | undefined): Pick<FileCursor, "done" | "path"> =>
  path === undefined ? { done: false } : { done: true, path };

/** Tells of a source that is given another path than the file it has read, where that holds the same. */
export function tellSameContent(
  from: FileCursor,
  path: string,
  place: string,
  { shown, tell }: ConnectorContext,
): void {
  const now = shown?.(path) ?? path;
  if (from.path === undefined || from.path === now) return;
  tell?.(`${now} has the size and the first 64 KiB of ${from.path}, which was read before: nothing is ingested`, {
    source: place.replace(/^sources\./, ""),
  });
}

/** Undefined for "", the beginning. Throws `bad_cursor` on anything that is no cursor of a file. */
export function parseFileCursor(text: string, place: string): FileCursor | undefined {
  if (text === "") return undefined;
  let cursor: Partial<FileCursor> | null = null;
  try {
    cursor = JSON.parse(text) as Partial<FileCursor> | null;
  } catch {
    // told below
  }
  const whole = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0;
  if (!cursor || !whole(cursor.at) || !whole(cursor.line) || !whole(cursor.size) || typeof cursor.head !== "string") {
    throw connectorErrors.error("bad_cursor", "the stored position is no position in a file", { place });
  }
  return cursor as FileCursor;
}

/** Throws `bad_cursor`: the stored position is beyond the end. */
export function beyondEnd(path: string, at: number, unit: string, place: string): never {
  throw connectorErrors.error("bad_cursor", `${path} ends before ${unit} ${at}, where reading was to go on`, { place });
}
