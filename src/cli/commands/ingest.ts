import { withEngine } from "../../runtime/engine.ts";
import { type Failure, failureOf, runUntilIdle, settingAside } from "../../runtime/loop.ts";
import { pipelineOf } from "../../runtime/steps.ts";
import { storedRows } from "../../store/port.ts";
import { type Command, PROJECT_FLAGS } from "../command.ts";
import { grouped, locationOf, progressLine, stoppedBy, table, watchStop } from "../project.ts";

export const ingest: Command = {
  name: "ingest",
  summary: "read every source to its end, fuse what arrived, join labels, and stop; a broken source stops no other",
  flags: PROJECT_FLAGS,
  run: (world, input) =>
    withEngine(world, locationOf(input), "write", async (engine) => {
      const startedAt = world.clock.now();
      const notes: string[] = [];
      const pipeline = pipelineOf(engine, {}, (message) => notes.push(message));
      const show = progressLine(world);
      const failures: Failure[] = [];
      const stop = watchStop(world);
      let commits = 0;
      try {
        await runUntilIdle(
          settingAside(pipeline.steps, failures),
          new Set(),
          (step) => show(`${step.name}: ${++commits} turns`),
          () => stop() !== undefined,
        );
      } finally {
        await pipeline.close();
      }
      const signal = stop();
      if (signal) return { ...stoppedBy(signal), failure: failureOf(failures) };
      const infos = await engine.store.streams();
      const json = {
        seconds: (world.clock.now() - startedAt) / 1_000_000,
        rows: Object.fromEntries(infos.map((info) => [info.stream, storedRows(info)])),
        data_dir: engine.project.dataDirectory,
        notes,
        failed: failures.map(({ step, error: { code, message, place, fix } }) => ({
          step,
          code,
          message,
          place,
          fix,
        })),
      };
      const lines = infos.map((info) => [info.stream, grouped(storedRows(info))]);
      const aside = failures.length === 0 ? "" : `\nset aside: ${failures.map(({ step }) => step).join(", ")}`;
      const text = `${table(["stream", "rows"], lines)}\n${json.seconds.toFixed(1)} s, in ${json.data_dir}${aside}`;
      if (!input.on("json")) for (const note of notes) world.warn(note);
      return { json, text, failure: failureOf(failures) };
    }),
};
