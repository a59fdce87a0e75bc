import type { z } from "zod";
import type { Problem } from "../base/errors.ts";
import { nearest } from "../base/nearest.ts";
import { configErrors } from "./errors.ts";
import { type JsonSchema, schemasAt, typeText } from "./keys.ts";
import { type Mark, type Path, pathKey, pathText } from "./tree.ts";

type Issue = z.core.$ZodIssue;

/** What the issues are about. */
export interface Subject {
  readonly root: unknown;
  readonly marks: ReadonlyMap<string, Mark>;
  readonly place: string;
  readonly schema: JsonSchema;
}

/** What zod found, said for a reader of `mlpe.yaml`: the line, the key, what is there and what should be. */
export function problemOf(issue: Issue, subject: Subject): readonly Problem[] {
  const path = issue.path as Path;
  const here = placeOf(path, subject, "value");
  const name = path.length === 0 ? subject.place : `"${String(path.at(-1))}"`;
  switch (issue.code) {
    case "unrecognized_keys":
      return issue.keys.map((key) => unknownKey(key, path, subject));
    case "invalid_union":
      return unionProblems(issue, subject);
    case "invalid_key":
      return [badName(issue, path, subject)];
    case "invalid_type":
      return [typeProblem(issue, path, subject)];
    case "invalid_value": {
      const values = issue.values.map((value) => `"${String(value)}"`).join(", ");
      if (valueAt(subject.root, path) === undefined) return [missing(path, subject)];
      const shown = shownValue(path, subject);
      const near = typeof valueAt(subject.root, path) === "string" && !isSecret(path, subject);
      const suggestion = near ? nearest(String(valueAt(subject.root, path)), issue.values.map(String)) : undefined;
      const fix = suggestion ? `Did you mean "${suggestion}"? It takes ${values}.` : `Write one of ${values}.`;
      return [configErrors.problem("bad_value", `${name} is ${shown}, not one of ${values}`, { place: here, fix })];
    }
    case "too_small":
    case "too_big":
    case "invalid_format":
    case "not_multiple_of":
    case "custom": {
      const message = `${name} is ${shownValue(path, subject)}: it ${ruleText(issue)}`;
      return [configErrors.problem("bad_value", message, { place: here, fix: `Write ${wanted(path, subject)}.` })];
    }
    default:
      return [configErrors.problem("bad_value", `${name} is not valid`, { place: here })];
  }
}

function ruleText(issue: Issue): string {
  if (issue.code === "too_small" || issue.code === "too_big") {
    const bound = issue.code === "too_small" ? issue.minimum : issue.maximum;
    const unit = issue.origin === "string" ? " characters" : issue.origin === "array" ? " items" : "";
    if (issue.origin === "string" && issue.code === "too_small" && Number(bound) === 1) return "must not be empty";
    if (issue.code === "too_small") return `must be ${issue.inclusive ? "at least" : "above"} ${bound}${unit}`;
    return `must be ${issue.inclusive ? "at most" : "below"} ${bound}${unit}`;
  }
  const text = issue.message;
  return /^(must|is) /.test(text)
    ? text
    : issue.code === "invalid_format"
      ? `must match ${issue.pattern ?? "its format"}`
      : text;
}

function typeProblem(issue: Issue & { code: "invalid_type" }, path: Path, subject: Subject): Problem {
  const value = valueAt(subject.root, path);
  if (value === undefined) return missing(path, subject);
  const name = path.length === 0 ? subject.place : `"${String(path.at(-1))}"`;
  const expected = wanted(path, subject);
  const there = value === null ? "empty" : shownValue(path, subject);
  const fix =
    value === null
      ? `Write ${expected}, or remove the key${issue.expected === "object" || issue.expected === "record" ? "; an empty map is {}" : ""}.`
      : `Write ${expected}.`;
  const message = `${name} is ${there}, and takes ${expected}`;
  return configErrors.problem("wrong_type", message, { place: placeOf(path, subject, "value"), fix });
}

function missing(path: Path, subject: Subject): Problem {
  const key = String(path.at(-1));
  const parent = path.slice(0, -1);
  const owner = parent.length === 0 ? subject.place : `"${pathText(parent)}"`;
  const schema = schemasAt(subject.schema, path, subject.root)[0];
  const about = schema?.description ? `: ${schema.description}` : "";
  const at = placeOf(parent, subject, "key", path);
  return configErrors.problem("missing", `${owner} has no "${key}"`, { place: at, fix: `Add ${key}${about}.` });
}

