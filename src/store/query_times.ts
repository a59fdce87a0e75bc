import type { Span } from "sqlite3-parser";
import { dayOf, formatDay, parseInstant } from "../base/time.ts";
import type { FieldType } from "../contract/contract.ts";
import { storeErrors } from "./errors.ts";

/** A part of a parsed query. */
export type Node = Readonly<Record<string, unknown>>;

/** A literal, or a function that makes a time, where it may be compared with stored times. */
export interface TimeText {
  readonly span: Span;
  /** `call`: the span is the function's name. `now`: of `current_timestamp` or `current_date`. */
  readonly kind: "literal" | "call" | "now";
  /** The literal as it is written, or the function's name in lower case. */
  readonly text: string;
  /** The instant that a literal is, taken as UTC where it says no offset. */
  readonly micros?: number;
  /** Columns on the other side, in lower case; undefined where the literal stands in no comparison. */
  readonly columns?: readonly string[];
  /** Whether such a column itself is compared, or the least, greatest or first of several; not something computed of it. */
  readonly direct: boolean;
  /** Whether it is such a column itself. */
  readonly alone?: boolean;
}

/** What `respellTimes` goes by. */
export interface Spelling {
  /** An instant as the stored ones are written. */
  readonly spell: (micros: number) => string;
  /** The type that a column of that name, in lower case, has in every table; undefined where there are several or none. */
  readonly typeOf: (column: string) => FieldType | undefined;
}

const COMPARES = /^(?:Less|Greater|Equals|NotEquals|Is)/;
/** Functions that give one of their arguments. */
const CHOOSING: ReadonlySet<string> = new Set(["min", "max", "coalesce", "ifnull", "nullif"]);
/** SQLite's functions whose texts are spelled otherwise than the stored ones. */
const CLOCKS: Readonly<Record<string, string>> = { datetime: "%Y-%m-%dT%H:%M:%S", date: "%Y-%m-%dT00:00:00" };
const NOW: Readonly<Record<string, string>> = { CurrentTimestampLiteral: "datetime", CurrentDateLiteral: "date" };
/** A year or a month: as a beginning of the stored texts it compares as it should. */
const BEGINNING = /^\d{4}(?:-\d{2})?$/;

/** What of a comparison may have to be spelled as stored times are. */
export function comparedTimes(node: Node): TimeText[] {
  const isComparison = node.type === "BinaryExpr" && COMPARES.test(String(node.op));
  if (!isComparison && node.type !== "InListExpr" && node.type !== "BetweenExpr") return [];
  const sides = [node.left, node.right, node.lhs, node.start, node.end, node.rhs].flat() as (Node | undefined)[];
  const given = sides.filter((side) => side !== undefined);
  const columns = [...new Set(given.flatMap(columnsIn))];
  if (columns.length === 0) return [];
  const direct = given.some((side) => chosenColumns(side).length > 0);
  const alone = given.some((side) => columnOf(side) !== undefined);
  return given.flatMap((side): TimeText[] => {
    const span = side.span as Span;
    if (side.type === "StringLiteral" || side.type === "NumericLiteral") {
      const text = String(side.value);
      const micros = side.type === "StringLiteral" ? parseInstant(text, true) : undefined;
      return [{ span, kind: "literal", text, columns, direct, alone, ...(micros === undefined ? {} : { micros }) }];
    }
    const now = NOW[side.type as string];
    if (now !== undefined) return [{ span, kind: "now", text: now, columns, direct }];
    const name = side.type === "FunctionCallExpr" ? (side.name as Node) : undefined;
    const called = String(name?.name ?? name?.text).toLowerCase();
    if (!name || !Object.hasOwn(CLOCKS, called) || (side.args as readonly Node[] | undefined)?.length === 0) return [];
    return [{ span: name.span as Span, kind: "call", text: called, columns, direct }];
  });
}

