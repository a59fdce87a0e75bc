import type { Span } from "sqlite3-parser";
import { MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND, type Micros } from "../../base/time.ts";
import { arithmeticOf, readSlot, wholeConstant } from "../direct.ts";
import { isReal, type Range } from "../kinds.ts";
import { joined } from "../logic.ts";
import { type Context, type Typed, typed, whole } from "../typed.ts";
import { argument, computed, type Form, type LibraryFunction, written } from "./function.ts";

/** `hours(n)`: whole microseconds. A real n is rounded to the nearest one. */
function span(name: string, unit: Micros): LibraryFunction {
  return {
    name,
    group: "time",
    doc: `A duration of n ${name}, in whole microseconds (a real n is rounded to the nearest).`,
    example: `scheduled - ${name}(1)`,
    forms: [
      {
        takes: [argument("n", "number")],
        gives: "duration",
        print: (context, [value], at) =>
          isReal(value!.kind) ? realSpan(context, name, unit, value!, at) : wholeSpan(context, name, unit, value!, at),
      },
    ],
  };
}

function wholeSpan(context: Context, name: string, unit: Micros, value: Typed, at: Span): Typed {
  const scale = BigInt(unit);
  const { low, high } = value.range ?? { low: 0n, high: 0n };
  const range: Range = { low: low * scale, high: high * scale };
  const print = ([sql]: string[]) => whole(context, `(${sql} * ${scale})`, range, name).sql;
  const printed = joined([value], print, written(name));
  const bounds = whole(context, "", range, name).range;
  const direct = arithmeticOf("*", false, value.direct, wholeConstant(scale));
  return typed({ kind: "duration", nullable: value.nullable, span: at, range: bounds, direct, ...printed });
}

function realSpan(context: Context, name: string, unit: Micros, value: Typed, span: Span): Typed {
  return computed(context, [value], {
    name,
    key: `real ${context.output}`,
    kind: "duration",
    span,
    range: { low: BigInt(Number.MIN_SAFE_INTEGER), high: BigInt(Number.MAX_SAFE_INTEGER) },
    call: (count: number) => {
      const micros = Math.round(count * unit);
      if (Number.isSafeInteger(micros)) return micros;
      context.mark("overflow", `${name}(${count}) is too long`);
      return null;
    },
  });
}

const floorDivide = (value: number, by: number): number => Math.floor(value / by);
const within = (value: number, by: number): number => value - Math.floor(value / by) * by;
const dateOf = (micros: Micros): Date => new Date(floorDivide(micros, MICROS_PER_DAY) * 86_400_000);
/** 1970-01-01 was a Thursday: ISO day 4. */
const isoWeekday = (micros: Micros): number => within(floorDivide(micros, MICROS_PER_DAY) + 3, 7) + 1;

interface Part {
  readonly name: string;
  readonly doc: string;
  readonly low: number;
  readonly high: number;
  /** Of local microseconds since 1970-01-01T00:00. */
  readonly read: (local: Micros) => number;
  readonly ofDate: boolean;
}

const PARTS: readonly Part[] = [
  {
    name: "year",
    doc: "The year",
    low: -290_000,
    high: 290_000,
    read: (local) => dateOf(local).getUTCFullYear(),
    ofDate: true,
  },
  {
    name: "month",
    doc: "The month, 1 to 12",
    low: 1,
    high: 12,
    read: (local) => dateOf(local).getUTCMonth() + 1,
    ofDate: true,
  },
  {
    name: "day",
    doc: "The day of the month, 1 to 31",
    low: 1,
    high: 31,
    read: (local) => dateOf(local).getUTCDate(),
    ofDate: true,
  },
  {
    name: "weekday",
    doc: "The ISO day of the week, 1 (Monday) to 7 (Sunday)",
    low: 1,
    high: 7,
    read: isoWeekday,
    ofDate: true,
  },
  {
    name: "hour",
    doc: "The hour, 0 to 23",
    low: 0,
    high: 23,
    read: (local) => floorDivide(within(local, MICROS_PER_DAY), MICROS_PER_HOUR),
    ofDate: false,
  },
  {
    name: "minute",
    doc: "The minute, 0 to 59",
    low: 0,
    high: 59,
    read: (local) => floorDivide(within(local, MICROS_PER_HOUR), MICROS_PER_MINUTE),
    ofDate: false,
  },
];

