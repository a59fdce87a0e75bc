import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  type YAMLError,
  type YAMLMap,
} from "yaml";
import type { Problem } from "../base/errors.ts";
import { configErrors } from "./errors.ts";
import { type Environment, expandVariables } from "./variables.ts";

export type Path = readonly (string | number)[];

/** Where a value was written, and whether it came out of the environment. */
export interface Mark {
  /** `mlpe.yaml:12:5` of the key, or of the list item. */
  readonly key: string;
  readonly value: string;
  /** A `${...}` was expanded here: the text may stand for a number. */
  readonly expanded: boolean;
  /** The variables whose values are in it: it is never printed. */
  readonly variables: readonly string[];
}

/** A YAML document as plain values, with the place of each. */
export interface Tree {
  readonly value: unknown;
  readonly marks: ReadonlyMap<string, Mark>;
  readonly problems: readonly Problem[];
}

const BYTES_MAX = 1_048_576;
const DEPTH_MAX = 32;
const VALUES_MAX = 50_000;

export const pathKey = (path: Path): string => path.join("\u0000");
export const pathText = (path: Path): string => path.join(".");

interface Reading {
  readonly document: Document;
  readonly lines: LineCounter;
  readonly place: string;
  readonly environment: Environment;
  readonly marks: Map<string, Mark>;
  readonly problems: Problem[];
  values: number;
}

/** Thrown inside this file only, to leave the recursion when a bound is reached. */
class TooLarge extends Error {}

/**
 * Reads one YAML document: aliases and `<<` are resolved, variables expanded inside scalars (so a value can't become
 * structure), keys checked for duplicates. `at` puts the tree below a path (for `--set`).
 */
export function readTree(text: string, place: string, environment: Environment, at: Path = []): Tree {
  const marks = new Map<string, Mark>();
  const problems: Problem[] = [];
  const fail = (problem: Problem): Tree => ({ value: undefined, marks, problems: [problem] });
  if (text.length > BYTES_MAX) {
    return fail(configErrors.problem("too_large", `${place} has ${text.length} characters`, { place }));
  }
  const lines = new LineCounter();
  try {
    const document = parseDocument(text, {
      lineCounter: lines,
      prettyErrors: false,
      stringKeys: true,
      uniqueKeys: false,
      resolveKnownTags: false,
      logLevel: "error",
    });
    // What a parser says after its first error is mostly an echo of it.
    const error = document.errors[0] ?? document.warnings[0];
    if (error) return fail(syntaxProblem(error, text, place, lines));
    const reading: Reading = { document, lines, place, environment, marks, problems, values: 0 };
    return { value: convert(reading, document.contents as Node | null, at, 0), marks, problems };
  } catch (error) {
    // The parser and `convert` recurse: a stack that runs out means the same as our own bound.
    if (!(error instanceof TooLarge) && !(error instanceof RangeError)) throw error;
    const message = error instanceof TooLarge ? error.message : `${place} is nested too deep`;
    return fail(configErrors.problem("too_large", message, { place }));
  }
}

