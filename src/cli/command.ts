import { parseArgs } from "node:util";
import type { MlpeError } from "../base/errors.ts";
import type { World } from "../base/world.ts";
import { cliErrors } from "./errors.ts";

export interface Flag {
  /** `number` is a whole number from `least`. */
  readonly kind: "text" | "number" | "switch" | "list";
  /** Of a number; default 0. */
  readonly least?: number;
  readonly describe: string;
  readonly default?: string | number | boolean;
}

/** What a command was given: flags by name, and the words that are no flags. */
export interface Input {
  readonly words: readonly string[];
  text(flag: string): string | undefined;
  number(flag: string): number | undefined;
  on(flag: string): boolean;
  list(flag: string): readonly string[];
}

/** What a command answers: the same facts for a person and for a program. */
export interface Outcome {
  readonly json: unknown;
  readonly text: string;
  /** 0 unless the command ran well and its answer is no (1). */
  readonly exit?: number;
  /** The command printed its answer itself, line by line: nothing more is printed. */
  readonly printed?: boolean;
  /** What could not be done beside what was: reported after the answer, and its exit code is the command's. */
  readonly failure?: MlpeError | undefined;
}

export interface Command {
  /** One or two words: `views export`. */
  readonly name: string;
  readonly summary: string;
  /** The words it takes, as shown in help: `<model>`. */
  readonly words?: string;
  readonly flags?: Readonly<Record<string, Flag>>;
  run(world: World, input: Input): Promise<Outcome>;
}

/** Flags that every command has. */
export const COMMON_FLAGS: Readonly<Record<string, Flag>> = {
  json: { kind: "switch", describe: "print one JSON object" },
  help: { kind: "switch", describe: "show this help" },
};

/** Flags of every command that works on a project. */
export const PROJECT_FLAGS: Readonly<Record<string, Flag>> = {
  config: { kind: "text", describe: "the config file", default: "mlpe.yaml" },
  data: { kind: "text", describe: "the data directory; default is the config's `data`" },
  set: { kind: "list", describe: "override a config value: path.to.key=value (repeatable)" },
};

/** The environment twin of a flag: `--known-by` is MLPE_KNOWN_BY. */
const environmentName = (flag: string): string => `MLPE_${flag.replaceAll("-", "_").toUpperCase()}`;

/** Reads the words after the command's name. Unknown flags and wrong numbers are `cli.bad_usage`. */
export function readInput(command: Command, args: readonly string[], environment: World["environment"]): Input {
  const flags = { ...COMMON_FLAGS, ...command.flags };
  const options = Object.fromEntries(
    Object.entries(flags).map(([name, flag]) => [
      name,
      { type: flag.kind === "switch" ? ("boolean" as const) : ("string" as const), multiple: flag.kind === "list" },
    ]),
  );
  let parsed: { values: Record<string, unknown>; positionals: string[] };
  try {
    parsed = parseArgs({ args: [...args], options, allowPositionals: true, strict: true }) as typeof parsed;
  } catch (cause) {
    const message = ambiguous(flags, args) ?? (cause as Error).message.split(/\.\s/)[0]!;
    throw cliErrors.error("bad_usage", message, {
      place: `mlpe ${command.name}`,
      fix: `Run \`mlpe ${command.name} --help\`.`,
    });
  }
  const excess = parsed.positionals[wordsMax(command.words ?? "")];
  if (excess !== undefined) {
    const takes = command.words === undefined ? "takes no words" : `takes ${command.words}`;
    const message = `"${excess}" is a word too many: mlpe ${command.name} ${takes}`;
    throw cliErrors.error("bad_usage", message, {
      place: `mlpe ${command.name}`,
      fix: `Run \`mlpe ${command.name} --help\`.`,
    });
  }
  const given = (name: string): unknown =>
    parsed.values[name] ?? environment[environmentName(name)] ?? flags[name]?.default;
  return {
    words: parsed.positionals,
    text: (name) => (given(name) === undefined ? undefined : String(given(name))),
    number: (name) => numberFlag(command, name, flags[name], given(name)),
    on: (name) => given(name) === true || given(name) === "1" || given(name) === "true",
    list: (name) => {
      const value = given(name);
      return Array.isArray(value) ? (value as string[]) : value === undefined ? [] : [String(value)];
    },
  };
}

/** `<a> <b>` and `[a]` are that many; `...` is any number. */
const wordsMax = (words: string): number =>
  words.includes("...") ? Number.POSITIVE_INFINITY : (words.match(/[<[]/g)?.length ?? 0);

function numberFlag(command: Command, name: string, flag: Flag | undefined, value: unknown): number | undefined {
  if (value === undefined) return undefined;
  const number = Number(value);
  const least = flag?.least ?? 0;
  if (String(value).trim() !== "" && Number.isSafeInteger(number) && number >= least) return number;
  throw cliErrors.error("bad_usage", noNumber(name, String(value), least), { place: `mlpe ${command.name}` });
}

const noNumber = (name: string, value: string, least: number): string =>
  `--${name} is ${JSON.stringify(value)}, which is no whole number from ${least}`;

/** What to say of a flag whose value begins with a dash, the first on the command line; undefined where none does. */
function ambiguous(flags: Readonly<Record<string, Flag>>, args: readonly string[]): string | undefined {
  for (const [index, arg] of args.entries()) {
    if (arg === "--") return undefined;
    const [name, value] = [arg.slice(2), args[index + 1]];
    const flag = arg.startsWith("--") ? flags[name] : undefined;
    if (!flag || flag.kind === "switch" || value === undefined || !/^-./.test(value)) continue;
    if (flag.kind === "number" && Number.isFinite(Number(value))) return noNumber(name, value, flag.least ?? 0);
    return `--${name} is followed by "${value}": a value that begins with a dash is written --${name}=${value}`;
  }
  return undefined;
}

/** The word at `index`, or `cli.bad_usage` naming what is missing. */
export function requireWord(command: Command, input: Input, index: number, what: string): string {
  const word = input.words[index];
  if (word !== undefined) return word;
  throw cliErrors.error("bad_usage", `${what} is missing`, {
    place: `mlpe ${command.name} ${command.words ?? ""}`.trim(),
  });
}

/** The flag's text, or `cli.bad_usage`. */
export function requireText(command: Command, input: Input, flag: string): string {
  const value = input.text(flag);
  if (value !== undefined) return value;
  throw cliErrors.error("bad_usage", `--${flag} is missing`, { place: `mlpe ${command.name}` });
}

export function helpOf(command: Command): string {
  const flags = Object.entries({ ...command.flags, ...COMMON_FLAGS });
  const lines = flags.map(([name, flag]) => {
    const value = flag.kind === "switch" ? "" : ` <${flag.kind === "number" ? "number" : "text"}>`;
    const fallback = flag.default === undefined ? "" : ` (default ${flag.default})`;
    return `  --${name}${value}\n        ${flag.describe}${fallback}; or ${environmentName(name)}`;
  });
  return `mlpe ${command.name} ${command.words ?? ""}\n  ${command.summary}\n\n${lines.join("\n")}`;
}