const zoned = [argument("t", "timestamp"), argument("zone", "zone")];

/** The local time of an instant, given to `read`; an instant that a double can't hold is an overflow. */
function local(context: Context, zone: string, read: (local: Micros) => number): (micros: Micros) => number | null {
  const offset = context.offset(zone);
  return (micros) => {
    if (Number.isSafeInteger(micros)) return read(micros + offset(micros));
    context.mark("overflow", `${micros} is no instant`);
    return null;
  };
}

function calendar(part: Part): LibraryFunction {
  const { name, read } = part;
  const range = { low: BigInt(part.low), high: BigInt(part.high) };
  const ofTimestamp: Form = {
    takes: zoned,
    gives: "int",
    print: (context, values, span) => {
      const zone = values[1]!.text!;
      const key = `${context.output} ${zone}`;
      const call = local(context, zone, read);
      return computed(context, values, { name, key, passed: 1, kind: "int", span, range, call, pure: true });
    },
  };
  const ofDate: Form = {
    takes: [argument("d", "date")],
    gives: "int",
    print: (context, values, span) =>
      computed(context, values, {
        name,
        key: "date",
        kind: "int",
        span,
        range,
        pure: true,
        call: (days: number) => read(days * MICROS_PER_DAY),
      }),
  };
  return {
    name,
    group: "time",
    doc: `${part.doc}, of a timestamp in a time zone${part.ofDate ? " or of a date" : ""}.`,
    example: `${name}(scheduled, 'America/New_York')`,
    forms: part.ofDate ? [ofTimestamp, ofDate] : [ofTimestamp],
  };
}

export const TIME_FUNCTIONS: readonly LibraryFunction[] = [
  span("days", MICROS_PER_DAY),
  span("hours", MICROS_PER_HOUR),
  span("minutes", MICROS_PER_MINUTE),
  span("seconds", MICROS_PER_SECOND),
  ...PARTS.map(calendar),
  {
    name: "date",
    group: "time",
    doc: "The calendar date of a timestamp in a time zone.",
    example: "date(scheduled, 'America/New_York')",
    forms: [
      {
        takes: zoned,
        gives: "date",
        print: (context, values, span) => {
          const zone = values[1]!.text!;
          const call = local(context, zone, (micros) => floorDivide(micros, MICROS_PER_DAY));
          const key = `${context.output} ${zone}`;
          return computed(context, values, { name: "date", key, passed: 1, kind: "date", span, call, pure: true });
        },
      },
    ],
  },
  {
    name: "as_of",
    group: "time",
    doc: "T: the instant that the row is evaluated for. Not everywhere there is one.",
    example: "as_of() - minutes(30)",
    forms: [
      {
        takes: [],
        gives: "timestamp",
        print: (context, _, span) => {
          if (context.scope.asOf === true) {
            const run = context.asOfSlot();
            const direct = readSlot(run, "timestamp");
            return typed({ kind: "timestamp", nullable: false, run, canonical: "as_of()", span, direct });
          }
          const fix = "Use the row's own columns, or move the expression to a view.";
          context.problem("arguments", "as_of() has no meaning here: no prediction is made", span, fix);
          return undefined;
        },
      },
    ],
  },
  {
    name: "age_hours",
    group: "time",
    doc: "How old the row is that a joined input gave: as_of() minus its event time, in hours.",
    example: "age_hours(weather)",
    forms: [
      {
        takes: [argument("input", "input")],
        gives: "double",
        nulls: "null where the input gave no row",
        // the syntax tree's name of an input is read before arguments are typed
        print: () => undefined,
      },
    ],
  },
];
