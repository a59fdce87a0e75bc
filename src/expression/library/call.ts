import type { Span } from "sqlite3-parser";
import { nearest } from "../../base/nearest.ts";
import { besideTemporal } from "../align.ts";
import { isNumber, isReal, isWhole, type Kind, kindWord } from "../kinds.ts";
import type { Context, Typed } from "../typed.ts";
import { isZone } from "../zones.ts";
import type { Accepts, Form, LibraryFunction } from "./function.ts";
import { INSTEAD, LIBRARY } from "./library.ts";

/** A call of a library function; undefined after reporting that there is none, or that the arguments do not fit. */
export function callFunction(
  context: Context,
  written: string,
  values: readonly Typed[],
  span: Span,
  nameSpan: Span,
): Typed | undefined {
  const name = written.toLowerCase();
  const entry = LIBRARY.find((candidate) => candidate.name === name);
  if (entry === undefined) {
    const names = LIBRARY.map((candidate) => candidate.name);
    const near = nearest(name, names);
    const instead = Object.hasOwn(INSTEAD, name) ? INSTEAD[name] : undefined;
    const fix = instead ?? (near === undefined ? undefined : `Did you mean ${near}?`);
    context.problem("unknown_function", `there is no function ${written}`, nameSpan, fix);
    return undefined;
  }
  for (const form of entry.forms) {
    const fitted = fit(context, form, values);
    if (fitted !== undefined) return form.print(context, fitted, span);
  }
  const given = values.length === 0 ? "nothing" : values.map((value) => kindWord(value.kind)).join(", ");
  const badZone = values.find((value, i) => value.text !== undefined && i > 0 && wantsZone(entry, i));
  const badText = badZone !== undefined && !isZone(badZone.text!) ? `, and '${badZone.text}' is no time zone` : "";
  const fix = `It takes ${entry.forms.map((form) => signature(entry, form)).join(", or ")}.${hint(entry, values)}`;
  context.problem("arguments", `${name} does not take ${given}${badText}`, span, fix);
  return undefined;
}

const wantsZone = (entry: LibraryFunction, index: number): boolean =>
  entry.forms.some((form) => form.takes[index]?.accepts.includes("zone"));

function hint(entry: LibraryFunction, values: readonly Typed[]): string {
  const isText = values.length === 1 && values[0]!.kind === "string";
  if (isText && (entry.name === "int" || entry.name === "long" || entry.name === "double")) {
    return ` For text use try_${entry.name}.`;
  }
  return wantsZone(entry, 1) && values.length === 1 ? " Name the zone, as in 'America/New_York' or 'UTC'." : "";
}

/** `round(x: number, digits: digits)`. */
export function signature(entry: LibraryFunction, form: Form): string {
  const takes = form.takes.map(({ name, accepts }) => `${name}: ${accepts.join(" | ")}`);
  return `${entry.name}(${[...takes, ...(form.repeats ? ["..."] : [])].join(", ")})`;
}

/** The values as the form takes them (text literals read as timestamps), or undefined where they do not fit. */
function fit(context: Context, form: Form, values: readonly Typed[]): Typed[] | undefined {
  const { takes } = form;
  if (values.length < takes.length || (values.length > takes.length && form.repeats !== true)) return undefined;
  const fitted: Typed[] = [];
  for (const [index, value] of values.entries()) {
    const { accepts } = takes[Math.min(index, takes.length - 1)]!;
    const quiet = { ...context, problem: () => {} };
    const literal = accepts.includes("timestamp") ? "timestamp" : accepts.includes("date") ? "date" : undefined;
    const read = literal === undefined ? value : besideTemporal(quiet, value, { ...value, kind: literal });
    if (read === undefined || !accepts.some((accept) => ACCEPTED[accept](read))) return undefined;
    fitted.push(read);
  }
  return fitted;
}

const orNull =
  (test: (kind: Kind) => boolean) =>
  ({ kind }: Typed): boolean =>
    kind === "null" || test(kind);

const ACCEPTED: Readonly<Record<Accepts, (value: Typed) => boolean>> = {
  number: orNull(isNumber),
  whole: orNull(isWhole),
  real: orNull(isReal),
  text: orNull((kind) => kind === "string"),
  timestamp: orNull((kind) => kind === "timestamp"),
  date: orNull((kind) => kind === "date"),
  duration: orNull((kind) => kind === "duration"),
  boolean: orNull((kind) => kind === "boolean"),
  any: () => true,
  zone: (value) => value.text !== undefined && isZone(value.text),
  digits: (value) => value.kind === "int" && value.number !== undefined && value.number >= 0n && value.number <= 15n,
  input: () => false,
};
