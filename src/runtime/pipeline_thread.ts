import { MlpeError } from "../base/errors.ts";
import type { World } from "../base/world.ts";
import { isPushConnector, type PushConnector } from "../connectors/http_push.ts";
import type { PendingErasure } from "../store/catalogue.ts";
import type { EntityName } from "../store/erase_select.ts";
import { storeErrors } from "../store/errors.ts";
import { isFull } from "../store/full.ts";
import { interrupted, isInterruption } from "../store/pending.ts";
import { fullError, type SpaceReport } from "../store/space.ts";
import { connectStore, type LogStore } from "../store/store.ts";
import { cacheOf, type Engine, engineOver } from "./engine.ts";
import { type ErasingServer, eraseFrom, type SignedReceipt } from "./erase.ts";
import { runtimeErrors } from "./errors.ts";
import { onceThereIsRoom } from "./full_disk.ts";
import { postStep, scheduledJobs } from "./jobs.ts";
import { failureLineage } from "./lineage.ts";
import { openProject, type ProjectLocation } from "./project.ts";
import type { RetentionAmounts } from "./retain.ts";
import { type Pipeline, pipelineOf } from "./steps.ts";
import { supervise } from "./supervise.ts";

/** What the serving thread tells the pipeline thread. */
export type ToPipeline =
  | { readonly kind: "open"; readonly location: ProjectLocation; readonly store: MessagePort }
  | {
      readonly kind: "push";
      readonly id: number;
      readonly source: string;
      readonly body: string;
      readonly key: string | undefined;
    }
  | {
      readonly kind: "erase";
      readonly id: number;
      readonly entity: EntityName;
      readonly ahead: boolean;
    }
  /** Requests are answered from the log as it is after the commit that `erased` told of. */
  | { readonly kind: "renewed"; readonly id: number }
  /** The serving thread is ready: from here on the two share the processor. */
  | { readonly kind: "work" }
  /** A stop comes: an erasure ends at its next safe point, and goes on at the next start. */
  | { readonly kind: "interrupt" }
  | { readonly kind: "stop" };

/** What it hears back. */
export type FromPipeline =
  | { readonly kind: "opened" }
  | { readonly kind: "stopped" }
  | { readonly kind: "answered"; readonly id: number; readonly outcome: object }
  | { readonly kind: "refused"; readonly id: number; readonly error: PlainError }
  | { readonly kind: "erased"; readonly id: number; readonly commitNo: number }
  | { readonly kind: "retained"; readonly amounts: RetentionAmounts }
  | { readonly kind: "log"; readonly message: string; readonly facts: object }
  | { readonly kind: "step_failed"; readonly step: string; readonly error: PlainError; readonly retryInMs: number };

/** An error that can cross threads. */
export type PlainError = Pick<MlpeError, "code" | "kind" | "message" | "place" | "fix" | "retryable">;

function plainError(error: unknown): PlainError {
  const known = error instanceof MlpeError ? error : internal(error);
  const { code, kind, message, place, fix, retryable } = known;
  return { code, kind, message, place, fix, retryable };
}

const internal = (error: unknown) =>
  runtimeErrors.error("step_failed", error instanceof Error ? error.message : String(error), { cause: error });

export function errorFrom({ code, kind, message, place, fix, retryable }: PlainError): MlpeError {
  return new MlpeError(code, { kind, meaning: message, fix, retryable }, message, { place });
}

export interface PipelineThread {
  receive(message: ToPipeline): void;
}

interface State {
  stopped: boolean;
  interrupted: boolean;
  /** Ends the wait for work. */
  wake: () => void;
  pipeline: Pipeline | undefined;
  /** What was measured of the disk last. */
  space: SpaceReport | undefined;
  /** What is to run between two steps. */
  readonly quiet: (() => Promise<void>)[];
  /** By the id of an erasure: called once requests are answered from the log as it is. */
  readonly renewals: Map<number, () => void>;
  engine: Engine | undefined;
  /** The erasure under way: one at a time. */
  erasing: Promise<unknown>;
  /** Resolves once work may begin. */
  readonly begun: PromiseWithResolvers<void>;
}

type Send = (message: FromPipeline) => void;

