import type { World } from "../base/world.ts";
import { isDamage } from "../store/damage.ts";
import { runtimeErrors } from "./errors.ts";
import { countRetained } from "./metrics.ts";
import { errorFrom, type FromPipeline, type ToPipeline } from "./pipeline_thread.ts";
import type { ProjectLocation } from "./project.ts";
import type { Erase, Push } from "./services.ts";
import type { Serving } from "./serving.ts";

/** The pipeline thread as the serving thread sees it. */
export interface PipelineHandle {
  readonly push: Push;
  readonly erase: Erase;
  /** Lets the thread work; before, it only has its project and store open. */
  work(): void;
  /** A stop comes: erasures end at their next safe point. */
  interrupt(): void;
  /** Lets the running turn finish, then ends the thread. */
  stop(): Promise<void>;
  /** Ends the thread at once, whatever it does. */
  end(): void;
}

interface Waiting {
  resolve(outcome: object): void;
  reject(error: unknown): void;
}

/** Most pushes that wait for the pipeline; one more is refused as overloaded. */
const PUSHES_MAX = 256;

/**
 * Starts the pipeline thread and waits until it has its project and store open. `serving` is the thread that answers, whose
 * `renewed` is asked after each erasure, and whose `degraded` is told which steps can't go on for damaged rows.
 */
export function startPipeline(
  world: World,
  location: ProjectLocation,
  store: MessagePort,
  { metrics, degraded, renewed }: Pick<Serving, "metrics" | "degraded" | "renewed">,
  log: (message: string, facts: object) => void,
): Promise<PipelineHandle> {
  const worker = new Worker(world.workers.pipeline);
  const waiting = new Map<number, Waiting>();
  const damaged = new Set<string>();
  let next = 0;
  const send = (message: ToPipeline, transfer: MessagePort[] = []) => worker.postMessage(message, transfer);
  const ask = (place: string, message: (id: number) => ToPipeline): Promise<object> => {
    if (waiting.size >= PUSHES_MAX) {
      return Promise.reject(runtimeErrors.error("busy", `${waiting.size} pushes wait to be ingested`, { place }));
    }
    const id = next++;
    const outcome = new Promise<object>((resolve, reject) => waiting.set(id, { resolve, reject }));
    send(message(id));
    return outcome;
  };
  const push: Push = (source, body, key) => ask(source, (id) => ({ kind: "push", id, source, body, key }));
  const erase: Erase = (entity, ahead) => ask("entity", (id) => ({ kind: "erase", id, entity, ahead }));
  return new Promise((opened, failed) => {
    const stopped = new Promise<void>((resolve) => {
      worker.onmessage = ({ data }: { data: FromPipeline }) => {
        if (data.kind === "opened")
          opened({
            push,
            erase,
            work: () => send({ kind: "work" }),
            interrupt: () => send({ kind: "interrupt" }),
            stop,
            end: () => worker.terminate(),
          });
        else if (data.kind === "stopped") resolve();
        else if (data.kind === "erased") renewed(data.commitNo).then(() => send({ kind: "renewed", id: data.id }));
        else if (data.kind === "retained") countRetained(metrics, data.amounts);
        else if (data.kind === "log") log(data.message, data.facts);
        else if (data.kind === "step_failed") {
          metrics.add("mlpe_step_failures_total", 1, { step: data.step });
          const { code, message, place, fix } = data.error;
          log("step failed", { step: data.step, code, message, place, fix, retry_in_ms: data.retryInMs });
          const error = errorFrom(data.error);
          if (isDamage(error) && !damaged.has(data.step)) degraded.met(error, data.step);
          if (isDamage(error)) damaged.add(data.step);
          if (data.step === "pipeline") failed(error);
        } else settle(waiting, data);
      };
      worker.onerror = (event) => {
        const error = runtimeErrors.error("worker_failed", `the pipeline thread stopped: ${event.message}`);
        for (const one of waiting.values()) one.reject(error);
        waiting.clear();
        log("pipeline thread failed", { message: event.message });
        failed(error);
        resolve();
      };
    });
    const stop = async () => {
      send({ kind: "stop" });
      await stopped;
      worker.terminate();
    };
    send({ kind: "open", location, store }, [store]);
  });
}

function settle(waiting: Map<number, Waiting>, message: Extract<FromPipeline, { kind: "answered" | "refused" }>): void {
  const one = waiting.get(message.id);
  waiting.delete(message.id);
  if (message.kind === "answered") one?.resolve(message.outcome);
  else one?.reject(errorFrom(message.error));
}
