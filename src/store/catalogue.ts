import type { Database } from "bun:sqlite";
import { canonicalJson } from "../base/digest.ts";
import { newEd25519Key, type Random } from "../base/random.ts";
import { type Contract, contractOf } from "../contract/contract.ts";
import type { Keyring, WrappedKey } from "../keys/keyring.ts";
import { storeErrors } from "./errors.ts";

/** The format of commit records, segments and the catalogue. */
export const STORE_FORMAT = 1;

const text = new TextEncoder();

/** What every sealed blob is bound to: this store, and what the blob is. */
export function boundTo(storeId: Uint8Array, what: string): Uint8Array {
  const label = text.encode(`mlpe/${STORE_FORMAT}/${what}`);
  const bound = new Uint8Array(storeId.length + label.length);
  bound.set(storeId);
  bound.set(label, storeId.length);
  return bound;
}

export interface Sealer {
  readonly storeId: Uint8Array;
  readonly keyring: Keyring;
}

export function sealJson(sealer: Sealer, what: string, value: unknown): Uint8Array {
  return sealer.keyring.seal(text.encode(canonicalJson(value)), boundTo(sealer.storeId, what));
}

/** The value, or store.damaged naming what does not open. */
export function openJson<T>(sealer: Sealer, what: string, sealed: Uint8Array): T {
  const opened = sealer.keyring.open(sealed, boundTo(sealer.storeId, what));
  if (!opened) throw damaged(what);
  return JSON.parse(new TextDecoder().decode(opened)) as T;
}

export const damaged = (what: string, cause?: unknown) =>
  storeErrors.error("damaged", `${what} is damaged: its bytes are not what was written`, { place: what, cause });

/** The row that says which store this is; undefined where the tables are empty. */
export function readIdentity(database: Database): { format: number; storeId: Uint8Array } | undefined {
  const row = identityRow(database);
  if (!row) return undefined;
  if (row.format !== STORE_FORMAT) {
    throw storeErrors.error("newer_format", `the store has the format ${row.format}, this program ${STORE_FORMAT}`);
  }
  return { format: row.format, storeId: new Uint8Array(row.store_id) };
}

/** Asked before any other table of ours: a changed bit in its definition shows here. */
function identityRow(database: Database): { format: number; store_id: Uint8Array } | null {
  try {
    return database
      .query<{ format: number; store_id: Uint8Array }, []>("SELECT format, store_id FROM store WHERE id = 1")
      .get();
  } catch (cause) {
    const { code, message } = cause as { code?: string; message: string };
    if (code !== "SQLITE_ERROR") throw cause;
    throw storeErrors.error("damaged", `log.db is damaged: its table "store" is not what was made (${message})`, {
      place: "log.db",
      cause,
    });
  }
}

interface KeyRow {
  readonly key_id: number;
  readonly provider: string;
  readonly wrapped: Uint8Array;
  readonly key_check: Uint8Array;
}

export function readWrappedKeys(database: Database): WrappedKey[] {
  const rows = database.query<KeyRow, []>("SELECT * FROM data_keys ORDER BY key_id").all();
  return rows.map((row) => ({
    keyId: row.key_id,
    provider: row.provider,
    wrapped: new Uint8Array(row.wrapped),
    check: new Uint8Array(row.key_check),
  }));
}

/** Takes over the store keys there are now: after a rotation began or ended elsewhere. */
export const refreshKeys = (database: Database, { keyring }: Sealer): Promise<void> =>
  keyring.refresh(readWrappedKeys(database));

/** Whether the keys were rotated by another thread or process since they were unwrapped here. */
export const hasNewKeys = (database: Database, { keyring }: Sealer): boolean =>
  readWrappedKeys(database).some(({ keyId }) => !keyring.knows(keyId));

/**
 * Takes over store keys that came since; whether there were any. What was found wrong before may be right with them. False
 * where they do not open: then that stands.
 */
