import { MlpeError } from "../base/errors.ts";
import type { World } from "../base/world.ts";
import { isPushConnector } from "../connectors/http_push.ts";
import { connectStore } from "../store/store.ts";
import { type Engine, engineOver } from "./engine.ts";
import { runtimeErrors } from "./errors.ts";
import { postStep, scheduledJobs } from "./jobs.ts";
import { openProject, type ProjectLocation } from "./project.ts";
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
  | { readonly kind: "stop" };

/** What it hears back. */
export type FromPipeline =
  | { readonly kind: "opened" }
  | { readonly kind: "stopped" }
  | { readonly kind: "pushed"; readonly id: number; readonly outcome: object }
  | { readonly kind: "push_failed"; readonly id: number; readonly error: PlainError }
  | { readonly kind: "log"; readonly message: string; readonly facts: object }
  | { readonly kind: "step_failed"; readonly step: string; readonly error: PlainError; readonly retryInMs: number };

/** An error that can cross threads. */
export type PlainError = Pick<MlpeError, "code" | "kind" | "message" | "place" | "fix" | "retryable">;

export function plainError(error: unknown): PlainError {
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

/** The pipeline thread: ingestion, fusion, labels, scheduled jobs and lineage, committing through the log thread. */
export function pipelineThread(world: World, post: (message: FromPipeline) => void): PipelineThread {
  let stopped = false;
  let wake = () => {};
  let pipeline: Pipeline | undefined;

  const open = async (location: ProjectLocation, port: MessagePort) => {
    const project = await openProject(world, location);
    const keys = project.config.keys;
    const store = await connectStore(
      { directory: project.dataDirectory, keys, clock: world.clock, random: world.random },
      port,
    );
    const engine = engineOver(world, project, store);
    pipeline = pipelineOf(engine);
    post({ kind: "opened" });
    await work(engine, pipeline);
    await pipeline.close();
    await store.close();
    post({ kind: "stopped" });
  };

  const work = async (engine: Engine, { steps }: Pipeline) => {
    const log = (message: string, facts: object) => post({ kind: "log", message, facts });
    const jobs = scheduledJobs(engine);
    const lineage = postStep(engine, log);
    await supervise({
      steps: [...steps, ...jobs.steps, ...(lineage ? [lineage] : [])],
      clock: world.clock,
      stopped: () => stopped,
      failed: (step, error, retryInMs) =>
        post({ kind: "step_failed", step: step.name, error: plainError(error), retryInMs }),
      wait: (milliseconds) =>
        new Promise((resolve) => {
          const timer = setTimeout(resolve, milliseconds);
          wake = () => {
            clearTimeout(timer);
            resolve();
          };
        }),
    });
    jobs.stop();
  };

  const push = async ({ id, source, body, key }: Extract<ToPipeline, { kind: "push" }>) => {
    try {
      const connector = pipeline?.connectors.get(source);
      if (!connector || !isPushConnector(connector)) {
        throw runtimeErrors.error(
          "unknown_source",
          `there is no source "${source.slice(0, 80)}" that takes pushed rows`,
          { place: "source" },
        );
      }
      const bytes = new TextEncoder().encode(body);
      const pushed = connector.push({ body: bytes, ...(key === undefined ? {} : { key }) });
      wake();
      post({ kind: "pushed", id, outcome: await pushed });
    } catch (error) {
      post({ kind: "push_failed", id, error: plainError(error) });
    }
  };

  return {
    receive(message) {
      if (message.kind === "open") {
        open(message.location, message.store).catch((error) => {
          post({ kind: "step_failed", step: "pipeline", error: plainError(error), retryInMs: -1 });
        });
      } else if (message.kind === "push") void push(message);
      else {
        stopped = true;
        wake();
      }
    },
  };
}
