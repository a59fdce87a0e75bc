import type { z } from "zod";
import type { Problem } from "../base/errors.ts";
import { configErrors } from "./errors.ts";
import { inputSchema } from "./keys.ts";
import { problemOf } from "./problems.ts";
import { type Config, configSchema, PATH_KEYS } from "./schema.ts";
import { type Mark, type Path, pathKey, pathText, readTree } from "./tree.ts";
import type { Environment } from "./variables.ts";
import { checkWiring } from "./wiring.ts";

const PROBLEMS_MAX = 100;
const NUMBER = /^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$/;

/**
 * `mlpe.yaml` as a checked config. `place` names the file in messages; `environment` answers `${VAR}` and holds HOME
 * for `~/`; `overrides` are `path.to.key=value` (`--set`), the value read as YAML, laid over the file.
 * Throws one MlpeError `config.*` that lists every problem (at most 100) with its line and column; nothing is read from
 * disk, and a value that came out of the environment is never printed. Other paths stay relative: `absolutePaths`.
 */
export function loadConfig(
  text: string,
  place: string,
  environment: Environment,
  overrides: readonly string[] = [],
): Config {
  const tree = readTree(text, place, environment);
  const marks = new Map(tree.marks);
  const problems: Problem[] = [...tree.problems];
  let value = tree.value;
  if (problems.length === 0 && (value === null || typeof value !== "object" || Array.isArray(value))) {
    problems.push(notAMap(value, place));
  }
  for (const override of overrides) value = applyOverride(value, override, environment, marks, problems);
  if (value === null || typeof value !== "object" || Array.isArray(value)) throw failure(problems, place);
  const checked = check(value, marks);
  if (!checked.success) {
    // Where a variable was missing, the hole it left says nothing new.
    const told = new Set(problems.map((problem) => problem.place));
    const subject = { root: value, marks, place, schema: inputSchema() };
    const found = checked.error.issues.flatMap((issue) => problemOf(issue, subject));
    problems.push(...found.filter((problem) => !told.has(problem.place)));
  }
  if (problems.length > 0 || !checked.success) throw failure(problems, place);
  const config = expandHomes(checked.data, environment, marks, place, problems);
  for (const problem of checkWiring(config)) problems.push(located(problem, marks, place));
  if (problems.length > 0) throw failure(problems, place);
  return config;
}

/** The config with every path absolute, from the folder that the file is in. Pure: nothing is looked up. */
export function absolutePaths(config: Config, folder: string): Config {
  const base = folder.endsWith("/") ? folder : `${folder}/`;
  return mapPaths(config, (path) => (path.startsWith("/") ? path : normalise(base + path)));
}

/** An absolute path without `.`, `..` and doubled slashes. */
export function normalise(path: string): string {
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return `/${parts.join("/")}`;
}

function failure(problems: readonly Problem[], place: string) {
  const first = problems[0]!;
  const name = first.code.slice("config.".length) as keyof typeof configErrors.entries;
  const more = problems.length === 1 ? "" : ` (and ${problems.length - 1} more)`;
  return configErrors.error(name, `${first.message}${more}`, {
    place: first.place ?? place,
    fix: first.fix,
    problems: problems.slice(0, PROBLEMS_MAX),
  });
}

function notAMap(value: unknown, place: string): Problem {
  const fix = "Start with `site: <name>` and `keys: { path: <file> }`.";
  if (value === null || value === undefined) {
    return configErrors.problem("missing", `${place} is empty`, { place: `${place}:1:1`, fix });
  }
  return configErrors.problem("wrong_type", `${place} is not a map of keys`, { place: `${place}:1:1`, fix });
}

/** Reads the tree by the schema; texts out of the environment become numbers and booleans where those are asked for. */
function check(value: unknown, marks: ReadonlyMap<string, Mark>): z.ZodSafeParseResult<Config> {
  const first = configSchema.safeParse(value);
  if (first.success) return first;
  let changed = false;
  for (const issue of first.error.issues) {
    if (issue.code !== "invalid_type" || !marks.get(pathKey(issue.path as Path))?.expanded) continue;
    changed = coerce(value, issue.path as Path, issue.expected) || changed;
  }
  return changed ? configSchema.safeParse(value) : first;
}