export async function learnNewKeys(database: Database, sealer: Sealer): Promise<boolean> {
  try {
    if (!hasNewKeys(database, sealer)) return false;
    await refreshKeys(database, sealer);
    return true;
  } catch {
    return false;
  }
}

export function insertWrappedKey(database: Database, key: WrappedKey): void {
  database.run("INSERT INTO data_keys VALUES (?, ?, ?, ?)", [key.keyId, key.provider, key.wrapped, key.check]);
}

/** The secrets that every store has, and how they are made: the salt key, and the key (PKCS #8) that signs checkpoints. */
export const SECRETS = {
  salt: (random: Random) => random.bytes(32),
  signing: newEd25519Key,
} as const satisfies Readonly<Record<string, (random: Random) => Uint8Array>>;
export type SecretName = keyof typeof SECRETS;

export function readSecret(database: Database, sealer: Sealer, name: SecretName): Uint8Array {
  const row = database.query<{ sealed: Uint8Array }, [string]>("SELECT sealed FROM secrets WHERE name = ?").get(name);
  const opened = row && sealer.keyring.open(row.sealed, boundTo(sealer.storeId, `secret ${name}`));
  if (!opened) throw damaged(`secret ${name}`);
  return new Uint8Array(opened);
}

export function insertSecret(database: Database, sealer: Sealer, name: string, secret: Uint8Array): void {
  const sealed = sealer.keyring.seal(secret, boundTo(sealer.storeId, `secret ${name}`));
  database.run("INSERT INTO secrets VALUES (?, ?)", [name, sealed]);
}

export interface StreamState {
  /** Rows ever appended: the sequence that the next one gets. */
  readonly rows: number;
  /** The first sequence that retention left; absent where nothing was dropped. */
  readonly firstSequence?: number;
  /** The contracts (by number) of what retention dropped last, that of the newest row first: what an emptied stream held. */
  readonly droppedContracts?: readonly number[];
  readonly firstCommit: number;
  readonly lastCommit: number;
}

/** What the compacted commits add up to. */
export interface CompactedState {
  readonly generation: number;
  readonly lastCommit: number;
  readonly lastKnownTime: number;
  readonly cursors: Readonly<Record<string, string>>;
  readonly readers: Readonly<Record<string, number>>;
  /** By stream name. */
  readonly streams: Readonly<Record<string, StreamState>>;
  /** The right edge of the audit tree, largest subtree first, in hex. */
  readonly frontier: readonly string[];
  /** The segments there are: a row that was removed shows. */
  readonly segments: readonly number[];
  /** The number that the next segment gets at least, where one that had the highest was dropped. */
  readonly nextSegment?: number;
  /** Something was erased, and the database file may still hold bytes of it in unused places: they go at the next start. */
  readonly scrub?: boolean;
  /** Erasures that a server took on and that are not done: it goes on with them at its next start. */
  readonly erasing?: readonly PendingErasure[];
}

export interface PendingErasure {
  /** Fields and the texts of their values. */
  readonly entity: Readonly<Record<string, string>>;
  /** Also where nothing of it is stored. */
  readonly ahead: boolean;
}

export const EMPTY_STATE: CompactedState = {
  generation: 0,
  lastCommit: 0,
  lastKnownTime: 0,
  cursors: {},
  readers: {},
  streams: {},
  frontier: [],
  segments: [],
};

export function readState(database: Database, sealer: Sealer): CompactedState {
  const row = database
    .query<{ generation: number; sealed: Uint8Array }, []>("SELECT generation, sealed FROM state WHERE id = 1")
    .get();
  if (!row) throw damaged("the catalogue's state row");
  return openJson<CompactedState>(sealer, `state ${row.generation}`, row.sealed);
}

export function writeState(database: Database, sealer: Sealer, state: CompactedState): void {
  const sealed = sealJson(sealer, `state ${state.generation}`, state);
  database.run("INSERT OR REPLACE INTO state VALUES (1, ?, ?)", [state.generation, sealed]);
}

