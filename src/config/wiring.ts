import { Cron } from "croner";
import type { Problem } from "../base/errors.ts";
import { nearest } from "../base/nearest.ts";
import { RESERVED_FEATURE_NAMES, RESERVED_FEATURE_PREFIXES } from "../contract/streams.ts";
import { checkBounds } from "./bounds.ts";
import { configErrors, type Report } from "./errors.ts";
import type { Config, SourceConfig, ViewConfig } from "./schema.ts";

/**
 * What one key alone can't show: every name refers to something, and no two parts contradict each other. No file is
 * touched. A problem's place is a path into the config (`views.flight_delay.spine`); `loadConfig` adds the line.
 */
export function checkWiring(config: Config): Problem[] {
  const problems: Problem[] = [];
  const report: Report = (code, place, message, fix) =>
    problems.push(configErrors.problem(code, message, { place, fix }));
  checkHost(config, report);
  checkBounds(config, report);
  for (const [name, source] of Object.entries(config.sources)) checkSource(config, name, source, report);
  for (const [name, view] of Object.entries(config.views)) checkView(config, name, view, report);
  for (const [name, model] of Object.entries(config.models)) {
    if (model.view !== undefined) known(config.views, "view", model.view, `models.${name}.view`, report);
  }
  for (const name of Object.keys(config.checks)) known(config.datasets, "dataset", name, `checks.${name}`, report);
  for (const name of Object.keys(config.drift)) known(config.models, "model", name, `drift.${name}`, report);
  checkSchedules(config, report);
  for (const [name, alert] of Object.entries(config.alerts)) {
    if (alert.to !== undefined) known(config.notify, "notify target", alert.to, `alerts.${name}.to`, report);
  }
  for (const [name, target] of Object.entries(config.notify))
    checkUrl(target.webhook, `notify.${name}.webhook`, report);
  checkUrl(config.lineage.openlineage, "lineage.openlineage", report);
  return problems;
}

function known(
  table: Readonly<Record<string, unknown>>,
  kind: string,
  name: string,
  place: string,
  report: Report,
): boolean {
  if (Object.hasOwn(table, name)) return true;
  const names = Object.keys(table);
  const near = nearest(name, names);
  const list = names.length === 0 ? `There is no ${kind} yet.` : `There are: ${names.slice(0, 20).join(", ")}.`;
  report("unknown_name", place, `there is no ${kind} "${name}"`, near ? `Did you mean "${near}"? ${list}` : list);
  return false;
}

const LOOPBACK = /^(localhost|::1|\[::1\]|127\.\d{1,3}\.\d{1,3}\.\d{1,3})$/;

function checkHost(config: Config, report: Report): void {
  if (!LOOPBACK.test(config.listen.host)) {
    const reason =
      "callers can't be told apart yet (OIDC and TLS are not built), so the server answers this machine only";
    report("not_loopback", "listen.host", `"host" is not a loopback address: ${reason}`);
  }
  const { data, keys } = config;
  const inside = `${plain(keys.path)}/`.startsWith(`${plain(data)}/`);
  if (inside && data.startsWith("/") === keys.path.startsWith("/")) {
    const message = "the key file lies inside the data directory: whoever copies one would have the other";
    report("conflict", "keys.path", message, "Put the key file outside of the data directory.");
  }
}

const plain = (path: string): string => path.replace(/^(\.\/)+/, "").replace(/\/+$/, "");

const NAMED_FORMAT = /\.(csv|jsonl|ndjson|parquet)(\.(gz|zst))?$/i;

function checkSource(config: Config, name: string, source: SourceConfig, report: Report): void {
  const place = `sources.${name}`;
  const { dataset, routes } = source;
  if ((dataset === undefined) === (routes === undefined)) {
    const both = dataset !== undefined;
    const message = both
      ? `source "${name}" has both dataset and routes`
      : `source "${name}" goes nowhere: it has neither dataset nor routes`;
    report(
      both ? "conflict" : "missing",
      place,
      message,
      "Write dataset: <name> for one dataset, or routes: for several.",
    );
  }
  if (dataset !== undefined) known(config.datasets, "dataset", dataset, `${place}.dataset`, report);
  if (routes && Object.keys(routes).length === 0) {
    report("bad_value", `${place}.routes`, `source "${name}" has no route`, "Add a route: <dataset>: {}.");
  }
  for (const [target, route] of Object.entries(routes ?? {})) {
    known(config.datasets, "dataset", target, `${place}.routes.${target}`, report);
    if (route.otherwise !== undefined && !/^drop(:\s*\S[^\n]*)?$/.test(route.otherwise)) {
      const fix = 'Write otherwise: drop, or otherwise: "drop: reason".';
      report("bad_value", `${place}.routes.${target}.otherwise`, '"otherwise" is not drop or drop: <reason>', fix);
    }
  }
  if (source.connector === "file" && source.format === undefined && !NAMED_FORMAT.test(source.path)) {
    const fix = "Name it .csv, .jsonl or .parquet (with .gz or .zst where compressed), or add format: csv.";
    report("missing", `${place}.path`, `the name of the file of source "${name}" does not say its format`, fix);
  }
}

