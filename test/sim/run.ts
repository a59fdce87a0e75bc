import type { Clock } from "../../src/base/clock.ts";
import { MICROS_PER_HOUR, MICROS_PER_SECOND, type Micros } from "../../src/base/time.ts";
import type { World } from "../../src/base/world.ts";
import { isPushConnector, type PushConnector, type PushOutcome } from "../../src/connectors/http_push.ts";
import { type Engine, engineOver } from "../../src/runtime/engine.ts";
import { runUntilIdle, type Step } from "../../src/runtime/loop.ts";
import { modelContext, scoreStep } from "../../src/runtime/models.ts";
import type { Project } from "../../src/runtime/project.ts";
import { pipelineOf } from "../../src/runtime/steps.ts";
import type { LoadedModel } from "../../src/scoring/loaded.ts";
import { type Draw, drawFrom } from "./draw.ts";
import { type Fault, type Faults, faultyStore, isFault, NO_FAULTS, type Sabotage } from "./faults.ts";
import type { Home } from "./home.ts";
import { DUSK, type Push, SIM_MODEL, type SimProject } from "./project.ts";

export interface SimClock extends Clock {
  /** Moves it, forward or back. */
  jump(by: Micros): void;
}

/** Stands still but for a millisecond each time it is read. */
export function simClock(start: Micros): SimClock {
  let at = start;
  return {
    now: () => {
      at += 1000;
      return at;
    },
    jump: (by) => {
      at += by;
    },
  };
}

export interface Run {
  readonly sim: SimProject;
  readonly project: Project;
  readonly world: World;
  readonly clock: SimClock;
  readonly model: LoadedModel;
  readonly home: Home;
  readonly sabotage?: Sabotage;
}

/** What happened in a run, for the report. */
export interface Trace {
  readonly acts: number;
  readonly kills: number;
  readonly faults: number;
  /** What senders saw that they should not have. */
  readonly complaints: readonly string[];
}

/** One life of the program: everything in memory is its own. */
interface Life {
  readonly steps: readonly Step[];
  readonly ended: Set<string>;
  push(source: string, push: Push): Promise<PushOutcome>;
  close(): Promise<void>;
}

async function live(run: Run, faults: Faults): Promise<Life> {
  const store = faultyStore(await run.home.open(), faults, run.sabotage);
  const engine: Engine = engineOver(run.world, run.project, store);
  const { pageBytes, rowsPerCommit, rowsPerPage } = run.sim;
  const pipeline = pipelineOf(engine, { pageBytes, rowsPerCommit, rowsPerPage });
  const score = scoreStep(engine, modelContext(engine, SIM_MODEL), () => ({ model: run.model, role: "live" }));
  return {
    steps: [...pipeline.steps, score],
    ended: new Set(),
    push: (source, { key, body }) => {
      const connector = pipeline.connectors.get(source)!;
      if (!isPushConnector(connector)) throw new Error(`${source} takes no pushes`);
      return (connector as PushConnector).push({ key, body: new TextEncoder().encode(body) });
    },
    close: () => pipeline.close(),
  };
}

/** Sends the requests of one source one after another, each until it is acknowledged, whoever answers. */
function sender(source: string, requests: readonly Push[]) {
  let done = 0;
  let waiting: symbol | undefined;
  const complaints: string[] = [];
  return {
    complaints,
    done: () => done === requests.length,
    send(life: Life) {
      if (waiting || done === requests.length) return;
      const mine = Symbol(source);
      waiting = mine;
      const settle = (acknowledged: boolean) => {
        if (waiting !== mine) return;
        waiting = undefined;
        if (acknowledged) done++;
      };
      life.push(source, requests[done]!).then(
        () => settle(true),
        () => settle(false),
      );
    },
    /** An impatient sender: the last acknowledged request once more. */
    repeat(life: Life) {
      const last = requests[done - 1];
      if (!last) return;
      const hear = ({ repeated }: PushOutcome) => {
        if (!repeated) complaints.push(`${last.key} was acknowledged before, and was taken again`);
      };
      life.push(source, last).then(hear, () => undefined); // a refusal is as good: nothing was taken
    },
    /** The other end is gone: what was not acknowledged is sent again. */
    hangUp: () => {
      waiting = undefined;
    },
  };
}
type Sender = ReturnType<typeof sender>;

