import { CHOICE_FUNCTIONS } from "./choice.ts";
import { CONVERSION_FUNCTIONS } from "./conversion.ts";
import type { LibraryFunction } from "./function.ts";
import { NUMBER_FUNCTIONS } from "./number.ts";
import { TEXT_FUNCTIONS } from "./text.ts";
import { TIME_FUNCTIONS } from "./time.ts";

/** Every function that an expression may call: an allow-list. All are deterministic. */
export const LIBRARY: readonly LibraryFunction[] = [
  ...TIME_FUNCTIONS,
  ...NUMBER_FUNCTIONS,
  ...CHOICE_FUNCTIONS,
  ...TEXT_FUNCTIONS,
  ...CONVERSION_FUNCTIONS,
];

const NO_CLOCK = "Expressions have no clock: use as_of(), the instant the row is evaluated for.";
const NO_RANDOM = "Expressions have no randomness: the same row must give the same value.";
const NO_AGGREGATE = "Declare a window in the view and use its columns.";

/** What to write instead of functions that are known elsewhere. */
export const INSTEAD: Readonly<Record<string, string>> = {
  max: "Use greatest(a, b), or a window of the view for the maximum over rows.",
  min: "Use least(a, b), or a window of the view for the minimum over rows.",
  sum: NO_AGGREGATE,
  avg: NO_AGGREGATE,
  count: NO_AGGREGATE,
  std: NO_AGGREGATE,
  total: NO_AGGREGATE,
  group_concat: NO_AGGREGATE,
  now: NO_CLOCK,
  datetime: NO_CLOCK,
  time: NO_CLOCK,
  julianday: NO_CLOCK,
  unixepoch: NO_CLOCK,
  strftime: "Use year, month, day, weekday, hour or minute with a time zone.",
  timediff: "Subtract the timestamps.",
  date_part: "Use year, month, day, weekday, hour or minute with a time zone.",
  extract: "Use year, month, day, weekday, hour or minute with a time zone.",
  random: NO_RANDOM,
  randomblob: NO_RANDOM,
  rand: NO_RANDOM,
  ifnull: "Use coalesce(a, b).",
  nvl: "Use coalesce(a, b).",
  isnull: "Use x is null.",
  pow: "Use power(x, y).",
  log: "Use ln(x).",
  log10: "Use ln(x) / ln(10.0).",
  ceiling: "Use ceil(x).",
  substring: "Use substr(text, start, count).",
  left: "Use substr(text, 1, count).",
  ucase: "Use upper(text).",
  lcase: "Use lower(text).",
  len: "Use length(text).",
  cast: "Use int, long, float or double, or try_int and its like for text.",
  to_timestamp: "Use try_timestamp(text).",
  glob: "Use like.",
  regexp: "Use like.",
};
