import { MlpeError, type Problem } from "../base/errors.ts";
import { nearest } from "../base/nearest.ts";
import type { World } from "../base/world.ts";
import { VERSION } from "../runtime/version.ts";
import { type Command, helpOf, readInput } from "./command.ts";
import { COMMANDS } from "./commands.ts";
import { cliErrors, EXIT_CODES, EXIT_CONFIG, EXIT_USAGE } from "./errors.ts";

/** Runs one command line and returns the exit code. Every failure is printed; none escapes. */
export async function dispatch(world: World, args: readonly string[]): Promise<number> {
  const json = args.includes("--json");
  try {
    if (args.length === 0 || args[0] === "help" || args[0] === "--help" || args[0] === "-h") {
      world.print(overview());
      return 0;
    }
    if (args[0] === "--version" || args[0] === "version") {
      world.print(VERSION);
      return 0;
    }
    const { command, rest } = findCommand(args);
    if (rest.includes("--help") || rest.includes("-h")) {
      world.print(helpOf(command));
      return 0;
    }
    const outcome = await command.run(world, readInput(command, rest, world.environment));
    world.progress("");
    if (!outcome.printed) world.print(json ? JSON.stringify(outcome.json) : outcome.text);
    return outcome.failure ? report(world, outcome.failure, json) : (outcome.exit ?? 0);
  } catch (error) {
    world.progress("");
    return report(world, error, json);
  }
}

function findCommand(args: readonly string[]): { command: Command; rest: readonly string[] } {
  const two = COMMANDS.find((command) => command.name === `${args[0]} ${args[1]}`);
  if (two) return { command: two, rest: args.slice(2) };
  const one = COMMANDS.find((command) => command.name === args[0]);
  if (one) return { command: one, rest: args.slice(1) };
  const family = COMMANDS.filter((command) => command.name.startsWith(`${args[0]} `)).map(
    (command) => `mlpe ${command.name}`,
  );
  const near = nearest(
    args[0]!,
    COMMANDS.map((command) => command.name.split(" ")[0]!),
  );
  const guess = near === undefined ? undefined : `Did you mean \`mlpe ${near}\`? \`mlpe help\` lists every command.`;
  const fix = family.length > 0 ? `Use one of: ${family.join(", ")}.` : guess;
  throw cliErrors.error("unknown_command", `"${args.slice(0, family.length > 0 ? 2 : 1).join(" ")}" is no command`, {
    fix,
  });
}

function overview(): string {
  const width = Math.max(...COMMANDS.map((command) => command.name.length));
  const lines = COMMANDS.map((command) => `  ${command.name.padEnd(width)}  ${command.summary}`);
  return `MLPE: a machine-learning production environment in one file\n\nmlpe <command> [flags]\n\n${lines.join("\n")}\n\nmlpe <command> --help shows its flags.`;
}

function report(world: World, error: unknown, json: boolean): number {
  if (!(error instanceof MlpeError)) {
    const message = error instanceof Error ? error.message : String(error);
    const body = {
      code: "internal",
      message,
      fix: "This is a defect of MLPE; please report it with the command you ran.",
    };
    world.warn(json ? JSON.stringify({ error: body }) : `error internal: ${message}\n  fix: ${body.fix}`);
    if (world.environment.MLPE_DEBUG && error instanceof Error) world.warn(error.stack ?? "");
    return EXIT_CODES.internal;
  }
  const { code, message, place, fix, problems } = error;
  world.warn(
    json ? JSON.stringify({ error: { code, message, place, fix, problems } }) : problems.map(problemText).join("\n"),
  );
  if (code.startsWith("cli.bad_usage") || code.startsWith("cli.unknown")) return EXIT_USAGE;
  return code.startsWith("config.") ? EXIT_CONFIG : EXIT_CODES[error.kind];
}

function problemText(problem: Problem): string {
  const isSaid = problem.place === undefined || problem.message.includes(problem.place);
  const place = isSaid ? "" : `${problem.place}: `;
  return `error ${problem.code}: ${place}${problem.message}\n  fix: ${problem.fix}`;
}
