import { fromBase64, toBase64 } from "../base/bytes.ts";
import type { World } from "../base/world.ts";
import { decodeBatch, encodeBatch } from "../contract/codec.ts";
import { contractOf } from "../contract/contract.ts";
import { BACKUPS, LINEAGE, VERDICTS } from "../contract/streams.ts";
import type { Append, CommitRequest, Receipt, Store } from "../store/port.ts";
import { type Engine, openEngine, withEngine } from "./engine.ts";
import { openProject, type ProjectLocation } from "./project.ts";
import { parseObject, requestErrors } from "./requests.ts";
import { askServer, runningServer, type ServerAddress } from "./running.ts";

/** Where a running server takes commits from commands. */
const COMMITS_PATH = "/v1/commits";

/** A commit as JSON: batches in the one codec, beside their schemas. */
interface SentCommit {
  readonly appends: readonly {
    readonly stream: string;
    readonly schema: unknown;
    readonly fingerprint: string;
    readonly batch: string;
    readonly tombstones?: string;
  }[];
  readonly readers?: Readonly<Record<string, number>>;
  readonly expect?: CommitRequest["expect"];
}

/**
 * Opens, works, and closes, for commands that write a little after much reading. Beside a running server the store is only
 * read, and each commit is made by the server, the one writer; where none runs the store is opened for writing.
 */
export async function withWriter<Result>(
  world: World,
  location: ProjectLocation,
  work: (engine: Engine) => Promise<Result>,
): Promise<Result> {
  const server = await runningServer(world, await openProject(world, location));
  const engine = await openEngine(world, location, server === undefined ? "write" : "read");
  try {
    if (server === undefined) return await work(engine);
    const commit = (request: CommitRequest) => commitThrough(server, request);
    return await work({ ...engine, store: { ...engine.store, commit } });
  } finally {
    await engine.close();
  }
}

/** Asks the server that has the store open, or does the work itself where none runs. */
export async function throughServer<Answer>(
  world: World,
  location: ProjectLocation,
  path: string,
  body: unknown,
  alone: (engine: Engine) => Promise<Answer>,
): Promise<Answer> {
  const server = await runningServer(world, await openProject(world, location));
  if (server !== undefined) return (await askServer(server, path, body)) as Answer;
  return withEngine(world, location, "write", alone);
}

async function commitThrough(server: ServerAddress, request: CommitRequest): Promise<Receipt> {
  const appends = request.appends.map(({ stream, batch, tombstones }) => ({
    stream,
    schema: batch.contract.schema,
    fingerprint: batch.contract.fingerprint,
    batch: toBase64(encodeBatch(batch)),
    ...(tombstones === undefined ? {} : { tombstones: toBase64(tombstones) }),
  }));
  const { readers, expect } = request;
  const sent: SentCommit = { appends, ...(readers ? { readers } : {}), ...(expect ? { expect } : {}) };
  return (await askServer(server, COMMITS_PATH, sent)) as Receipt;
}

const TAKEN: ReadonlySet<string> = new Set([VERDICTS, LINEAGE, BACKUPS]);

/** What commands make beside a server: scores of a period, verdicts and the lineage of both, and word of backups. */
const taken = (stream: string): boolean => TAKEN.has(stream) || stream.startsWith("scores/");

/**
 * Commits what a command sent. Its rows are checked as bytes and by the fingerprint of their contract; what they say is the
 * command's word, and the token its right. Throws `request.bad_request` or `store.stale_writer`.
 */
export function commitSent(store: Store, body: string): Promise<Receipt> {
  const { appends, readers, expect } = parseObject(body) as unknown as SentCommit;
  if (!Array.isArray(appends)) throw bad("appends is no list");
  return store.commit({
    appends: appends.map(readAppend),
    ...(readers ? { readers } : {}),
    ...(expect ? { expect } : {}),
    priority: "pipeline",
  });
}

function readAppend({ stream, schema, fingerprint, batch, tombstones }: SentCommit["appends"][number]): Append {
  if (typeof stream !== "string" || !taken(stream))
    throw bad(`${String(stream).slice(0, 80)} is not written by commands`);
  const contract = contractOf(schema, stream);
  if (contract.fingerprint !== fingerprint) throw bad(`the contract of ${stream} has another fingerprint`);
  try {
    const rows = decodeBatch(fromBase64(batch), contract);
    const flags = tombstones === undefined ? undefined : fromBase64(tombstones);
    if (flags !== undefined && flags.length !== rows.length) throw new RangeError("tombstones");
    return { stream, batch: rows, ...(flags === undefined ? {} : { tombstones: flags }) };
  } catch (cause) {
    if (cause instanceof RangeError) throw bad(`the rows of ${stream} can't be decoded`);
    throw cause;
  }
}

const bad = (message: string): Error =>
  requestErrors.error("bad_request", message, {
    place: "commit",
    fix: "Use the version of `mlpe` that the server has; only its own commands send commits.",
  });
