import type { Span } from "sqlite3-parser";
import { align } from "./align.ts";
import { betweenOf, choiceOf, comparisonOf, connectiveOf, negationOf, nullTestOf } from "./direct.ts";
import { hullOf, kindWord } from "./kinds.ts";
import { type Context, type SqlValue, type Typed, typed } from "./typed.ts";

/** The printing and the flags of a step that joins parts: `print` gets each part's text in all three forms. */
export function joined(
  parts: readonly Typed[],
  print: (texts: string[]) => string,
  canonical: (texts: string[]) => string = print,
): Pick<Typed, "run" | "explain" | "canonical" | "fallible"> {
  return {
    run: print(parts.map((part) => part.run)),
    explain: print(parts.map((part) => part.explain)),
    canonical: canonical(parts.map((part) => part.canonical)),
    fallible: parts.some((part) => part.fallible),
  };
}

export const anyNullable = (parts: readonly Typed[]): boolean => parts.some((part) => part.nullable);

/** Whether the value can stand as a condition; reports it where not. */
function isCondition(context: Context, value: Typed, what: string): boolean {
  if (value.kind === "boolean" || value.kind === "null") return true;
  const fix = value.kind === "string" ? "Compare it with a text, as in x = 'yes'." : undefined;
  context.problem("not_boolean", `${what} needs a boolean, not ${kindWord(value.kind)}`, value.span, fix);
  return false;
}

/** `a and b`, `a or b`: three-valued. */
export function connective(context: Context, word: "and" | "or", a: Typed, b: Typed, span: Span): Typed | undefined {
  const fine = [a, b].map((side) => isCondition(context, side, word)).every(Boolean);
  if (!fine) return undefined;
  const printed = joined([a, b], ([x, y]) => `(${x} ${word} ${y})`);
  const direct = connectiveOf(word, a.direct, b.direct);
  return typed({ kind: "boolean", nullable: anyNullable([a, b]), span, direct, ...printed });
}

export function negation(context: Context, value: Typed, span: Span): Typed | undefined {
  if (!isCondition(context, value, "not")) return undefined;
  const printed = joined([value], ([x]) => `(not ${x})`);
  return typed({ kind: "boolean", nullable: value.nullable, span, direct: negationOf(value.direct), ...printed });
}

export type Comparison = "=" | "<>" | "<" | "<=" | ">" | ">=" | "is" | "is not";

export function comparison(context: Context, sign: Comparison, a: Typed, b: Typed, span: Span): Typed | undefined {
  const aligned = align(context, [a, b], `${sign} can't compare`, span, false);
  if (aligned === undefined) return undefined;
  const nullable = sign === "is" || sign === "is not" ? false : anyNullable([a, b]);
  const printed = joined(aligned.values, ([x, y]) => `(${x} ${sign} ${y})`);
  const [left, right] = aligned.values;
  const direct = comparisonOf(sign, left!.direct, right!.direct);
  return typed({ kind: "boolean", nullable, span, direct, ...printed });
}

export function nullTest(value: Typed, not: boolean, span: Span): Typed {
  const word = not ? "is not null" : "is null";
  const printed = joined([value], ([x]) => `(${x} ${word})`);
  return typed({ kind: "boolean", nullable: false, span, direct: nullTestOf(value.direct, not), ...printed });
}

export function between(context: Context, parts: readonly Typed[], not: boolean, span: Span): Typed | undefined {
  const aligned = align(context, parts, "between can't compare", span, false);
  if (aligned === undefined) return undefined;
  const word = not ? "not between" : "between";
  const printed = joined(aligned.values, ([x, low, high]) => `(${x} ${word} ${low} and ${high})`);
  const direct = betweenOf(directsOf(aligned.values), not);
  return typed({ kind: "boolean", nullable: anyNullable(parts), span, direct, ...printed });
}

/** `x in (a, b)`: as `x = a or x = b`, so a null among them makes an unmatched x null. */
export function inList(context: Context, parts: readonly Typed[], not: boolean, span: Span): Typed | undefined {
  if (parts.length < 2) {
    context.problem("arguments", "in needs at least one value", span, "List the values: x in ('a', 'b').");
    return undefined;
  }
  const aligned = align(context, parts, "in can't compare", span, false);
  if (aligned === undefined) return undefined;
  const word = not ? "not in" : "in";
  const printed = joined(aligned.values, ([x, ...list]) => `(${x} ${word} (${list.join(", ")}))`);
  return typed({ kind: "boolean", nullable: anyNullable(parts), span, ...printed });
}

export interface Branch {
  readonly when: Typed;
  readonly result: Typed;
}

/** `case [base] when .. then .. else .. end`; the branches have one kind, or are widened to one. */
export function conditional(
  context: Context,
  base: Typed | undefined,
  branches: readonly Branch[],
  otherwise: Typed | undefined,
  span: Span,
): Typed | undefined {
  const whens = conditions(context, base, branches, span);
  const results = branches.map((branch) => branch.result);
  const all = otherwise === undefined ? results : [...results, otherwise];
  const aligned = align(context, all, "the branches have two types,", span, true);
  if (whens === undefined || aligned === undefined) return undefined;
  const [first, tests] = base === undefined ? [undefined, whens] : [whens[0], whens.slice(1)];
  const last = otherwise === undefined || otherwise.kind === "null" ? undefined : aligned.values.at(-1);
  const thens = aligned.values.slice(0, branches.length);
  const parts = [...(first ? [first] : []), ...tests.flatMap((test, i) => [test, thens[i]!]), ...(last ? [last] : [])];
  const printed = joined(parts, (texts) => printCase(texts, first !== undefined, tests.length));
  const { values } = aligned;
  return typed({
    kind: aligned.kind,
    nullable: last === undefined || anyNullable(values),
    span,
    range: aligned.kind === "null" ? undefined : hull(values),
    finite: values.every((value) => value.finite),
    direct: first ? undefined : choiceOf(directsOf(tests), directsOf(thens), last ? last.direct : () => null),
    ...printed,
  });
}