function unknownKey(key: string, path: Path, subject: Subject): Problem {
  const full = [...path, key];
  const known = [
    ...new Set(schemasAt(subject.schema, path, subject.root).flatMap((schema) => Object.keys(schema.properties ?? {}))),
  ];
  const near = nearest(key, known);
  const owner = path.length === 0 ? subject.place : `"${pathText(path)}"`;
  const list = `Keys here: ${known.join(", ")}.`;
  return configErrors.problem("unknown_key", `${owner} has no key "${key}"`, {
    place: placeOf(full, subject, "key"),
    fix: near ? `Did you mean "${near}"? ${list}` : list,
  });
}

function badName(issue: Issue & { code: "invalid_key" }, path: Path, subject: Subject): Problem {
  const rule = issue.issues[0]?.message ?? "is not a valid name";
  const message = `the name "${String(path.at(-1))}" ${rule}`;
  const fix = "Rename it: lower case letters, digits and _, starting with a letter.";
  return configErrors.problem("bad_value", message, { place: placeOf(path, subject, "key"), fix });
}

/** Of the alternatives, the one that got furthest is the one that was meant. */
function unionProblems(issue: Issue & { code: "invalid_union" }, subject: Subject): readonly Problem[] {
  const path = issue.path as Path;
  const value = valueAt(subject.root, path);
  const branches = issue.errors.map((branch) => branch.filter((inner) => inner.path.length > 0));
  const meant = branches.filter((branch) => branch.length > 0).sort((a, b) => a.length - b.length)[0];
  if (meant) return meant.flatMap((inner) => problemOf({ ...inner, path: [...path, ...inner.path] } as Issue, subject));
  const { discriminator } = issue as { discriminator?: string };
  if (discriminator !== undefined) {
    const parent = path.at(-1) === discriminator ? path.slice(0, -1) : path;
    const at = [...parent, discriminator];
    const kinds = schemasAt(subject.schema, parent, subject.root).map((schema) =>
      String(schema.properties?.[discriminator]?.const),
    );
    const there = valueAt(subject.root, at);
    if (there === undefined)
      return [{ ...missing(at, subject), fix: `Add ${discriminator}: one of ${kinds.join(", ")}.` }];
    const near = typeof there === "string" && !isSecret(at, subject) ? nearest(there, kinds) : undefined;
    const message = `"${discriminator}" is ${shownValue(at, subject)}, not one of ${kinds.join(", ")}`;
    const fix = near ? `Did you mean "${near}"?` : `Write one of ${kinds.join(", ")}.`;
    return [configErrors.problem("bad_value", message, { place: placeOf(at, subject, "value"), fix })];
  }
  if (value === undefined) return [missing(path, subject)];
  const expected = wanted(path, subject);
  const there = value === null ? "empty" : shownValue(path, subject);
  const message = `"${String(path.at(-1))}" is ${there}, and takes ${expected}`;
  return [
    configErrors.problem("wrong_type", message, {
      place: placeOf(path, subject, "value"),
      fix: `Write ${expected}.`,
    }),
  ];
}

/** `a duration: 90s, 15m, 3h, 7d`, or the type in words. */
function wanted(path: Path, subject: Subject): string {
  const schema = schemasAt(subject.schema, path, subject.root);
  const types = [...new Set(schema.map(typeText))].join(" or ");
  const about = schema[0]?.description;
  return about ? `${types} (${about})` : types;
}

function valueAt(root: unknown, path: Path): unknown {
  let value = root;
  for (const segment of path) {
    if (value === null || typeof value !== "object" || !Object.hasOwn(value, segment)) return undefined;
    value = (value as Record<string | number, unknown>)[segment];
  }
  return value;
}

function isSecret(path: Path, subject: Subject): boolean {
  return (subject.marks.get(pathKey(path))?.variables.length ?? 0) > 0;
}

/** The value as it may be printed: short, and only the variable's name where it came out of the environment. */
function shownValue(path: Path, subject: Subject): string {
  const variables = subject.marks.get(pathKey(path))?.variables ?? [];
  if (variables.length > 0) return `the value of ${variables.map((name) => `\${${name}}`).join(" and ")}`;
  const value = valueAt(subject.root, path);
  if (Array.isArray(value)) return "a list";
  if (value !== null && typeof value === "object") return "a map";
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  const text = JSON.stringify(value) ?? "missing";
  return text.length > 60 ? `${text.slice(0, 57)}..."` : text;
}

function placeOf(path: Path, subject: Subject, which: "key" | "value", named: Path = path): string {
  const shown = named.length === 0 ? "" : ` (${pathText(named)})`;
  for (let length = path.length; length >= 0; length--) {
    const mark = subject.marks.get(pathKey(path.slice(0, length)));
    if (mark) return `${length === path.length ? mark[which] : mark.key}${shown}`;
  }
  return `${subject.place}:1:1${shown}`;
}
