import type { Database } from "bun:sqlite";
import { closeSync, existsSync, fstatSync, mkdirSync, openSync, readdirSync, readSync, unlinkSync } from "node:fs";
import { type FileHandle, open as openFile } from "node:fs/promises";
import { join } from "node:path";
import { fromHex, toHex } from "../base/bytes.ts";
import type { Random } from "../base/random.ts";
import { othersTurn } from "../base/turn.ts";
import type { ChunkKeys } from "../keys/keyring.ts";
import { NONCE_BYTES } from "../keys/xaes.ts";
import { boundTo, damaged, openJson, type Sealer, sealJson } from "./catalogue.ts";
import { storeErrors } from "./errors.ts";
import { syncDirectory } from "./segment_write.ts";

/** Parts that are read, or packed, ahead of the one that is used. */
const PARTS_AHEAD = 4;
/** Parts of one fold, and bytes of one of them before packing. */
const PARTS_MAX = 16_384;
const PART_BYTES_MAX = 4 << 20;
/** Saved folds of different names; of each name there is one. */
const FOLDS_MAX = 8;

const foldsPath = (directory: string) => join(directory, "folds");

/** What a saved fold is found and told out of date by. */
export interface FoldName {
  readonly name: string;
  /** Says what was folded and how its parts are laid out: a fold with another tag is of no use. */
  readonly tag: string;
}

/** A fold that was saved; its parts can be read once, in order, and throw store.damaged where one does not open. */
export interface SavedFold {
  /** The last commit that is in it. */
  readonly upTo: number;
  readonly parts: AsyncIterable<Uint8Array>;
}

/** A file that was written. All of it but the file's name is sealed in its row: without the nonce the file is shredded. */
export interface WrittenFold extends FoldName {
  readonly file: string;
  readonly upTo: number;
  readonly keyId: number;
  readonly nonce: string;
  /** Sealed length of each part. */
  readonly lengths: readonly number[];
}

/** A row of the table `folds`; no fold where what it says does not open. */
interface FoldRow {
  readonly id: number;
  readonly file: string;
  readonly fold: WrittenFold | undefined;
}

const whatOf = (file: string) => `fold ${file}`;
const rowOf = (id: number, file: string) => `fold row ${id} ${file}`;
const partOf = (storeId: Uint8Array, file: string, part: number) => boundTo(storeId, `fold ${file} part ${part}`);

/**
 * Writes and fsyncs the file of a fold: each part packed (beside this thread) and sealed on its own, so that no part takes
 * this thread longer than its sealing. It is not part of the store until its row is kept. Throws store.failed_fold.
 */
export async function writeFold(
  directory: string,
  sealer: Sealer,
  random: Random,
  fold: FoldName & { readonly upTo: number },
  parts: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): Promise<WrittenFold> {
  const file = toHex(random.bytes(16));
  const nonce = random.bytes(NONCE_BYTES);
  const { currentKeyId: keyId } = sealer.keyring;
  const keys = sealer.keyring.chunks(keyId, nonce);
  const path = join(foldsPath(directory), file);
  let out: FileHandle | undefined;
  await othersTurn(); // the caller has copied what it saves
  try {
    mkdirSync(foldsPath(directory), { recursive: true, mode: 0o700 });
    out = await openFile(path, "wx", 0o600);
    const lengths = await writeParts(out, parts, keys, (part) => partOf(sealer.storeId, file, part));
    await out.sync();
    await out.close();
    out = undefined;
    syncDirectory(foldsPath(directory));
    return { ...fold, file, keyId, nonce: toHex(nonce), lengths };
  } catch (cause) {
    await out?.close().catch(() => {});
    removeFold(directory, file);
    throw notSaved(fold, cause);
  }
}

function notSaved({ name }: FoldName, cause: unknown): Error {
  const { code, message } = cause as { code?: string; message: string };
  const text = `the fold "${name}" could not be saved: ${code ?? message}`;
  return storeErrors.error("failed_fold", text, { place: name, cause });
}

