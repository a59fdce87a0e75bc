import { scoresStream } from "../../contract/streams.ts";
import { performanceOf } from "../../feedback/performance.ts";
import { withWriter } from "../../runtime/beside.ts";
import { liveOf } from "../../runtime/delivery.ts";
import { judgeModelDrift } from "../../runtime/drift.ts";
import { withEngine } from "../../runtime/engine.ts";
import { runUntilIdle } from "../../runtime/loop.ts";
import { liveThreshold, loadStored, modelContext, openOnnx, periodReader, scoreStep } from "../../runtime/models.ts";
import { viewOfModel } from "../../runtime/project.ts";
import { replayScore } from "../../scoring/replay.ts";
import { type Command, PROJECT_FLAGS, requireWord } from "../command.ts";
import { EXIT_NO } from "../errors.ts";
import { grouped, instantFlag, locationOf, progressLine, stoppedBy, table, watchStop } from "../project.ts";

const PERIOD_FLAGS = {
  from: { kind: "text", describe: "first T, inclusive" },
  to: { kind: "text", describe: "last T, inclusive" },
} as const;

export const score: Command = {
  name: "score",
  words: "<model>",
  summary: "score the stored feature rows of a period with the live package",
  flags: { ...PROJECT_FLAGS, ...PERIOD_FLAGS },
  async run(world, input) {
    const name = requireWord(score, input, 0, "the model");
    const [from, to] = [instantFlag(score, input, "from"), instantFlag(score, input, "to")];
    return withWriter(world, locationOf(input), async (engine) => {
      const context = modelContext(engine, name);
      const live = await liveOf(engine, name);
      const model = await loadStored(engine, context, openOnnx(engine), live.digest);
      const job = {
        model,
        role: "live" as const,
        ...(from === undefined ? {} : { from }),
        ...(to === undefined ? {} : { to }),
      };
      const show = progressLine(world);
      const before = await rowsIn(engine, name);
      let turns = 0;
      const step = scoreStep(engine, context, () => ({ ...job, reader: periodReader(job) }));
      const stop = watchStop(world);
      await runUntilIdle(
        [step],
        new Set(),
        () => show(`score.${name}: ${++turns} turns`),
        () => stop() !== undefined,
      );
      model.session.dispose();
      const signal = stop();
      if (signal) return stoppedBy(signal);
      const scores = (await rowsIn(engine, name)) - before;
      return {
        json: { model: name, digest: live.digest, scores },
        text: `${grouped(scores)} scores by ${name} ${live.version}`,
      };
    });
  },
};

async function rowsIn(
  { store }: { store: { streams(): Promise<readonly { stream: string; rows: number }[]> } },
  model: string,
) {
  return (await store.streams()).find(({ stream }) => stream === scoresStream(model))?.rows ?? 0;
}

export const replay: Command = {
  name: "replay",
  words: "<score id> ...",
  summary: "make stored scores again from the stored features and package, and compare the bits",
  flags: PROJECT_FLAGS,
  run: (world, input) =>
    withEngine(world, locationOf(input), "read", async (engine) => {
      requireWord(replay, input, 0, "the score id");
      const ort = openOnnx(engine);
      const replays = [];
      for (const scoreId of input.words) {
        replays.push(
          await replayScore({
            store: engine.store,
            scoreId,
            shapeOf: (model) => viewOfModel(engine.project, model).shape,
            loadPackage: (model, digest) => loadStored(engine, modelContext(engine, model), ort, digest),
          }),
        );
      }
      const equal = replays.every((one) => one.equal);
      const lines = replays.map((one) => {
        const differs = one.differs.map(
          ({ factor, name, stored, replayed }) => `${factor} ${name}: ${String(stored)} -> ${String(replayed)}`,
        );
        return `${one.score_id}  ${one.equal ? "equal" : "differs"}  ${one.stored}  ${differs.join("; ")}`.trimEnd();
      });
      return { json: { equal, replays }, text: lines.join("\n"), exit: equal ? 0 : EXIT_NO };
    }),
};

export const performanceCommand: Command = {
  name: "performance",
  words: "<model>",
  summary: "show realised performance: scores joined with the outcomes that have arrived, by day",
  flags: {
    ...PROJECT_FLAGS,
    ...PERIOD_FLAGS,
    digest: { kind: "text", describe: "only this package; default what is live" },
    all: { kind: "switch", describe: "every package together" },
  },
  run: (world, input) =>
    withEngine(world, locationOf(input), "read", async (engine) => {
      const name = requireWord(performanceCommand, input, 0, "the model");
      const [from, to] = [instantFlag(performanceCommand, input, "from"), instantFlag(performanceCommand, input, "to")];
      const digest = input.on("all") ? undefined : (input.text("digest") ?? (await liveOf(engine, name)).digest);
      const performance = await performanceOf(engine.store, name, {
        ...(digest === undefined ? {} : { digest }),
        ...(from === undefined ? {} : { from }),
        ...(to === undefined ? {} : { to }),
        threshold: await liveThreshold(engine, name),
      });
      const figure = (value: number | null) => (value === null ? "-" : value.toFixed(4));
      const line = (day: string, one: typeof performance.overall) => [
        day,
        grouped(one.n),
        grouped(one.labelled),
        figure(one.auc),
        figure(one.brier),
        figure(one.accuracy),
      ];
      const rows = [...performance.days.map((day) => line(day.day, day)), line("all", performance.overall)];
      return {
        json: { model: name, digest: digest ?? null, ...performance },
        text: table(["day", "scores", "labelled", "auc", "brier", "accuracy"], rows),
      };
    }),
};

export const driftCommand: Command = {
  name: "drift",
  words: "<model>",
  summary: "judge the live scores of a period and their features against the package's frozen profile",
  flags: { ...PROJECT_FLAGS, ...PERIOD_FLAGS },
  run: (world, input) =>
    withWriter(world, locationOf(input), async (engine) => {
      const name = requireWord(driftCommand, input, 0, "the model");
      const from = instantFlag(driftCommand, input, "from") ?? 0;
      const to = instantFlag(driftCommand, input, "to") ?? world.clock.now();
      const verdicts = await judgeModelDrift(engine, name, from, to);
      const columns = verdicts.filter((row) => row.name !== "drift");
      const drifted = columns.filter((row) => row.outcome === "drift").length;
      const rows = columns.map((row) => [
        String(row.name),
        String(row.outcome),
        row.value === null ? "-" : Number(row.value).toFixed(4),
      ]);
      return {
        json: verdicts,
        text: `${table(["column", "verdict", "value"], rows)}\n${drifted} of ${columns.length} columns drift`,
      };
    }),
};
