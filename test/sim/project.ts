import { MICROS_PER_HOUR, type Micros } from "../../src/base/time.ts";
import { type Draw, drawFrom } from "./draw.ts";
import { type Feed, itemsFeed, tradeFeed, visitsFeed, weatherFeed } from "./rows.ts";

/** A small random project, all from one seed. */
export interface SimProject {
  readonly seed: number;
  /** The config and the contracts, by path relative to the project's folder; data files too. */
  readonly files: ReadonlyMap<string, string>;
  /** Source -> requests, in the order its sender sends them. */
  readonly pushes: ReadonlyMap<string, readonly Push[]>;
  readonly views: readonly string[];
  /** When the simulated clock starts. */
  readonly startsAt: Micros;
  readonly pageBytes: number;
  readonly rowsPerCommit: number;
  readonly rowsPerPage: number;
}

export interface Push {
  readonly key: string;
  readonly body: string;
}

/** All event times lie in the two days from here on. */
const DAWN: Micros = Date.UTC(2024, 0, 1) * 1000;
/** By then every T has passed. */
export const DUSK: Micros = DAWN + 30 * 24 * MICROS_PER_HOUR;
export const SIM_MODEL = "risk";

const INSTANT = { type: "long", logicalType: "timestamp-micros" };
const optional = (type: unknown) => ({ type: ["null", type], default: null });

function contractText(name: string, properties: Record<string, unknown>, fields: Record<string, unknown>): string {
  const list = Object.entries(fields).map(([field, type]) =>
    typeof type === "object" && type !== null && "default" in type ? { name: field, ...type } : { name: field, type },
  );
  return JSON.stringify({ type: "record", name, ...properties, fields: list });
}

/** Makes the project of a seed: two to five sources in random forms, and views over what they feed. */
export function simProject(seed: number): SimProject {
  const draw = drawFrom(seed);
  const has = { visits: draw.chance(0.85), weather: draw.chance(0.65), items: draw.chance(0.6) };
  if (!has.visits && !has.weather && !has.items) has.visits = true;
  const visitsId = draw.pick(["id", "id", "position", "content"] as const);
  const feeds: Feed[] = [
    tradeFeed(draw),
    ...(has.visits ? [visitsFeed(draw)] : []),
    ...(has.visits && draw.chance(0.3) ? [visitsFeed(draw, "more_visits", 1000)] : []),
    ...(has.weather ? [weatherFeed(draw)] : []),
    ...(has.items ? [itemsFeed(draw)] : []),
  ];
  const files = new Map<string, string>(Object.entries(contractFiles(visitsId, draw.chance(0.5))));
  const pushes = new Map<string, readonly Push[]>();
  const sources: Record<string, unknown> = {};
  for (const feed of feeds) {
    const form = draw.pick(["csv", "jsonl", "push", "push"] as const);
    sources[feed.name] = { ...sourceOf(feed, form, files, pushes, draw), ...feed.target };
  }
  const views = viewsOf(has, draw);
  const config = {
    site: "sim",
    keys: { path: "unused.key" },
    sources,
    datasets: datasetsOf(has, draw),
    views,
    // biome-ignore lint/suspicious/noThenProperty: `then` is the word of the config file
    models: { [SIM_MODEL]: { artifact: "model", guardrails: { large: { when: "a > 60", then: "flag" } } } },
    checks: {
      orders: [
        { sql: "amount >= 0", severity: "warn" },
        { sql: "amount < 900", severity: draw.pick(["warn", "block"]) },
      ],
    },
  };
  files.set("mlpe.yaml", JSON.stringify(config, null, 2));
  return {
    seed,
    files,
    pushes,
    views: Object.keys(views),
    startsAt: DAWN + draw.integer(0, 60) * MICROS_PER_HOUR,
    pageBytes: draw.integer(60, 900),
    rowsPerCommit: draw.integer(1, 12),
    rowsPerPage: draw.integer(1, 60),
  };
}

function contractFiles(visitsId: "id" | "position" | "content", seenAt: boolean): Record<string, string> {
  return {
    "orders.avsc": contractText(
      "orders",
      { entity: ["shop"], eventTime: "at", recordId: ["id"] },
      { id: "int", shop: "string", item: optional("string"), at: INSTANT, amount: optional("double") },
    ),
    "outcomes.avsc": contractText(
      "outcomes",
      { entity: ["id"], eventTime: "done", recordId: ["id"] },
      { id: "int", shop: "string", at: INSTANT, done: INSTANT, result: "double" },
    ),
    "visits.avsc": contractText(
      "visits",
      {
        entity: ["shop"],
        eventTime: "at",
        recordId: visitsId === "id" ? ["id"] : visitsId,
        ...(seenAt ? { availableTime: "seen_at" } : {}),
      },
      { id: "int", shop: "string", at: INSTANT, seen_at: INSTANT, value: optional("double") },
    ),
    "weather.avsc": contractText(
      "weather",
      { entity: ["shop"], eventTime: "at", recordId: ["shop", "at"] },
      { shop: "string", at: INSTANT, temp: optional("double") },
    ),
    "items.avsc": contractText(
      "items",
      { entity: ["item"], recordId: ["item"] },
      { item: "string", price: optional("double") },
    ),
  };
}