export function readGeneration(database: Database): number {
  return database.query<{ generation: number }, []>("SELECT generation FROM state WHERE id = 1").get()?.generation ?? 0;
}

/** Streams and contracts by the numbers that commits name them with. Grows; nothing in it ever changes. */
export interface Names {
  readonly streamOf: (streamId: number) => string;
  readonly streamIdOf: (stream: string) => number | undefined;
  readonly contractOf: (contractId: number) => Contract;
  readonly contractIdOf: (fingerprint: string) => number | undefined;
  addStream(stream: string): number;
  addContract(fingerprint: string, schema: string): number;
  /** Forgets what a rolled-back transaction added. */
  reset(): void;
}

export function namesOf(database: Database, sealer: Sealer): Names {
  const streams: string[] = [];
  const streamIds = new Map<string, number>();
  const contracts: (() => Contract)[] = []; // parsed when first asked for
  const contractIds = new Map<string, number>();
  const noteStream = (id: number, stream: string) => {
    streams[id] = stream;
    streamIds.set(stream, id);
  };
  const noteContract = (id: number, fingerprint: string, schema: unknown) => {
    let parsed: Contract | undefined;
    contracts[id] = () => {
      parsed ??= { ...contractOf(schema, `stored contract ${id}`), fingerprint };
      return parsed;
    };
    contractIds.set(fingerprint, id);
  };
  /** Another connection may have added some since the last look. */
  const load = () => {
    type Sealed = { id: number; sealed: Uint8Array };
    const more = (table: string, column: string, from: number) =>
      database
        .query<Sealed, [number]>(`SELECT ${column} AS id, sealed FROM ${table} WHERE ${column} >= ? ORDER BY ${column}`)
        .all(from);
    for (const { id, sealed } of more("streams", "stream_id", streams.length)) {
      noteStream(id, openJson<{ stream: string }>(sealer, `stream ${id}`, sealed).stream);
    }
    for (const { id, sealed } of more("contracts", "contract_id", contracts.length)) {
      type Stored = { fingerprint: string; schema: unknown };
      const stored = openJson<Stored>(sealer, `contract ${id}`, sealed);
      noteContract(id, stored.fingerprint, stored.schema);
    }
  };
  const found = <T>(find: () => T | undefined): T | undefined => {
    const first = find();
    if (first !== undefined) return first;
    load();
    return find();
  };
  return {
    streamOf: (id) => found(() => streams[id]) ?? raise(damaged(`stream ${id}`)),
    streamIdOf: (stream) => found(() => streamIds.get(stream)),
    contractOf: (id) => found(() => contracts[id])?.() ?? raise(damaged(`contract ${id}`)),
    contractIdOf: (fingerprint) => found(() => contractIds.get(fingerprint)),
    addStream(stream) {
      const id = streams.length;
      database.run("INSERT INTO streams VALUES (?, ?)", [id, sealJson(sealer, `stream ${id}`, { stream })]);
      noteStream(id, stream);
      return id;
    },
    addContract(fingerprint, schemaJson) {
      const id = contracts.length;
      const schema = JSON.parse(schemaJson) as unknown;
      const sealed = sealJson(sealer, `contract ${id}`, { fingerprint, schema });
      database.run("INSERT INTO contracts VALUES (?, ?)", [id, sealed]);
      noteContract(id, fingerprint, schema);
      return id;
    },
    reset() {
      streams.length = 0;
      streamIds.clear();
      contracts.length = 0;
      contractIds.clear();
    },
  };
}

function raise(error: Error): never {
  throw error;
}

/** The statements of the tail, as rows. */
export interface CommitRow {
  readonly commit_no: number;
  readonly known_time: number;
  readonly ranges: Uint8Array;
  readonly leaf: Uint8Array;
  readonly record: Uint8Array;
}