function coerce(root: unknown, path: Path, expected: string): boolean {
  let parent = root as Record<string | number, unknown>;
  for (const segment of path.slice(0, -1)) parent = parent[segment] as Record<string | number, unknown>;
  const last = path.at(-1)!;
  const text = parent[last];
  if (typeof text !== "string") return false;
  const trimmed = text.trim();
  if (expected === "boolean" && (trimmed === "true" || trimmed === "false")) parent[last] = trimmed === "true";
  else if ((expected === "number" || expected === "int") && NUMBER.test(trimmed)) parent[last] = Number(trimmed);
  else return false;
  return true;
}

function applyOverride(
  root: unknown,
  override: string,
  environment: Environment,
  marks: Map<string, Mark>,
  problems: Problem[],
): unknown {
  const equals = override.indexOf("=");
  const path = equals < 1 ? [] : override.slice(0, equals).split(".");
  // The value may be a secret: only the path is printed.
  const place = equals < 1 ? "--set" : `--set ${override.slice(0, equals)}`;
  if (path.length === 0 || path.some((part) => part === "" || part === "__proto__")) {
    problems.push(configErrors.problem("bad_override", `${place} is not path.to.key=value`, { place }));
    return root;
  }
  const tree = readTree(override.slice(equals + 1), place, environment, path);
  problems.push(...tree.problems);
  for (const [key, mark] of tree.marks) marks.set(key, { ...mark, key: place, value: place });
  if (root === null || typeof root !== "object") return root;
  let parent = root as Record<string, unknown>;
  for (const segment of path.slice(0, -1)) {
    const next = Object.hasOwn(parent, segment) ? parent[segment] : undefined;
    if (next === undefined || next === null) parent[segment] = {};
    else if (typeof next !== "object") {
      const message = `${place} goes below "${segment}", which is one value`;
      problems.push(configErrors.problem("bad_override", message, { place }));
      return root;
    }
    parent = parent[segment] as Record<string, unknown>;
  }
  parent[path.at(-1)!] = tree.value;
  return root;
}

function expandHomes(
  config: Config,
  environment: Environment,
  marks: ReadonlyMap<string, Mark>,
  place: string,
  problems: Problem[],
): Config {
  const home = Object.hasOwn(environment, "HOME") ? environment.HOME : undefined;
  return mapPaths(config, (path, at) => {
    if (path !== "~" && !path.startsWith("~/")) return path;
    if (home) return home.replace(/\/+$/, "") + path.slice(1);
    const message = "~/ stands for the home directory, and the environment variable HOME is not set";
    const problem = configErrors.problem("missing_variable", message, {
      place: pathText(at),
      fix: "Set HOME, or write the whole path.",
    });
    problems.push(located(problem, marks, place));
    return path;
  });
}

function mapPaths(config: Config, change: (path: string, at: Path) => string): Config {
  const walk = (value: unknown, pattern: readonly string[], at: Path): unknown => {
    if (value === undefined || value === null) return value;
    if (pattern.length === 0) return typeof value === "string" ? change(value, at) : value;
    if (typeof value !== "object") return value;
    const [head, ...rest] = pattern;
    if (Array.isArray(value)) return value.map((item, index) => walk(item, rest, [...at, index]));
    const entries = Object.entries(value).map(([key, item]) => [
      key,
      head === "*" || head === key ? walk(item, rest, [...at, key]) : item,
    ]);
    return Object.fromEntries(entries);
  };
  return PATH_KEYS.reduce<unknown>((current, keys) => walk(current, keys.split("."), []), config) as Config;
}

/** A wiring problem's place is a path: add the line it was written on. */
function located(problem: Problem, marks: ReadonlyMap<string, Mark>, place: string): Problem {
  const path = (problem.place ?? "").split(".");
  for (let length = path.length; length > 0; length--) {
    const mark = marks.get(pathKey(path.slice(0, length)));
    if (mark) return { ...problem, place: `${mark.key} (${problem.place})` };
  }
  return { ...problem, place: problem.place ? `${place} (${problem.place})` : place };
}