/** The pipeline thread: ingestion, fusion, labels, scheduled jobs and lineage, committing through the log thread. */
export function pipelineThread(world: World, post: Send): PipelineThread {
  const state: State = {
    stopped: false,
    interrupted: false,
    wake: () => {},
    pipeline: undefined,
    space: undefined,
    quiet: [],
    renewals: new Map(),
    engine: undefined,
    erasing: Promise.resolve(),
    begun: Promise.withResolvers(),
  };
  return {
    receive(message) {
      if (message.kind === "open") {
        open(world, state, message, post).catch((error) => {
          post({ kind: "step_failed", step: "pipeline", error: plainError(error), retryInMs: -1 });
        });
      } else if (message.kind === "push") void push(state, message, post);
      else if (message.kind === "erase") void erase(state, message, post);
      else if (message.kind === "renewed") state.renewals.get(message.id)?.();
      else if (message.kind === "interrupt") interrupt(state);
      else {
        state.stopped ||= message.kind === "stop";
        state.begun.resolve();
        state.wake();
      }
    },
  };
}

/** Opens the project and the store's far end, works until stopped, and closes. */
async function open(
  world: World,
  state: State,
  message: Extract<ToPipeline, { kind: "open" }>,
  post: Send,
): Promise<void> {
  const project = await openProject(world, message.location);
  const { clock, random } = world;
  const { keys } = project.config;
  const store = await connectStore(
    { directory: project.dataDirectory, keys, clock, random, cacheBytes: cacheOf(project) },
    message.store,
  );
  const engine = engineOver(world, project, store);
  state.pipeline = pipelineOf(engine, {}, (message, facts) => post({ kind: "log", message, facts }));
  state.engine = engine;
  store.onSpace((report) => heed(state, project.dataDirectory, report));
  post({ kind: "opened" });
  await state.begun.promise;
  store.pending.erasures().forEach((pending, i) => takeUp(state, engine, pending, -1 - i, post));
  await work(engine, state, state.pipeline, post);
  interrupt(state);
  await runQuiet(state);
  await state.erasing;
  await state.pipeline.close();
  await store.close();
  post({ kind: "stopped" });
}

async function work(engine: Engine, state: State, { steps }: Pipeline, post: Send): Promise<void> {
  const log = (message: string, facts: object) => post({ kind: "log", message, facts });
  const jobs = scheduledJobs(engine, { log, retained: (amounts) => post({ kind: "retained", amounts }) });
  const lineage = postStep(engine, log);
  await supervise({
    steps: [...steps, ...jobs.steps, ...(lineage ? [lineage] : [])],
    clock: engine.world.clock,
    stopped: () => state.stopped,
    held: ({ waitsBelow = "hard" }) => {
      const { state: now } = state.space ?? { state: "ok" };
      return now === "hard" || (now === "soft" && waitsBelow === "soft");
    },
    failed: async (step, error, retryInMs, startedAt) => {
      const told = plainError(error);
      post({ kind: "step_failed", step: step.name, error: told, retryInMs });
      const message = `${told.code}: ${told.message}`;
      const lineage = failureLineage(engine.world, engine.project, step, startedAt, message);
      // What failed may be the store itself: then the log line and the metric are all there is.
      if (lineage) await engine.store.commit({ appends: [lineage], priority: "pipeline" }).catch(() => {});
    },
    between: () => runQuiet(state),
    wait: (milliseconds) =>
      new Promise((resolve) => {
        if (state.quiet.length > 0) return resolve();
        const timer = setTimeout(resolve, milliseconds);
        state.wake = () => {
          clearTimeout(timer);
          resolve();
        };
      }),
  });
  jobs.stop();
}

/** Pushed rows that wait are refused once the disk is full: who sent them shall keep them. */
function heed(state: State, directory: string, report: SpaceReport): void {
  const before = state.space?.state;
  state.space = report;
  if (report.state === before) return;
  state.wake();
  if (report.state !== "hard") return;
  for (const connector of pushConnectors(state)) connector.refuse(fullError(directory, report));
}

const pushConnectors = (state: State): PushConnector[] =>
  [...(state.pipeline?.connectors.values() ?? [])].filter(isPushConnector);

async function push(state: State, message: Extract<ToPipeline, { kind: "push" }>, post: Send): Promise<void> {
  const { id, source, body, key } = message;
  try {
    const connector = state.pipeline?.connectors.get(source);
    if (!connector || !isPushConnector(connector)) {
      const text = `there is no source "${source.slice(0, 80)}" that takes pushed rows`;
      throw runtimeErrors.error("unknown_source", text, { place: "source" });
    }
    if (state.space?.state === "hard") throw fullError("data", state.space);
    const pushed = connector.push({ body: new TextEncoder().encode(body), ...(key === undefined ? {} : { key }) });
    state.wake();
    post({ kind: "answered", id, outcome: await pushed });
  } catch (error) {
    post({ kind: "refused", id, error: plainError(error) });
  }
}

