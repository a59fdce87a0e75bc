import { othersTurn } from "../../base/turn.ts";
import type { World } from "../../base/world.ts";
import { openConfig } from "../../runtime/project.ts";
import { runningMetrics } from "../../runtime/running.ts";
import { type Diagnosis, examine, type Facts } from "../../store/doctor.ts";
import {
  beginPowerLossTest,
  checkPowerLossTest,
  deviceOf,
  judgePowerLoss,
  RECORDS_MAX,
  syncTimes,
} from "../../store/power_loss.ts";
import { type Command, type Input, type Outcome, PROJECT_FLAGS } from "../command.ts";
import { cliErrors, EXIT_NO } from "../errors.ts";
import { grouped, locationOf, watchStop } from "../project.ts";

export const doctor: Command = {
  name: "doctor",
  words: "[write|check]",
  summary:
    "say how a data directory is and what to do next, changing nothing; exit code 1 where something needs a hand",
  flags: {
    ...PROJECT_FLAGS,
    quick: { kind: "switch", describe: "look at the ends of segments alone, not at every block" },
    "power-loss": {
      kind: "switch",
      describe:
        "test whether synced writes outlive a power cut, as far as software can tell; `write`, cut the power, `check`",
    },
    last: { kind: "number", describe: "with --power-loss check: the last number that `write` printed" },
    count: { kind: "number", describe: "with --power-loss write: stop after so many records", default: RECORDS_MAX },
  },
  async run(world, input) {
    const [word] = input.words;
    const { config, dataDirectory } = await openConfig(world, locationOf(input));
    if (input.on("power-loss")) return powerLoss(world, input, dataDirectory, word);
    if (word !== undefined) throw usage(`"${word}" is for --power-loss`);
    const { keys, space } = config;
    const { clock, random } = world;
    const found = await examine({ directory: dataDirectory, keys, space, clock, random, quick: input.on("quick") });
    const facts = { ...found.facts, ...(await timeToFull(world, dataDirectory)) };
    const healthy = found.complaints.length === 0;
    return {
      json: { directory: dataDirectory, healthy, facts, complaints: found.complaints },
      text: diagnosisText(dataDirectory, { facts, complaints: found.complaints }),
      exit: healthy ? 0 : EXIT_NO,
    };
  },
};

const usage = (message: string) => cliErrors.error("bad_usage", message, { place: "mlpe doctor" });

/** Only a running server has measured how fast the disk fills. */
async function timeToFull(world: World, dataDirectory: string): Promise<Facts> {
  const metrics = await runningMetrics(world, dataDirectory);
  const seconds = metrics && /^mlpe_space_time_to_full_seconds (\S+)$/m.exec(metrics)?.[1];
  return seconds === undefined ? {} : { time_to_full_seconds: Math.round(Number(seconds)) };
}

function diagnosisText(directory: string, { facts, complaints }: Diagnosis): string {
  const shown = (value: Facts[string]) =>
    typeof value === "number" ? grouped(value) : Array.isArray(value) ? String(value.length) : String(value);
  const lines = Object.entries(facts).map(
    ([name, value]) => `  ${name.replaceAll("_", " ").padEnd(26)}${shown(value)}`,
  );
  const told = complaints.flatMap(({ about, message, next }) => [`! ${about}: ${message}`, `    ${next}`]);
  const end = complaints.length === 0 ? "nothing needs a hand" : `${complaints.length} to look after:`;
  return [directory, ...lines, end, ...told].join("\n");
}

async function powerLoss(world: World, input: Input, directory: string, word: string | undefined): Promise<Outcome> {
  if (word === "write") return writeRecords(world, directory, input.number("count")!);
  if (word === "check") return checkRecords(directory, input.number("last"));
  if (word !== undefined) throw usage(`"${word}" is neither write nor check`);
  const device = deviceOf(directory);
  const times = syncTimes(directory, () => world.clock.now());
  const judged = judgePowerLoss(device, times);
  const text = [
    `file system  ${device.fileSystem} (${device.mountOptions})`,
    `device       ${device.device ?? "not known"}${device.rotating === undefined ? "" : device.rotating ? ", turning" : ", not turning"}`,
    `write cache  ${device.writeCache ?? "not known"}; writes past it: ${device.forcedUnitAccess === undefined ? "not known" : device.forcedUnitAccess ? "yes" : "no"}`,
    `fdatasync    least ${times.least}, median ${times.median}, p99 ${times.p99} microseconds over ${times.writes} writes`,
    `verdict      ${judged.verdict}`,
    ...judged.reasons.map((reason) => `  ${reason}`),
    "",
    "What this can't know: a device that says it is done before it is, and takes as long as an honest one. Only a cut tells:",
    "  mlpe doctor --power-loss write            prints a number after each synced record; copy the numbers elsewhere",
    "  (cut the power, start again)",
    "  mlpe doctor --power-loss check --last N   says whether records up to the last printed number are there",
  ].join("\n");
  return { json: { device, times, ...judged }, text, exit: judged.reasons.length === 0 ? 0 : EXIT_NO };
}

async function writeRecords(world: World, directory: string, count: number): Promise<Outcome> {
  const stopped = watchStop(world);
  const test = beginPowerLossTest(directory);
  let last = 0;
  try {
    while (last < count && !stopped()) {
      const written = test.write();
      if (written === undefined) break;
      last = written;
      await world.printed(String(last)); // only now: it is acknowledged
      await othersTurn(); // a signal is heard
    }
  } finally {
    test.close();
  }
  return { json: { last }, text: "", printed: true };
}

function checkRecords(directory: string, last: number | undefined): Outcome {
  if (last === undefined) throw usage("--last is missing: the last number that `write` printed");
  const whole = checkPowerLossTest(directory);
  if (whole === undefined) throw usage(`${directory} has no records of \`mlpe doctor --power-loss write\``);
  const kept = whole >= last;
  const text = kept
    ? `kept: the first ${grouped(whole)} records are whole, up to ${grouped(last)} were acknowledged (one cut; a device may lie at the next)`
    : `LOST: ${grouped(last)} records were acknowledged, and only the first ${grouped(whole)} are there: synced writes do not outlive a power cut here`;
  return { json: { kept, whole, last }, text, exit: kept ? 0 : EXIT_NO };
}
