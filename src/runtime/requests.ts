import { errorTable, MlpeError } from "../base/errors.ts";
import type { Row, Value } from "../base/row.ts";
import { formatInstant, type Micros, parseInstant } from "../base/time.ts";
import { coercer, isReject } from "../contract/coerce.ts";
import type { Field } from "../contract/contract.ts";
import { exactJsonText, parseExactJson } from "../contract/json.ts";
import type { ViewPlan } from "../fusion/types.ts";

export const requestErrors = errorTable("request", {
  not_json: {
    kind: "invalid",
    meaning: "The request body is not JSON.",
    fix: "Send a JSON object as the README shows.",
  },
  bad_request: {
    kind: "invalid",
    meaning: "The request body lacks something or has something unknown.",
    fix: "Send `entities` or `rows`, and nothing but `id` and `at` beside them.",
  },
  bad_value: {
    kind: "invalid",
    meaning: "A value does not have the type of its field.",
    fix: "Send the value in the field's type; timestamps as ISO 8601 with an offset.",
  },
  unknown_field: {
    kind: "invalid",
    meaning: "A field is not one of the view's spine.",
    fix: "Leave it out, or correct its name.",
  },
  unknown_entity: {
    kind: "missing",
    meaning: "No stored row has this entity.",
    fix: "Check the keys, or send the row itself under `rows`.",
  },
  erased_entity: {
    kind: "conflict",
    meaning: "The row names an entity that was erased: a score would store it again.",
    fix: "Leave the row out.",
  },
  too_many: {
    kind: "too_large",
    meaning: "There are more items in one request than are taken.",
    fix: "Send them in several requests.",
  },
});

/** Most entities or rows in one request. */
const ITEMS_MAX = 10_000;

/** How far ahead of now a T may lie, in microseconds: 24 hours. A score for later would be of what nobody knows yet. */
const AHEAD_MAX = 86_400_000_000;

export type ScoreItems =
  | { readonly kind: "entities"; readonly items: readonly (readonly Value[])[] }
  | { readonly kind: "rows"; readonly items: readonly Row[] };

export interface ScoreBody {
  readonly id: string | undefined;
  /** Undefined means now. */
  readonly at: Micros | undefined;
  readonly asked: ScoreItems;
}

export function parseObject(body: string): Readonly<Record<string, unknown>> {
  const parsed = parseBody(body);
  if (parsed !== null && typeof parsed === "object" && !Array.isArray(parsed)) return parsed as Record<string, unknown>;
  throw requestErrors.error("bad_request", "the body is no JSON object", { place: "body" });
}

export function parseList(body: string): readonly unknown[] {
  const parsed = parseBody(body);
  if (Array.isArray(parsed)) return parsed;
  throw requestErrors.error("bad_request", "the body is no JSON list", { place: "body" });
}

function parseBody(body: string): unknown {
  try {
    return parseExactJson(body);
  } catch (cause) {
    if (cause instanceof MlpeError) throw cause;
    throw requestErrors.error("not_json", `the body is not JSON: ${(cause as Error).message.slice(0, 200)}`, {
      place: "body",
    });
  }
}