function checkView(config: Config, name: string, view: ViewConfig, report: Report): void {
  const place = `views.${name}`;
  const isStatic = (dataset: string) => Object.hasOwn(config.datasets, dataset) && config.datasets[dataset]!.static;
  known(config.datasets, "dataset", view.spine, `${place}.spine`, report);
  if (isStatic(view.spine) && view.as_of === undefined) {
    const message = `the spine "${view.spine}" is static: its rows have no event time to predict at`;
    report("conflict", `${place}.spine`, message, "Add as_of: an expression for the instant, or choose another spine.");
  }
  for (const [alias, join] of Object.entries(view.joins)) {
    known(config.datasets, "dataset", join.from, `${place}.joins.${alias}.from`, report);
    checkBy(join.by, `${place}.joins.${alias}.by`, report);
    if (join.max_age !== undefined && isStatic(join.from)) {
      const message = `"${join.from}" is static: its rows have no age`;
      report("conflict", `${place}.joins.${alias}.max_age`, message, "Remove max_age, or static: true of the dataset.");
    }
  }
  for (const [alias, window] of Object.entries(view.windows)) {
    const at = `${place}.windows.${alias}`;
    known(config.datasets, "dataset", window.from, `${at}.from`, report);
    checkBy(window.by, `${at}.by`, report);
    if (isStatic(window.from)) {
      const message = `"${window.from}" is static: its rows have no event time, and a window needs one`;
      report("conflict", `${at}.from`, message, "Read it with a join.");
    }
    if (window.window <= 0) report("bad_value", `${at}.window`, '"window" has no length', "Write a duration like 1h.");
    if (Object.keys(window.values).length === 0) {
      report("bad_value", `${at}.values`, `the window "${alias}" computes nothing`, "Add a value: n: count(*).");
    }
    if (Object.hasOwn(view.joins, alias)) {
      const message = `"${alias}" names a join and a window of this view`;
      report("conflict", at, message, "Rename one: features could not tell them apart.");
    }
  }
  checkFeatures(view, place, report);
  for (const [label, spec] of Object.entries(view.label ?? {})) {
    known(config.datasets, "dataset", spec.from, `${place}.label.${label}.from`, report);
    checkBy(spec.by, `${place}.label.${label}.by`, report);
  }
}

function checkFeatures(view: ViewConfig, place: string, report: Report): void {
  const names = Object.keys(view.features);
  if (names.length === 0)
    report("bad_value", `${place}.features`, "the view has no feature", "Add a feature: name: SQL.");
  for (const feature of names) {
    const prefix = RESERVED_FEATURE_PREFIXES.find((start) => feature.startsWith(start));
    if (!RESERVED_FEATURE_NAMES.has(feature) && prefix === undefined) continue;
    const why = prefix ? `names that start with ${prefix}` : `the name "${feature}"`;
    const message = `"${feature}" can't name a feature: feature and score rows use ${why} themselves`;
    report("bad_value", `${place}.features.${feature}`, message, "Choose another name.");
  }
}

function checkBy(by: ViewConfig["joins"][string]["by"], place: string, report: Report): void {
  const columns = Array.isArray(by) ? by : Object.values(by);
  if (columns.length === 0) {
    report("bad_value", place, '"by" names no column', "Write by: [column], or by: { spine column: their column }.");
  }
  const mine = Array.isArray(by) ? by : Object.keys(by);
  if ([...mine, ...columns].some((column) => column.trim() === ""))
    report("bad_value", place, '"by" has an empty column name');
  const twice = columns.find((column, index) => columns.indexOf(column) !== index);
  if (twice !== undefined) report("bad_value", place, `"by" names "${twice}" twice`, "Name each column once.");
}

function checkSchedules(config: Config, report: Report): void {
  for (const [name, schedule] of Object.entries(config.schedules)) {
    const place = `schedules.${name}`;
    if ((schedule.score === undefined) === (schedule.drift === undefined)) {
      const code = schedule.score === undefined ? "missing" : "conflict";
      report(code, place, `schedule "${name}" must do exactly one thing`, "Write score: <model> or drift: <model>.");
    }
    if (schedule.score !== undefined) known(config.models, "model", schedule.score, `${place}.score`, report);
    if (schedule.drift !== undefined) known(config.models, "model", schedule.drift, `${place}.drift`, report);
    const wrong = cronFault(schedule.cron);
    if (wrong)
      report(
        "bad_value",
        `${place}.cron`,
        wrong,
        'Write five fields (minute hour day month weekday), in UTC: "5 * * * *".',
      );
  }
}

function cronFault(pattern: string): string | undefined {
  // croner would take a date for a job that runs once: only the five fields are promised.
  if (
    !/^(\S+\s+){4}\S+$/.test(pattern.trim()) &&
    !/^@(hourly|daily|weekly|monthly|yearly|annually)$/.test(pattern.trim())
  ) {
    return '"cron" does not have five fields';
  }
  try {
    const job = new Cron(pattern, { paused: true, timezone: "UTC" });
    // Any fixed day does: a pattern that fires at all fires within the years that croner looks ahead.
    return job.nextRun("2024-01-01T00:00:00Z") === null ? '"cron" never comes true' : undefined;
  } catch {
    return '"cron" is not a cron pattern';
  }
}

function checkUrl(text: string, place: string, report: Report): void {
  if (text === "") return;
  // The value is not printed: addresses of webhooks are secrets.
  if (!URL.canParse(text) || !/^https?:$/.test(new URL(text).protocol)) {
    report(
      "bad_value",
      place,
      `"${place.split(".").at(-1)}" is not an http or https URL`,
      "Write https://..., or leave it empty.",
    );
  }
}
