import { Cron } from "croner";
import { DEFAULT_DRIFT } from "../config/schema.ts";
import { LINEAGE } from "../contract/streams.ts";
import { readDeployments } from "../delivery/promote.ts";
import { type PostState, stepPost } from "../lineage/post.ts";
import { httpPost } from "../lineage/post_http.ts";
import type { LoadedModel } from "../scoring/loaded.ts";
import type { Engine as Ort } from "../scoring/tensor.ts";
import { judgeModelDrift } from "./drift.ts";
import type { Engine } from "./engine.ts";
import type { Step, Turn } from "./loop.ts";
import { loadStored, modelContext, openOnnx, type ScoreJob, scoreStep } from "./models.ts";
import { retainStep, retentionPolicy, type Told } from "./retain.ts";

export interface Jobs {
  readonly steps: readonly Step[];
  stop(): void;
}

/** The schedules of the config as steps: each has work once its time has come, until it is done. */
export function scheduledJobs(engine: Engine, { log, retained }: Told): Jobs {
  const crons: Cron[] = [];
  let ort: Ort | undefined;
  const onnx = () => {
    ort ??= openOnnx(engine);
    return ort;
  };
  const steps = Object.entries(engine.project.config.schedules).flatMap(([name, { cron, score, drift }]) => {
    const made: Step[] = [];
    const due = new Set<string>();
    crons.push(new Cron(cron, { timezone: "UTC" }, () => ["score", "drift"].forEach((kind) => due.add(kind))));
    if (score !== undefined) made.push(whenDue(due, "score", liveScoring(engine, score, onnx)));
    if (drift !== undefined) made.push(whenDue(due, "drift", driftJudging(engine, drift)));
    return made.map((step) => ({ ...step, name: `${name}.${step.name}` }));
  });
  for (const [model, { every }] of Object.entries(engine.project.config.drift)) {
    steps.push(everySoOften(engine, every, driftJudging(engine, model)));
  }
  const policy = retentionPolicy(engine.project);
  if (policy)
    steps.push(
      everySoOften(engine, engine.project.config.retention.every, retainStep(engine, policy, { log, retained })),
    );
  return { steps, stop: () => crons.forEach((cron) => cron.stop()) };
}

function whenDue(due: Set<string>, kind: string, step: Step): Step {
  return {
    ...step,
    async turn() {
      if (!due.has(kind)) return "idle";
      const turn = await step.turn();
      if (turn !== "progress") due.delete(kind);
      return turn;
    },
  };
}

function everySoOften({ world }: Engine, every: number, step: Step): Step {
  let next = world.clock.now() + every;
  return {
    ...step,
    async turn() {
      if (world.clock.now() < next) return "idle";
      next = world.clock.now() + every;
      return step.turn();
    },
  };
}

/** The live package over feature rows asked since the model was first deployed: older ones were never asked live. */
function liveScoring(engine: Engine, model: string, ort: () => Ort): Step {
  const context = modelContext(engine, model);
  let loaded: LoadedModel | undefined;
  let job: ScoreJob | undefined;
  const step = scoreStep(engine, context, () => job);
  return {
    ...step,
    async turn() {
      const state = (await readDeployments(engine.store)).get(model);
      if (!state?.live) return "idle";
      if (loaded?.digest !== state.live.digest) {
        loaded?.session.dispose();
        loaded = await loadStored(engine, context, ort(), state.live.digest);
      }
      job = { model: loaded, role: "live", from: state.history[0]!.at };
      return step.turn();
    },
  };
}

function driftJudging(engine: Engine, model: string): Step {
  const name = `drift.${model}`;
  return {
    name,
    reads: [`scores/${model}`],
    writes: ["verdicts"],
    async turn() {
      const now = engine.world.clock.now();
      if (!(await readDeployments(engine.store)).get(model)?.live) return "idle";
      const { every } = engine.project.config.drift[model] ?? DEFAULT_DRIFT;
      await judgeModelDrift(engine, model, now - every, now);
      return "idle";
    },
  };
}

/** lineage -> the configured OpenLineage server, however long it was away. */
export function postStep(engine: Engine, log: (message: string, facts: object) => void): Step | undefined {
  const { openlineage } = engine.project.config.lineage;
  if (openlineage === "") return undefined;
  const post = httpPost({ url: openlineage });
  let state: PostState | undefined;
  return {
    name: "lineage.post",
    reads: [LINEAGE],
    writes: [],
    async turn(): Promise<Turn> {
      const step = await stepPost({ store: engine.store, post, now: engine.world.clock.now(), state });
      state = step.state;
      if (step.failure !== undefined)
        log("lineage not delivered", { failure: step.failure, retry_at: state.notBefore });
      for (const { status } of step.rejected) log("lineage event rejected", { status });
      return step.posted > 0 && !step.atEnd && step.failure === undefined ? "progress" : "idle";
    },
  };
}