type Has = Readonly<Record<"visits" | "weather" | "items", boolean>>;

function datasetsOf(has: Has, draw: Draw): Record<string, unknown> {
  const available = draw.chance(0.5) ? { available: "at + minutes(50)" } : {};
  return {
    orders: { contract: "orders.avsc" },
    outcomes: { contract: "outcomes.avsc", set: { done: "at + minutes(90)" } },
    ...(has.visits ? { visits: { contract: "visits.avsc" } } : {}),
    ...(has.weather ? { weather: { contract: "weather.avsc", ...available } } : {}),
    ...(has.items ? { items: { contract: "items.avsc", static: true } } : {}),
  };
}

/** The view that the model reads has the features a, b and c; the second one has another spine and no label. */
function viewsOf(has: Has, draw: Draw): Record<string, unknown> {
  const recent = { from: has.visits ? "visits" : "outcomes", by: ["shop"], window: draw.pick(["1h", "3h", "9h"]) };
  const measured = has.visits ? "value" : "result";
  const values = { n: "count(*)", mean: `avg(${measured})`, top: `max(${measured})`, spread: `std(${measured})` };
  const limits = { ...(draw.chance(0.3) ? { rows: 2 } : {}), ...(draw.chance(0.3) ? { exclude_current: true } : {}) };
  const past = { from: "outcomes", by: ["shop"], window: "12h", values: { total: "sum(result)", n: "count(result)" } };
  const risk = {
    spine: "orders",
    ...(draw.chance(0.6) ? { as_of: "at - minutes(30)" } : {}),
    joins: {
      ...(has.weather ? { weather: { from: "weather", by: ["shop"], max_age: draw.pick(["2h", "12h"]) } } : {}),
      ...(has.items ? { goods: { from: "items", by: ["item"] } } : {}),
    },
    windows: { recent: { ...recent, ...limits, values }, past },
    features: {
      a: "amount",
      b: "coalesce(recent.mean, 0)",
      c: has.weather ? "weather.temp" : "coalesce(past.total, 0)",
      n: "recent.n",
      top: "recent.top",
      spread: "recent.spread",
      past_n: "past.n",
      shop: "shop",
      ...(has.items ? { price: "goods.price" } : {}),
      ...(has.weather ? { age: "age_hours(weather)" } : {}),
    },
    label: { bad: { from: "outcomes", by: ["id"], value: "result > 15" } },
    ...(draw.chance(0.3) ? { max_wait: draw.pick(["1s", "2h"]) } : {}),
  };
  if (!has.weather || draw.chance(0.5)) return { [SIM_MODEL]: risk };
  const trade = { from: "orders", by: ["shop"], window: "6h", values: { n: "count(*)", total: "sum(amount)" } };
  const shops = {
    spine: "weather",
    windows: { trade },
    features: { temp: "temp", n: "trade.n", total: "trade.total" },
  };
  return { [SIM_MODEL]: risk, shops };
}

function sourceOf(
  feed: Feed,
  form: "csv" | "jsonl" | "push",
  files: Map<string, string>,
  pushes: Map<string, readonly Push[]>,
  draw: Draw,
): Record<string, unknown> {
  if (form !== "push") {
    files.set(`${feed.name}.${form}`, form === "csv" ? feed.csv() : feed.lines());
    return { connector: "file", path: `${feed.name}.${form}` };
  }
  const requests: Push[] = [];
  for (let at = 0; at < feed.records.length; ) {
    const rows = feed.records.slice(at, at + draw.integer(1, 9));
    at += rows.length;
    const body = draw.chance(0.5) ? JSON.stringify(rows) : rows.map((row) => `${JSON.stringify(row)}\n`).join("");
    requests.push({ key: `${feed.name}-${requests.length}`, body });
  }
  pushes.set(feed.name, requests);
  const lateness = draw.pick(["0s", "30m", "5h"]);
  return { connector: "http_push", lateness, idle_after: draw.pick(["1s", "10m"]) };
}
