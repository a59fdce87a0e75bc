import type { Span } from "sqlite3-parser";
import { dayOf, formatDay, formatInstant, parseInstant } from "../base/time.ts";
import { wholeConstant } from "./direct.ts";
import { commonKind, type Kind, kindWord } from "./kinds.ts";
import { asDouble, type Context, type Typed } from "./typed.ts";

/**
 * Brings values that are compared, or are alternatives of each other, to one kind: text literals beside timestamps and
 * dates are read as such, and nulls fit anywhere. `convert` also widens whole numbers beside reals (alternatives need
 * one storage class; comparisons don't, as SQLite compares them exactly). Undefined after reporting a mismatch.
 */
export function align(
  context: Context,
  values: readonly Typed[],
  what: string,
  span: Span,
  convert: boolean,
): { kind: Kind; values: Typed[] } | undefined {
  const temporal = values.map(temporalKind).find((kind) => kind !== undefined);
  const read: Typed[] = [];
  for (const value of values) {
    const adapted = temporal !== undefined && value.text !== undefined ? readLiteral(context, value, temporal) : value;
    if (adapted === undefined) return undefined;
    read.push(adapted);
  }
  let kind: Kind = "null";
  for (const value of read) {
    const common = commonKind(kind, value.kind);
    if (common === undefined) {
      const message = `${what} ${kindWord(kind)} and ${kindWord(value.kind)}`;
      context.problem("type_mismatch", message, span, adviceFor(kind, value.kind));
      return undefined;
    }
    kind = common;
  }
  const widen = convert && kind === "double";
  return { kind, values: widen ? read.map((v) => (v.kind === "null" ? v : asDouble(context, v))) : read };
}

/** What to do about two kinds that do not go together. */
export function adviceFor(a: Kind, b: Kind): string | undefined {
  const kinds = new Set([a, b]);
  const number = ["int", "long", "float", "double"].some((kind) => kinds.has(kind as Kind));
  if (kinds.has("string") && number)
    return "Convert the text with try_int, try_long or try_double, or the number with text().";
  if (kinds.has("string") && kinds.has("timestamp")) return "Convert the text with try_timestamp().";
  if (kinds.has("string") && kinds.has("date")) return "Convert the text with try_date().";
  if (kinds.has("timestamp") && kinds.has("date")) return "Convert the timestamp with date(x, 'Zone').";
  if (kinds.has("duration") && number) return "Make a duration with hours(n), minutes(n) or seconds(n).";
  if (kinds.has("timestamp") && number) return "Make a duration with hours(n), or a timestamp of a text literal.";
  if (kinds.has("boolean") && number) return "Compare the number with something, or use iif(condition, 1, 0).";
  return undefined;
}

/** A text literal as the timestamp or date it says, printed as a number. */
function readLiteral(context: Context, value: Typed, kind: "timestamp" | "date"): Typed | undefined {
  const read = kind === "date" ? dayOf(value.text!) : parseInstant(value.text!);
  if (read === undefined) {
    const example = kind === "date" ? "'2013-01-31'" : "'2013-01-31T10:00:00Z'";
    const message = `'${value.text}' is not ${kindWord(kind)}`;
    context.problem("literal", message, value.span, `Write it as ${example}, with its offset from UTC.`);
    return undefined;
  }
  const number = BigInt(read);
  const canonical = `'${kind === "date" ? formatDay(read) : formatInstant(read)}'`;
  const sql = String(number);
  return {
    ...value,
    kind,
    range: { low: number, high: number },
    run: sql,
    explain: sql,
    canonical,
    text: undefined,
    direct: wholeConstant(number),
  };
}

/** `t - '2013-01-01'`, `t in (...)`: the literal beside a timestamp or date, read as one; others as they are. */
export function besideTemporal(context: Context, value: Typed, other: Typed): Typed | undefined {
  const temporal = temporalKind(other);
  return temporal !== undefined && value.text !== undefined ? readLiteral(context, value, temporal) : value;
}

const temporalKind = ({ kind }: Typed): "timestamp" | "date" | undefined =>
  kind === "timestamp" || kind === "date" ? kind : undefined;