const sendersOf = (sim: SimProject): Sender[] => [...sim.pushes].map(([source, pushes]) => sender(source, pushes));
/** Lets what was resolved be heard. */
const settle = () => new Promise<void>((resolve) => setImmediate(resolve));

/** Every step in table order until nothing moves, all pushes sent, and the clock past every T. */
export async function runUndisturbed(run: Run): Promise<void> {
  const life = await live(run, NO_FAULTS);
  await finish(run, life, sendersOf(run.sim));
  await life.close();
}

/**
 * The steps in random order on a jumping clock, with kills between steps, commits that fail and commits whose
 * acknowledgement is lost; then undisturbed to the end.
 */
export async function runDisturbed(run: Run): Promise<Trace> {
  const draw = drawFrom(run.sim.seed ^ 0x5eed);
  const senders = sendersOf(run.sim);
  const faultRate = draw.pick([0.05, 0.15, 0.35]);
  let quiet = false;
  let struck = 0;
  const strikes = (rate: number) => {
    const struckNow = !quiet && draw.chance(rate);
    if (struckNow) struck++;
    return struckNow;
  };
  const faults: Faults = {
    commit: (): Fault => (strikes(faultRate) ? draw.pick(["before", "after"]) : "none"),
    read: () => strikes(faultRate / 8),
  };
  let life = await live(run, faults);
  let kills = 0;
  const kill = async () => {
    kills++;
    for (const one of senders) one.hangUp();
    const dead = life;
    await run.home.kill(draw);
    life = await live(run, faults);
    await dead.close();
  };
  const acts = draw.integer(60, 140);
  for (let act = 0; act < acts; act++) {
    if (draw.chance(0.04)) await kill();
    if (!(await randomAct(run, life, senders, draw)) && draw.chance(0.7)) await kill();
  }
  quiet = true;
  if (draw.chance(0.5)) await kill();
  await finish(run, life, senders);
  await life.close();
  return { acts, kills, faults: struck, complaints: senders.flatMap((one) => one.complaints) };
}

/**
 * As undisturbed, but for one fault in the commit of that number, counted from 0 over all that is committed; the program is
 * killed by it and started again. False where so many commits were never asked for.
 */
export async function runFailingAt(run: Run, commit: number, what: Fault): Promise<boolean> {
  let count = 0;
  const faults: Faults = { commit: () => (count++ === commit ? what : "none"), read: () => false };
  const senders = sendersOf(run.sim);
  let life = await live(run, faults);
  try {
    await finish(run, life, senders);
    await life.close();
    return false;
  } catch (error) {
    if (!isFault(error)) throw error;
  }
  for (const one of senders) one.hangUp();
  await life.close();
  await run.home.kill(drawFrom(commit));
  life = await live(run, faults);
  await finish(run, life, senders);
  await life.close();
  return true;
}

/** False where a fault struck. */
async function randomAct(run: Run, life: Life, senders: readonly Sender[], draw: Draw): Promise<boolean> {
  if (draw.chance(0.15)) run.clock.jump(draw.integer(-2, 6) * draw.pick([MICROS_PER_SECOND, MICROS_PER_HOUR]));
  for (const one of senders) {
    if (draw.chance(0.05)) one.repeat(life);
    if (draw.chance(0.5)) one.send(life);
  }
  const step = draw.pick(life.steps);
  if (life.ended.has(step.name)) return true;
  try {
    if ((await step.turn()) === "end") life.ended.add(step.name);
    return true;
  } catch (error) {
    if (!isFault(error)) throw error;
    return false;
  } finally {
    await settle();
  }
}

/** More than any run needs: steps that still move then answer each other for ever. */
const TURNS_MAX = 20_000;
const ROUNDS_MAX = 2_000;

async function finish(run: Run, life: Life, senders: readonly Sender[]): Promise<void> {
  let rested = 0;
  let turns = 0;
  const counted = () => {
    if (++turns > TURNS_MAX) throw new Error(`seed ${run.sim.seed}: the steps never rest`);
  };
  for (let round = 0; rested < 3; round++) {
    if (round > ROUNDS_MAX) throw new Error(`seed ${run.sim.seed}: the pipeline never rests`);
    for (const one of senders) one.send(life);
    const moved = await runUntilIdle(life.steps, life.ended, counted);
    await settle();
    if (moved || senders.some((one) => !one.done())) {
      rested = 0;
      continue;
    }
    rested++;
    run.clock.jump(rested === 1 ? Math.max(0, DUSK - run.clock.now()) : MICROS_PER_HOUR);
  }
}
