import type { MlpeError } from "../base/errors.ts";
import { type Micros, parseInstant } from "../base/time.ts";
import type { StopSignal, World } from "../base/world.ts";
import { normalise } from "../config/load.ts";
import { absolute, openConfig, type ProjectLocation } from "../runtime/project.ts";
import type { Command, Input, Outcome } from "./command.ts";
import { cliErrors, EXIT_STOPPED } from "./errors.ts";

/** The project that PROJECT_FLAGS name. */
export function locationOf(input: Input): ProjectLocation {
  return { config: input.text("config") ?? "mlpe.yaml", data: input.text("data"), set: input.list("set") };
}

/** The absolute path of a file that is to be made. Throws cli.output_in_data, and cli.output_exists. */
export async function newFile(world: World, input: Input, named: string): Promise<string> {
  const out = await outsideData(world, input, named);
  if (await world.files.exists(out)) throw cliErrors.error("output_exists", `${out} exists`, { place: out });
  return out;
}

/** The absolute path of a file that is to be written. Throws cli.output_in_data. */
export async function outsideData(world: World, input: Input, named: string): Promise<string> {
  const out = absolute(world, named);
  const { dataDirectory } = await openConfig(world, locationOf(input));
  if (`${normalise(out)}/`.startsWith(`${normalise(dataDirectory)}/`)) {
    throw cliErrors.error("output_in_data", `${out} is in the data directory ${dataDirectory}`, { place: out });
  }
  return out;
}

/** An instant given on the command line, or `cli.bad_usage`. */
export function instantFlag(command: Command, input: Input, flag: string): Micros | undefined {
  const text = input.text(flag);
  if (text === undefined) return undefined;
  const instant = parseInstant(text);
  if (instant !== undefined) return instant;
  throw cliErrors.error("bad_usage", `--${flag} is "${text}", which is no instant`, {
    place: `mlpe ${command.name}`,
    fix: "Write it as 2013-10-01 or 2013-10-01T00:00:00Z.",
  });
}

/** `12,345`, the same on every machine. */
export const grouped = (count: number): string => String(Math.round(count)).replace(/\B(?=(\d{3})+(?!\d))/g, ",");

/** Rows as aligned text columns, for people. */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = header.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => (row[column] ?? "").length)),
  );
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, column) => cell.padEnd(widths[column]!))
      .join("  ")
      .trimEnd();
  return [line(header), ...rows.map(line)].join("\n");
}

/** Watches for a request to stop while work goes on: it is looked at between commits. */
export function watchStop(world: World): () => StopSignal | undefined {
  let asked: StopSignal | undefined;
  void world.stopRequested().then((signal) => {
    asked = signal;
  });
  return () => asked;
}

/** What a command answers that was asked to stop before its end. */
export const stoppedBy = (
  signal: StopSignal,
  text = "stopped: what was committed is kept; run it again to go on",
): Outcome => ({ json: { stopped: signal }, text, exit: EXIT_STOPPED[signal] });

/** A status line for long work, at most ten a second, and nothing where no terminal is. */
export function progressLine(world: World): (text: string) => void {
  let last = 0;
  return (text) => {
    const now = world.clock.now();
    if (now - last < 100_000) return;
    last = now;
    world.progress(text);
  };
}

/** What `--skip-damaged` left out: a warning each, and the form for programs. */
export function toldLeftOut(world: World, leftOut: readonly MlpeError[]): { left_out?: readonly object[] } {
  for (const { message } of leftOut) world.warn(`left out: ${message}`);
  return leftOut.length === 0 ? {} : { left_out: leftOut.map(({ place, message }) => ({ place, message })) };
}

export const SKIP_DAMAGED = {
  kind: "switch",
  describe: "leave out rows that are damaged, and list them; an older version may then pass for the latest",
} as const;