const directsOf = (parts: readonly Typed[]) => parts.map((part) => part.direct);

function conditions(context: Context, base: Typed | undefined, branches: readonly Branch[], span: Span) {
  const whens = branches.map((branch) => branch.when);
  if (base !== undefined) return align(context, [base, ...whens], "case can't compare", span, false)?.values;
  const fine = whens.map((when) => isCondition(context, when, "when")).every(Boolean);
  return fine ? whens : undefined;
}

function printCase(texts: string[], hasBase: boolean, count: number): string {
  const rest = [...texts];
  const base = hasBase ? `${rest.shift()} ` : "";
  const pairs = Array.from({ length: count }, () => `when ${rest.shift()} then ${rest.shift()} `).join("");
  const last = rest.length > 0 ? `else ${rest[0]} ` : "";
  return `(case ${base}${pairs}${last}end)`;
}

/** The bounds of one of several values. */
export function hull(values: readonly Typed[]): Typed["range"] {
  const ranges = values.filter((value) => value.kind !== "null").map((value) => value.range);
  const known = ranges.filter((range) => range !== undefined);
  return known.length === ranges.length && known.length > 0 ? known.reduce(hullOf) : undefined;
}

/** `a || b`: null where either is. */
export function concatenation(context: Context, a: Typed, b: Typed, span: Span): Typed | undefined {
  for (const side of [a, b]) {
    if (side.kind === "string" || side.kind === "null") continue;
    const fix = "Make it text with text(x).";
    context.problem("type_mismatch", `|| joins text, not ${kindWord(side.kind)}`, side.span, fix);
    return undefined;
  }
  const printed = joined([a, b], ([x, y]) => `(${x} || ${y})`);
  return typed({ kind: "string", nullable: anyNullable([a, b]), span, ...printed });
}

/** Longest pattern of `like`, in characters. */
const PATTERN_MAX = 200;

/** `x like 'pattern'`: case-sensitive, `%` any run and `_` any one character. The pattern is a literal. */
export function like(
  context: Context,
  value: Typed,
  pattern: Typed,
  escaping: Typed | undefined,
  not: boolean,
  span: Span,
): Typed | undefined {
  if (value.kind !== "string" && value.kind !== "null") {
    context.problem("type_mismatch", `like searches text, not ${kindWord(value.kind)}`, value.span);
    return undefined;
  }
  if (pattern.text === undefined || (escaping !== undefined && escaping.text === undefined)) {
    context.problem("literal", "the pattern of like is not a text literal", pattern.span, "Write it as 'text%'.");
    return undefined;
  }
  const mark = escaping?.text;
  const items = readPattern(pattern.text, mark);
  if (items === undefined || (mark !== undefined && [...mark].length !== 1)) {
    const fix = `Use at most ${PATTERN_MAX} characters, and one escape character that is always followed by another.`;
    context.problem("literal", "the pattern of like is not valid", pattern.span, fix);
    return undefined;
  }
  const key = `like ${JSON.stringify([pattern.text, mark])}`;
  const call = (text: SqlValue) => (text === null ? null : matches(String(text), items));
  const print = likeCall(context, key, value, call);
  const tail = `${pattern.canonical}${escaping === undefined ? "" : ` escape ${escaping.canonical}`}`;
  const printed = joined(
    [value],
    ([x]) => (not ? `(not ${print(x!)})` : print(x!)),
    ([x]) => `(${x} ${not ? "not like" : "like"} ${tail})`,
  );
  return typed({ kind: "boolean", nullable: value.nullable, span, ...printed });
}

function likeCall(
  context: Context,
  key: string,
  value: Typed,
  call: (text: SqlValue) => SqlValue,
): (sql: string) => string {
  if (value.column !== undefined) {
    const slot = context.derivedSlot(key, value.column, { from: "string", to: "boolean" }, call);
    return () => slot;
  }
  const name = context.helper(key, true, () => call);
  return (sql) => `CAST(${name}(${sql}) AS INTEGER)`;
}

/** undefined: one character; null: any run; else that character. */
type PatternItem = string | null | undefined;

function readPattern(pattern: string, escaping: string | undefined): PatternItem[] | undefined {
  const items: PatternItem[] = [];
  const characters = [...pattern];
  if (characters.length > PATTERN_MAX) return undefined;
  for (let i = 0; i < characters.length; i++) {
    let item: PatternItem = characters[i]!;
    if (item === escaping) {
      i++;
      if (i === characters.length) return undefined;
      item = characters[i]!;
    } else if (item === "%") item = null;
    else if (item === "_") item = undefined;
    if (item !== null || items.at(-1) !== null || items.length === 0) items.push(item);
  }
  return items;
}

/** Time at most proportional to the product of both lengths: only the latest `%` is ever tried again. */
function matches(text: string, items: readonly PatternItem[]): boolean {
  const characters = [...text];
  let at = 0;
  let item = 0;
  let star = -1;
  let starAt = 0;
  while (at < characters.length) {
    if (item < items.length && items[item] === null) {
      star = item++;
      starAt = at;
    } else if (item < items.length && (items[item] === undefined || items[item] === characters[at])) {
      item++;
      at++;
    } else if (star >= 0) {
      item = star + 1;
      at = ++starAt;
    } else return false;
  }
  while (item < items.length && items[item] === null) item++;
  return item === items.length;
}