/** `{ id?, at?, entities: [{...keys}] }` or `{ id?, at?, rows: [{...spine fields}] }`, typed by the view's spine. */
export function parseScoreBody(plan: ViewPlan, body: string, now: Micros): ScoreBody {
  const { id, at, entities, rows, ...rest } = parseObject(body);
  const unknown = Object.keys(rest)[0];
  if (unknown !== undefined)
    throw requestErrors.error("bad_request", `"${unknown}" is not known here`, { place: unknown });
  if (id !== undefined && (typeof id !== "string" || id === "" || id.length > 200)) {
    throw requestErrors.error("bad_request", "id is no text of 1 to 200 characters", { place: "id" });
  }
  if ((entities === undefined) === (rows === undefined)) {
    throw requestErrors.error("bad_request", "the body needs either entities or rows", { place: "body" });
  }
  const kind = entities === undefined ? "rows" : "entities";
  const list = entities ?? rows;
  if (!Array.isArray(list) || list.length === 0)
    throw requestErrors.error("bad_request", `${kind} is no list with items`, { place: kind });
  if (list.length > ITEMS_MAX)
    throw requestErrors.error("too_many", `${list.length} ${kind}; at most ${ITEMS_MAX}`, { place: kind });
  const asked: ScoreItems =
    kind === "rows"
      ? { kind, items: list.map((item, i) => readRow(plan, item, `rows[${i}]`)) }
      : { kind, items: list.map((item, i) => readEntity(plan, item, `entities[${i}]`)) };
  return { id, at: readAt(at, now), asked };
}

function readAt(at: unknown, now: Micros): Micros | undefined {
  if (at === undefined || at === null) return undefined;
  const instant = typeof at === "string" ? parseInstant(at) : Number.isSafeInteger(at) ? (at as number) : undefined;
  if (instant !== undefined && instant > now + AHEAD_MAX) {
    const message = `at is ${formatInstant(instant)}, which is more than 24 hours ahead; the latest is ${formatInstant(now + AHEAD_MAX)}`;
    throw requestErrors.error("bad_value", message, {
      place: "at",
      fix: "Ask closer to that time, or leave `at` out.",
    });
  }
  if (instant !== undefined) return instant;
  throw requestErrors.error("bad_value", `at is ${exactJsonText(at).slice(0, 80)}, which is no instant`, {
    place: "at",
  });
}

/** Any field may be missing but those that say what the row is about: a score of nothing could never be labelled. */
function readRow(plan: ViewPlan, item: unknown, place: string): Row {
  const row = readFields(plan.spineContract.fields, item, place, true);
  const missing = plan.shape.entity.find((name) => row[name] === undefined);
  if (missing === undefined) return row;
  throw requestErrors.error("bad_value", `the key "${missing}" is missing`, { place: `${place}.${missing}` });
}

function readEntity(plan: ViewPlan, item: unknown, place: string): readonly Value[] {
  const fields = plan.shape.entity.map((name) => plan.spineContract.fields.find((field) => field.name === name)!);
  const row = readFields(fields, item, place, false);
  return fields.map((field) => {
    const value = row[field.name] ?? null;
    if (value !== null) return value;
    throw requestErrors.error("bad_value", `the key "${field.name}" is missing`, { place: `${place}.${field.name}` });
  });
}

function readFields(fields: readonly Field[], item: unknown, place: string, nullable: boolean): Row {
  if (item === null || typeof item !== "object" || Array.isArray(item)) {
    throw requestErrors.error("bad_request", `${place} is no object`, { place });
  }
  const row: Record<string, Value> = {};
  for (const [name, raw] of Object.entries(item)) {
    const field = fields.find((candidate) => candidate.name === name);
    const at = `${place}.${name}`;
    if (!field) {
      const known = fields.map((candidate) => candidate.name).join(", ");
      throw requestErrors.error("unknown_field", `"${name}" is no field here; known are ${known}`, { place: at });
    }
    if (raw === null) {
      if (nullable) continue;
      throw requestErrors.error("bad_value", `the key "${name}" is null`, { place: at });
    }
    const value = coercer(field)(raw);
    if (isReject(value)) throw requestErrors.error("bad_value", value.message, { place: at });
    row[name] = value;
  }
  return row;
}

/** Values of an answer by field name: timestamps as ISO 8601, the rest as it is. */
export function shownValues(values: Row, fields: readonly { readonly name: string; readonly type: string }[]): Row {
  const times = new Set(fields.filter(({ type }) => type === "timestamp").map(({ name }) => name));
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => {
      return [name, times.has(name) && value !== null ? formatInstant(value as Micros) : value];
    }),
  );
}