async function writeParts(
  out: FileHandle,
  parts: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  keys: ChunkKeys,
  bound: (part: number) => Uint8Array,
): Promise<number[]> {
  const lengths: number[] = [];
  const packing: Promise<Uint8Array>[] = [];
  const put = async () => {
    const sealed = keys.seal(lengths.length, await packing.shift()!, bound(lengths.length));
    lengths.push(sealed.length);
    if (lengths.length > PARTS_MAX) throw new RangeError(`it has more than ${PARTS_MAX} parts`);
    for (let at = 0; at < sealed.length; ) at += (await out.write(sealed, at, sealed.length - at)).bytesWritten;
  };
  for await (const part of parts) {
    if (part.length > PART_BYTES_MAX) throw new RangeError(`a part has ${part.length} bytes`);
    const packed = Bun.zstdCompress(part, { level: 1 });
    packed.catch(() => {}); // it is awaited in its turn, if nothing fails before
    packing.push(packed);
    if (packing.length >= PARTS_AHEAD) await put();
    await othersTurn();
  }
  while (packing.length > 0) await put();
  return lengths;
}

/**
 * The saved fold of that name, if it is of use: of the same tag, and not beyond the `head` of this log. `passedOver` hears
 * why one is not used; whoever asked folds anew.
 */
export async function openFold(
  directory: string,
  database: Database,
  sealer: Sealer,
  { name, tag }: FoldName,
  head: number,
  passedOver: (why: string) => void,
): Promise<SavedFold | undefined> {
  for (const { file, fold } of foldRows(database, sealer)) {
    if (!fold) passedOver(`the row of ${whatOf(file)} does not open`);
    if (fold?.name !== name) continue;
    if (fold.tag !== tag) passedOver("it is of other views or another version");
    else if (fold.upTo > head) passedOver(`it goes up to commit ${fold.upTo}, and the log ends with ${head}`);
    else {
      try {
        const handle = await openFile(join(foldsPath(directory), file), "r");
        return { upTo: fold.upTo, parts: readParts(handle, fold, sealer) };
      } catch (cause) {
        passedOver((cause as { code?: string }).code === "ENOENT" ? "its file is gone" : "its file can't be read");
      }
    }
  }
  return undefined;
}

/** Reads and unpacks some parts ahead: unpacking runs beside this thread. */
async function* readParts(
  handle: FileHandle,
  { file, keyId, nonce, lengths }: WrittenFold,
  sealer: Sealer,
): AsyncGenerator<Uint8Array> {
  const keys = sealer.keyring.chunks(keyId, fromHex(nonce));
  let at = 0;
  let next = 0;
  const ahead: Promise<Uint8Array>[] = [];
  let turn: Promise<void> = Promise.resolve();
  const begin = () => {
    const [part, position] = [next++, at];
    at += lengths[part]!;
    const before = turn;
    const read = readPart(handle, position, lengths[part]!);
    // Several may be read at once, but they are opened one a turn.
    turn = read.then(
      () => before.then(othersTurn),
      () => {},
    );
    const unpacked = Promise.all([read, before]).then(([sealed]) => {
      const opened = keys.open(part, sealed, partOf(sealer.storeId, file, part));
      if (!opened) throw damaged(`${whatOf(file)}, part ${part}`);
      return Bun.zstdDecompress(opened);
    });
    unpacked.catch(() => {}); // it is awaited in its turn, if nothing fails before
    ahead.push(unpacked);
  };
  try {
    while (next < Math.min(PARTS_AHEAD, lengths.length)) begin();
    while (ahead.length > 0) {
      const part = await ahead.shift()!;
      if (next < lengths.length) begin();
      yield part;
    }
  } finally {
    await Promise.allSettled(ahead);
    await handle.close();
  }
}

async function readPart(handle: FileHandle, position: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  for (let done = 0; done < length; ) {
    const { bytesRead } = await handle.read(bytes, done, length - done, position + done);
    if (bytesRead === 0) return bytes.subarray(0, done); // it does not open then
    done += bytesRead;
  }
  return bytes;
}

/** The log thread's side: which folds there are. */
export interface FoldKeeper {
  /** To be handed to `keep`: tells whether folds were forgotten while one was being made. */
  begin(): number;
  /** Refers to a written file, instead of the fold of the same name before it. False where it came too late. */
  keep(fold: WrittenFold, begun: number): boolean;
  /**
   * Forgets every saved fold, and those that are being made: what they hold may have been erased. Part of the caller's
   * transaction; the answer removes the files, once that is committed.
   */
  forget(): () => void;
  /** Removes every saved fold: they are under a key that is retired. */
  drop(): void;
}

