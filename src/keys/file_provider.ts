import {
  closeSync,
  existsSync,
  fstatSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { concatBytes } from "../base/bytes.ts";
import type { Random } from "../base/random.ts";
import { keyErrors } from "./errors.ts";
import type { KeyProvider } from "./provider.ts";
import { KEY_BYTES, NONCE_BYTES, open, seal } from "./xaes.ts";

const ADDITIONAL = new TextEncoder().encode("mlpe/data-key/1");

export interface KeyFile {
  readonly path: string;
  /** The data directory, which must not hold the key file. */
  readonly dataDirectory: string;
  /** Makes the file if it is not there: only for a data directory that is new as well. */
  readonly create: boolean;
}

/**
 * A wrapping key in a file of 32 bytes, mode 0600, outside the data directory.
 * Throws keys.missing_key, keys.bad_key_file or keys.key_inside_data; no message holds a byte of the key.
 */
export function fileKeyProvider(file: KeyFile, random: Random): KeyProvider {
  const path = resolve(file.path);
  refuseInside(path, resolve(file.dataDirectory));
  const key = ofKeyFile(path, () => {
    if (!isThere(path)) {
      if (!file.create) throw keyErrors.error("missing_key", `there is no key file ${path}`, { place: path });
      makeKeyFile(path, random);
    }
    return readKeyFile(path);
  });
  return {
    name: "file",
    wrap: async (dataKey) => {
      const nonce = random.bytes(NONCE_BYTES);
      return concatBytes([nonce, seal(key, nonce, dataKey, ADDITIONAL)]);
    },
    unwrap: async (wrapped) => {
      const opened =
        wrapped.length < NONCE_BYTES
          ? undefined
          : open(key, wrapped.subarray(0, NONCE_BYTES), wrapped.subarray(NONCE_BYTES), ADDITIONAL);
      if (!opened || opened.length !== KEY_BYTES) {
        const message = `the key in ${path} does not open this data directory: another key, or an altered table data_keys`;
        throw keyErrors.error("wrong_key", message, { place: path });
      }
      return opened;
    },
  };
}

/** What the operating system refuses is said of the key file: the data directory may be as it should. */
function ofKeyFile<Result>(path: string, work: () => Result): Result {
  try {
    return work();
  } catch (cause) {
    const { code } = cause as { code?: string };
    if (code === undefined || code.includes(".")) throw cause;
    const why = REFUSED[code] ?? `the operating system answers ${code}`;
    throw keyErrors.error("bad_key_file", `the key file ${path} can't be read or made: ${why}`, { place: path, cause });
  }
}

const REFUSED: Readonly<Record<string, string>> = {
  EACCES: "this user may not",
  EPERM: "this user may not",
  EROFS: "its file system is read-only",
  ENOSPC: "its disk is full",
  ENOTDIR: "its folder is a file",
};

/** Throws where this user may not look: a key may well be there. */
function isThere(path: string): boolean {
  try {
    statSync(path);
    return true;
  } catch (cause) {
    if ((cause as { code: string }).code === "ENOENT") return false;
    throw cause;
  }
}

function refuseInside(path: string, dataDirectory: string): void {
  const inside = (child: string, parent: string) => {
    const way = relative(parent, child);
    return way === "" || !(way.startsWith("..") || way.startsWith("/"));
  };
  // Links are followed, so that the rule can't be broken through one.
  if (inside(path, dataDirectory) || inside(realPath(path), realPath(dataDirectory))) {
    throw keyErrors.error("key_inside_data", `the key file ${path} lies inside the data directory ${dataDirectory}`, {
      place: path,
    });
  }
}

/** The path with links resolved, as far as it exists. */
function realPath(path: string): string {
  if (existsSync(path)) return realpathSync(path);
  const parent = dirname(path);
  return parent === path ? path : join(realPath(parent), path.slice(parent.length));
}

/** The file gets its name when it is whole and synced: a power cut leaves all of it or nothing. */
function makeKeyFile(path: string, random: Random): void {
  const folder = dirname(path);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const temporary = `${path}.${Buffer.from(random.bytes(4)).toString("hex")}.tmp`;
  const handle = openSync(temporary, "wx", 0o600);
  try {
    writeSync(handle, random.bytes(KEY_BYTES));
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
  try {
    linkSync(temporary, path); // not a renaming: a key that another process made meanwhile stays
  } catch (cause) {
    if (!NO_LINKS.has((cause as { code?: string }).code ?? "")) throw cause;
    renameSync(temporary, path);
  }
  rmSync(temporary, { force: true });
  const directory = openSync(folder, "r");
  fsyncSync(directory);
  closeSync(directory);
}

/** What file systems without links answer. */
const NO_LINKS: ReadonlySet<string> = new Set(["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS"]);

function readKeyFile(path: string): Uint8Array {
  const handle = openSync(path, "r");
  try {
    const status = fstatSync(handle);
    const refuse = (message: string) => keyErrors.error("bad_key_file", message, { place: path });
    if (!status.isFile()) throw refuse(`${path} is not a regular file`);
    if ((status.mode & 0o077) !== 0) {
      throw refuse(`${path} has the mode 0${(status.mode & 0o777).toString(8)}: others could read the key`);
    }
    if (status.size !== KEY_BYTES) throw refuse(`${path} holds ${status.size} bytes, not ${KEY_BYTES}`);
    const key = new Uint8Array(KEY_BYTES);
    readSync(handle, key, 0, KEY_BYTES, 0);
    return key;
  } finally {
    closeSync(handle);
  }
}
