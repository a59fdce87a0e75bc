import { patternMatches } from "../base/pattern.ts";
import { formatDuration, MICROS_PER_SECOND } from "../base/time.ts";
import {
  curatedStream,
  featuresStream,
  LEDGER,
  LINEAGE,
  labelsStream,
  landingStream,
  quarantineStream,
  scoresStream,
  VERDICTS,
} from "../contract/streams.ts";
import type { Report } from "./errors.ts";
import type { Config } from "./schema.ts";

/** Above this percentage of the disk a mark would nearly always be crossed. */
const MARK_PERCENT_MAX = 90;
/** The ballast is made where twice its size is free beyond the hard mark. */
const BALLAST_PERCENT_MAX = 40;
/** What is looked at more often than this is looked at all the time. */
const EVERY_LEAST = MICROS_PER_SECOND;
/** Younger rows may not have been read by anyone yet. */
const AGE_LEAST = 60 * MICROS_PER_SECOND;
/** The unpacked runtime and the log's own files take about half of it. */
const HOST_BYTES_LEAST = 128 << 20;
/** The default marks, as `space` describes them. */
const DEFAULTS = { soft: { bytes: 1 << 30, percent: 5 } } as const;

/** Streams that rows are dropped of: of one name, and of one for each source, dataset, view or model. */
const DROPPED: readonly string[] = [LEDGER, LINEAGE, VERDICTS];
const DROPPED_KINDS: readonly string[] = [
  landingStream,
  curatedStream,
  quarantineStream,
  featuresStream,
  scoresStream,
  labelsStream,
].map((nameOf) => nameOf(""));

/** Values that each key takes, and that can't be meant: they would stop the pipeline, or drop all that comes. */
export function checkBounds(config: Config, report: Report): void {
  checkSpace(config.space, report);
  checkRetention(config.retention, report);
  for (const [name, view] of Object.entries(config.views)) checkReach(config.retention, name, view, report);
  for (const [name, { every }] of Object.entries(config.drift)) checkEvery(every, `drift.${name}.every`, report);
  for (const [name, source] of Object.entries(config.sources)) {
    if (source.connector !== "http_push") continue;
    checkEvery(source.idle_after, `sources.${name}.idle_after`, report);
  }
}

function checkSpace(space: Config["space"], report: Report): void {
  for (const key of ["soft", "hard", "ballast"] as const) {
    const amount = space[key];
    const most = key === "ballast" ? BALLAST_PERCENT_MAX : MARK_PERCENT_MAX;
    if (amount === undefined || !("percent" in amount) || amount.percent <= most) continue;
    const message = `"${key}" is ${amount.percent}% of the disk: it must be ${most}% at most, or work would never go on`;
    report("bad_value", `space.${key}`, message, "Write what must stay free: an amount like 512MiB, or a few percent.");
  }
  const { soft, hard } = space;
  if (hard === undefined) return;
  const above =
    "percent" in hard
      ? soft === undefined
        ? hard.percent > DEFAULTS.soft.percent
        : "percent" in soft && hard.percent > soft.percent
      : soft === undefined
        ? hard.bytes > DEFAULTS.soft.bytes
        : "bytes" in soft && hard.bytes > soft.bytes;
  if (!above) return;
  const other = soft === undefined ? "the default of space.soft (the lesser of 1GiB and 5%)" : "space.soft";
  const message = `"hard" is above ${other}: as the disk fills up, the soft mark must be reached first`;
  const fix = soft === undefined ? "Write space.soft too, above it, or lower it." : "Lower it, or raise space.soft.";
  report("conflict", "space.hard", message, fix);
}

function checkRetention({ every, streams, host }: Config["retention"], report: Report): void {
  checkEvery(every, "retention.every", report);
  for (const [pattern, { age, bytes }] of Object.entries(streams)) {
    const place = `retention.streams.${pattern}`;
    if (!mayDrop(pattern)) {
      const message = `"${pattern}" is no stream that rows are dropped of`;
      const fix =
        "Write it as `mlpe streams` lists it: curated/departures, landing/*. What steers the rest (control, artifacts) stays.";
      report("bad_value", place, message, fix);
    }
    if (age !== undefined && age < AGE_LEAST) {
      const message = `"age" is ${formatDuration(age)}: it must be ${formatDuration(AGE_LEAST)} at least, or rows go as they come`;
      report("bad_value", `${place}.age`, message, "Write how long rows are kept, like 30d.");
    }
    if (age === undefined && bytes === undefined && host.bytes === undefined) {
      const message = `nothing bounds "${pattern}": it has neither age nor bytes, and there is no retention.host.bytes`;
      report("missing", place, message, "Add age: 30d, or bytes: 10GB, or a bound of the host, or remove the pattern.");
    }
  }
  if (host.bytes !== undefined && host.bytes < HOST_BYTES_LEAST) {
    const message = '"bytes" is below 128MiB, which the data directory takes without any rows';
    report("bad_value", "retention.host.bytes", message, "Write what the whole data directory may take, like 20GB.");
  }
}

/** Streams of sources and datasets that are configured no more are dropped too, so only what can't be one is told. */
const mayDrop = (pattern: string): boolean =>
  pattern.includes("*") ||
  DROPPED.includes(pattern) ||
  DROPPED_KINDS.some((kind) => pattern.startsWith(kind) && pattern.length > kind.length);

/** A window over rows that are dropped would be computed from fewer, and nothing would say so. */
function checkReach(
  { streams }: Config["retention"],
  name: string,
  view: Config["views"][string],
  report: Report,
): void {
  const check = (key: string, place: string, from: string, reach: number | undefined) => {
    for (const [pattern, { age }] of Object.entries(streams)) {
      if (age === undefined || reach === undefined || age >= reach || !patternMatches(pattern, curatedStream(from)))
        continue;
      const kept = `rows of ${from} are kept for ${formatDuration(age)} (retention.streams.${pattern})`;
      const message = `"${key}" is ${formatDuration(reach)}, but ${kept}: features would be made of what is left`;
      report("conflict", `views.${name}.${place}.${key}`, message, "Keep these rows longer, or look back less far.");
    }
  };
  for (const [alias, { from, window }] of Object.entries(view.windows))
    check("window", `windows.${alias}`, from, window);
  for (const [alias, { from, max_age }] of Object.entries(view.joins))
    check("max_age", `joins.${alias}`, from, max_age);
}

function checkEvery(micros: number, place: string, report: Report): void {
  if (micros >= EVERY_LEAST) return;
  const key = place.split(".").at(-1);
  const message = `"${key}" is ${formatDuration(micros)}: it must be ${formatDuration(EVERY_LEAST)} at least`;
  report("bad_value", place, message, "Write a duration like 90s, 15m or 1h.");
}