/** One erasure after another: the long part beside the steps, the last between two of them. */
async function erase(state: State, message: Extract<ToPipeline, { kind: "erase" }>, post: Send): Promise<void> {
  const { id, entity, ahead } = message;
  try {
    const { engine } = state;
    if (!engine || state.stopped || state.interrupted) {
      throw runtimeErrors.error("not_ready", "the server is starting or stopping");
    }
    const pending = { entity, ahead };
    await engine.store.pending.pend(pending);
    try {
      post({ kind: "answered", id, outcome: await eraseNext(state, engine, pending, id, post) });
    } catch (error) {
      if (isFull(error)) takeUp(state, engine, pending, id, post, "full");
      throw isFull(error) ? waitsForRoom(error) : error;
    }
  } catch (error) {
    post({ kind: "refused", id, error: plainError(error) });
  }
}

const waitsForRoom = (cause: unknown): Error =>
  storeErrors.error("full", `${(cause as Error).message}: the erasure is done once there is room`, { cause });

/** What a stop, a crash or a full disk left. The receipt is told in the log: who asked is gone. */
function takeUp(state: State, engine: Engine, pending: PendingErasure, id: number, post: Send, full?: "full"): void {
  const log = (message: string, facts: object) => post({ kind: "log", message, facts });
  const act = () => {
    log("an erasure is taken up again", { fields: Object.keys(pending.entity) });
    return eraseNext(state, engine, pending, id, post);
  };
  const done = full ? onceThereIsRoom(act, () => state.interrupted) : act();
  done.then(
    (receipt) => log("the erasure is done", { receipt }),
    (error) => {
      if (isInterruption(error) && full) return; // the next start takes it up
      if (isFull(error)) {
        log("the disk is full: the erasure waits for room", {});
        return takeUp(state, engine, pending, id, post, "full");
      }
      const { code, message } = plainError(error);
      const isDone = code === "store.nothing_to_erase"; // all but the end of it was done before
      log(isDone ? "the erasure is done" : "the erasure failed", isDone ? {} : { code, message });
    },
  );
}

/** After those before it. What is interrupted, or refused by a full disk, stays pending. */
async function eraseNext(
  state: State,
  engine: Engine,
  pending: PendingErasure,
  id: number,
  post: Send,
): Promise<SignedReceipt> {
  const isInterrupted = () => state.interrupted;
  const mine = state.erasing.then(() => {
    if (isInterrupted()) throw interrupted();
    const able = { ...engine, store: interruptible(engine.store, isInterrupted) };
    return eraseFrom(able, pending.entity, pending.ahead, erasingIn(state, id, post));
  });
  const settled = mine.then(
    () => engine.store.pending.done(pending),
    (cause) => (isInterruption(cause) || isFull(cause) ? undefined : engine.store.pending.done(pending)),
  );
  state.erasing = settled.catch(() => {});
  await settled.catch(() => {}); // where the store can't be written it stays pending
  return mine;
}

/** Long scans end where they are. */
function interruptible(store: LogStore, isInterrupted: () => boolean): LogStore {
  return {
    ...store,
    async *scan(stream, options) {
      for await (const part of store.scan(stream, options)) {
        if (isInterrupted()) throw interrupted();
        yield part;
      }
    },
  };
}

/** Nobody waits for requests to be answered anew: the serving thread stops too. */
function interrupt(state: State): void {
  state.interrupted = true;
  for (const renewed of state.renewals.values()) renewed();
}

function erasingIn(state: State, id: number, post: Send): ErasingServer {
  return {
    quiet: (last) =>
      new Promise((resolve, reject) => {
        state.quiet.push(async () => {
          try {
            const done = await last();
            for (const step of state.pipeline?.steps ?? []) step.forget?.();
            resolve(done);
          } catch (cause) {
            reject(cause);
          }
        });
        state.wake();
      }),
    async renewed(commitNo) {
      if (state.interrupted) return;
      const { promise, resolve } = Promise.withResolvers<void>();
      state.renewals.set(id, resolve);
      post({ kind: "erased", id, commitNo });
      await promise;
      state.renewals.delete(id);
    },
  };
}

async function runQuiet({ quiet }: State): Promise<void> {
  for (let next = quiet.shift(); next; next = quiet.shift()) await next();
}