function syntaxProblem(error: YAMLError, text: string, place: string, lines: LineCounter): Problem {
  if (error.code === "MULTIPLE_DOCS") {
    return configErrors.problem("not_yaml", "a second YAML document begins here", {
      place: spot(place, lines, error.pos[0]),
      fix: "Keep one document: remove the `---`.",
    });
  }
  const code = error.code === "RESOURCE_EXHAUSTION" ? "too_large" : "not_yaml";
  const { line } = lines.linePos(error.pos[0]);
  // `{ every: ${DAYS} }`: inside braces YAML reads the variable's own braces as a map.
  const unquoted = /[[{:,]\s*\$\{/.test(text.split("\n")[line - 1] ?? "");
  const fix = unquoted ? 'Quote variables inside { } and [ ]: "${NAME}".' : undefined;
  return configErrors.problem(code, error.message.split("\n")[0]!, { place: spot(place, lines, error.pos[0]), fix });
}

function spot(place: string, lines: LineCounter, offset: number): string {
  const { line, col } = lines.linePos(offset);
  return line === 0 ? `${place}:1:1` : `${place}:${line}:${col}`;
}

function convert(reading: Reading, node: Node | null, path: Path, depth: number): unknown {
  if (++reading.values > VALUES_MAX) throw new TooLarge(`${reading.place} has more than ${VALUES_MAX} values`);
  if (depth > DEPTH_MAX)
    throw new TooLarge(`${reading.place} is nested deeper than ${DEPTH_MAX} levels at ${pathText(path)}`);
  const where = spot(reading.place, reading.lines, node?.range?.[0] ?? 0);
  if (!reading.marks.has(pathKey(path))) mark(reading, path, where, where);
  if (node === null) return null;
  if (isAlias(node)) {
    const target = node.resolve(reading.document);
    if (target) return convert(reading, target as Node, path, depth + 1);
    const message = `*${node.source} stands for nothing: no &${node.source} comes before it`;
    reading.problems.push(configErrors.problem("not_yaml", message, { place: `${where} (${pathText(path)})` }));
    return null;
  }
  if (isMap(node)) return convertMap(reading, node, path, depth);
  if (isSeq(node)) {
    return node.items.map((item, index) => convert(reading, item as Node | null, [...path, index], depth + 1));
  }
  if (!isScalar(node)) return null;
  if (typeof node.value === "string") return expand(reading, node.value, path, where);
  // 2^53 + 1 as a number would be another number: the text goes on to where its type is decided.
  if (typeof node.value === "number" && Number.isInteger(node.value) && !Number.isSafeInteger(node.value)) {
    return node.source ?? String(node.value);
  }
  return node.value;
}

function convertMap(reading: Reading, map: YAMLMap, path: Path, depth: number): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  const own = new Set(map.items.map((pair) => keyText(pair.key)));
  const seen = new Map<string, string>();
  for (const pair of map.items) {
    const key = keyText(pair.key);
    const keyNode = pair.key as Node | null;
    const where = spot(reading.place, reading.lines, keyNode?.range?.[0] ?? map.range?.[0] ?? 0);
    const inner = [...path, key];
    if (key === "<<") {
      merge(reading, pair.value as Node | null, path, depth, own, result, where);
      continue;
    }
    const first = seen.get(key);
    if (first !== undefined) {
      const message = `"${key}" stands twice: first at ${first}`;
      reading.problems.push(configErrors.problem("duplicate_key", message, { place: `${where} (${pathText(inner)})` }));
      continue;
    }
    seen.set(key, where);
    if (key === "__proto__") {
      const place = `${where} (${pathText(inner)})`;
      reading.problems.push(
        configErrors.problem("unknown_key", '"__proto__" is no name', { place, fix: "Choose another name." }),
      );
      continue;
    }
    const value = pair.value as Node | null;
    mark(reading, inner, where, value?.range ? spot(reading.place, reading.lines, value.range[0]) : where);
    result[key] = convert(reading, value, inner, depth + 1);
  }
  return result;
}

const keyText = (key: unknown): string => (isScalar(key) ? String(key.value ?? "") : String(key ?? ""));

/** `<<: *base` or `<<: [*a, *b]`: keys that the map does not have itself, the first map first. */
function merge(
  reading: Reading,
  node: Node | null,
  path: Path,
  depth: number,
  own: ReadonlySet<string>,
  result: Record<string, unknown>,
  where: string,
): void {
  const target = isAlias(node) ? node.resolve(reading.document) : node;
  const sources = isSeq(target) ? target.items : [target];
  for (const source of sources) {
    const map = isAlias(source) ? source.resolve(reading.document) : source;
    if (!isMap(map)) {
      const place = `${where} (${pathText(path)})`;
      reading.problems.push(
        configErrors.problem("wrong_type", '"<<" merges a map, and this is none', {
          place,
          fix: "Write <<: *name of an anchored map.",
        }),
      );
      continue;
    }
    const merged = convert(reading, map as Node, [...path, "<<"], depth + 1) as Record<string, unknown>;
    for (const [key, value] of Object.entries(merged)) {
      if (own.has(key) || Object.hasOwn(result, key)) continue;
      moveMarks(reading, [...path, "<<", key], [...path, key]);
      result[key] = value;
    }
  }
}

function moveMarks(reading: Reading, from: Path, to: Path): void {
  const prefix = pathKey(from);
  for (const [key, value] of [...reading.marks]) {
    if (key === prefix || key.startsWith(`${prefix}\u0000`))
      reading.marks.set(pathKey(to) + key.slice(prefix.length), value);
  }
}

function mark(reading: Reading, path: Path, key: string, value: string): void {
  reading.marks.set(pathKey(path), { key, value, expanded: false, variables: [] });
}

function expand(reading: Reading, text: string, path: Path, where: string): string {
  if (!text.includes("${")) return text;
  const { text: value, used, missing, broken } = expandVariables(text, reading.environment);
  const place = `${where} (${pathText(path)})`;
  for (const name of missing) {
    const message = `the environment variable ${name} is not set`;
    const fix = `Set ${name}, or write a default: \${${name}:-default}.`;
    reading.problems.push(configErrors.problem("missing_variable", message, { place, fix }));
  }
  for (const shown of broken) {
    reading.problems.push(configErrors.problem("bad_variable", `${shown} is not a variable`, { place }));
  }
  const known = reading.marks.get(pathKey(path));
  reading.marks.set(pathKey(path), { key: known?.key ?? where, value: where, expanded: true, variables: used });
  return value;
}