/** A literal that stands in no comparison: an instant with its offset, which `coalesce` or `max` may put beside stored ones. */
export function loneTime(node: Node): TimeText | undefined {
  if (node.type !== "StringLiteral") return undefined;
  const text = String(node.value);
  const micros = text.length > 10 ? parseInstant(text) : undefined;
  return micros === undefined ? undefined : { span: node.span as Span, kind: "literal", text, micros, direct: false };
}

/** Every name of a column in an expression, in lower case. */
function columnsIn(node: unknown): string[] {
  if (Array.isArray(node)) return node.flatMap(columnsIn);
  if (node === null || typeof node !== "object") return [];
  const column = columnOf(node as Node);
  if (column) return [column.column];
  return Object.entries(node).flatMap(([key, value]) => (key === "name" ? [] : columnsIn(value)));
}

function chosenColumns(node: Node): string[] {
  const column = columnOf(node);
  if (column) return [column.column];
  if (node.type === "ParenthesizedExpr") return (node.exprs as readonly Node[]).flatMap(chosenColumns);
  const name = node.type === "FunctionCallExpr" ? String((node.name as Node).name).toLowerCase() : "";
  return CHOOSING.has(name) ? ((node.args ?? []) as readonly Node[]).flatMap(chosenColumns) : [];
}

export function columnOf(node: Node): { readonly of: string | undefined; readonly column: string } | undefined {
  if (node.type === "Id") return { of: undefined, column: String(node.name).toLowerCase() };
  if (node.type !== "QualifiedExpr") return undefined;
  const text = (part: unknown) => String((part as Node | undefined)?.text ?? "").toLowerCase();
  return { of: text(node.table), column: text(node.column) };
}

export interface Edit {
  readonly from: number;
  readonly to: number;
  readonly text: string;
}

/**
 * How times of the query are spelled, so that comparing texts compares times. Throws store.query_invalid where a column of
 * instants or days is compared with a literal that is neither: SQLite would compare texts, and answer something.
 */
export function timeEdits(sql: string, times: readonly TimeText[], { spell, typeOf }: Spelling): Edit[] {
  return times.flatMap((time): Edit[] => {
    const types = new Set(time.columns?.map(typeOf));
    const [from, to] = [time.span.offset, time.span.offset + time.span.length];
    const asDay = !types.has("timestamp") && types.has("date");
    if (time.columns !== undefined && !asDay && !types.has("timestamp")) return [];
    if (time.kind !== "literal") return asDay || !time.direct ? [] : [clockEdit(sql, time, spell)];
    if (!time.direct) {
      const isWhole = time.text.length > 10 && parseInstant(time.text) !== undefined;
      return isWhole && !asDay ? [{ from, to, text: `'${spell(time.micros!)}'` }] : [];
    }
    const day = asDay ? dayOf(time.text, true) : undefined;
    if (day !== undefined) return [{ from, to, text: `'${formatDay(day)}'` }];
    if (time.micros !== undefined) return [{ from, to, text: `'${spell(time.micros)}'` }];
    if (!time.alone || BEGINNING.test(time.text)) return [];
    throw notATime(sql.slice(from, to), time.columns!.find((column) => typeOf(column) !== undefined)!, asDay);
  });
}

function notATime(written: string, column: string, asDay: boolean): Error {
  const [kind, like] = asDay
    ? ["days", "'2013-01-31'"]
    : ["instants", "'2013-01-31T06:00:00Z', or a day like '2013-01-31'"];
  const message = `${column} holds ${kind}, and ${written.slice(0, 60)} is none`;
  return storeErrors.error("query_invalid", message, { fix: `Write it like ${like}.` });
}

/** `datetime('now', '-1 day')` as the stored texts are spelled. */
function clockEdit(sql: string, { span, kind, text }: TimeText, spell: (micros: number) => string): Edit {
  const format = `'${CLOCKS[text]}${spell(0).slice("1970-01-01T00:00:00".length)}'`;
  if (kind === "now") return { from: span.offset, to: span.offset + span.length, text: `strftime(${format}, 'now')` };
  const open = sql.indexOf("(", span.offset + span.length);
  return { from: span.offset, to: open + 1, text: `strftime(${format}, ` };
}