/** Sweeps files without a row and rows without a file, then keeps folds. */
export function foldKeeper(directory: string, database: Database, sealer: Sealer): FoldKeeper {
  let forgotten = 0;
  const drop = database.query("DELETE FROM folds WHERE file = ?");
  const remove = (files: readonly string[]) => {
    for (const file of files) removeFold(directory, file);
  };
  const dropRows = () => {
    const files = foldRows(database, sealer).map(({ file }) => file);
    database.run("DELETE FROM folds");
    return () => remove(files);
  };
  const there = new Set(existsSync(foldsPath(directory)) ? readdirSync(foldsPath(directory)) : []);
  for (const { file } of foldRows(database, sealer)) if (!there.delete(file)) drop.run(file);
  remove([...there]);
  return {
    begin: () => forgotten,
    keep(fold, begun) {
      if (begun !== forgotten) {
        remove([fold.file]);
        return false;
      }
      if (fold.keyId !== sealer.keyring.currentKeyId) {
        remove([fold.file]);
        const message = `the fold "${fold.name}" could not be saved: the store got new keys meanwhile`;
        throw storeErrors.error("failed_fold", message, { place: fold.name });
      }
      const rows = foldRows(database, sealer);
      const others = rows.filter((row) => row.fold && row.fold.name !== fold.name);
      const kept = new Set(others.slice(-(FOLDS_MAX - 1)));
      const gone = rows.filter((row) => !kept.has(row)).map(({ file }) => file);
      const id = (rows.at(-1)?.id ?? 0) + 1;
      const sealed = sealJson(sealer, rowOf(id, fold.file), fold);
      try {
        database.transaction(() => {
          for (const file of gone) drop.run(file);
          database.run("INSERT INTO folds VALUES (?, ?, ?)", [id, fold.file, sealed]);
        })();
      } catch (cause) {
        remove([fold.file]);
        throw notSaved(fold, cause);
      }
      remove(gone);
      return true;
    },
    forget() {
      forgotten++;
      return dropRows();
    },
    drop: () => dropRows()(),
  };
}

/** Names the saved folds that do not open, part by part. They are no loss: without them a start folds anew. */
export function checkFolds(
  directory: string,
  database: Database,
  sealer: Sealer,
  found: (place: string, message: string) => void,
): void {
  for (const { file, fold } of foldRows(database, sealer)) {
    if (!fold) found(whatOf(file), "its row does not open");
    else for (const message of damageOf(directory, fold, sealer)) found(whatOf(file), message);
  }
}

function* damageOf(directory: string, fold: WrittenFold, sealer: Sealer): Generator<string> {
  const { file } = fold;
  const path = join(foldsPath(directory), file);
  if (!existsSync(path)) return; // deleting a fold is allowed
  const keys = sealer.keyring.chunks(fold.keyId, fromHex(fold.nonce));
  const handle = openSync(path, "r");
  try {
    let at = 0;
    for (const [part, length] of fold.lengths.entries()) {
      const bytes = new Uint8Array(length);
      const read = readSync(handle, bytes, 0, length, at);
      if (!keys.open(part, bytes.subarray(0, read), partOf(sealer.storeId, file, part))) {
        yield `part ${part} is damaged; delete the file and the next start folds anew`;
      }
      at += length;
    }
    if (fstatSync(handle).size !== at) yield "it is longer than what was written";
  } finally {
    closeSync(handle);
  }
}

/** Oldest first; none in a store that is only read and was not migrated yet. */
function foldRows(database: Database, sealer: Sealer): FoldRow[] {
  if (!database.query("SELECT 1 FROM sqlite_master WHERE name = 'folds'").get()) return [];
  type Sealed = { fold_id: number; file: string; sealed: Uint8Array };
  const rows = database.query<Sealed, []>("SELECT * FROM folds ORDER BY fold_id").all();
  return rows.map(({ fold_id: id, file, sealed }) => ({ id, file, fold: opened(sealer, rowOf(id, file), sealed) }));
}

function opened(sealer: Sealer, what: string, sealed: Uint8Array): WrittenFold | undefined {
  try {
    return openJson<WrittenFold>(sealer, what, sealed);
  } catch {
    return undefined;
  }
}

function removeFold(directory: string, file: string): void {
  const path = join(foldsPath(directory), file);
  if (existsSync(path)) unlinkSync(path);
}
