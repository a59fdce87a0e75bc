import type { Problem } from "../base/errors.ts";
import type { Row, Value } from "../base/row.ts";
import { type Micros, parseInstant } from "../base/time.ts";
import { batchOf, rowAt } from "../contract/batch.ts";
import { type Coercer, coercer, isReject } from "../contract/coerce.ts";
import type { Field } from "../contract/contract.ts";
import { exactJsonText } from "../contract/json.ts";
import { curatedStream, labelsContract, labelsStream, type ViewShape } from "../contract/streams.ts";
import type { Store } from "../store/port.ts";
import { feedbackErrors } from "./errors.ts";

export interface LabelsRead {
  /** Rows for labelsContract. */
  readonly rows: readonly Row[];
  /** One for each entry that was not taken. */
  readonly problems: readonly Problem[];
}

const LABELS_MAX = 10_000;
/** A key as every request may write it: by the coercer that also reads rows and requests for scores. */
interface KeyReader {
  readonly field: Field;
  readonly read: Coercer;
}

const FIELDS: ReadonlySet<string> = new Set(["score_id", "keys", "time", "label"]);

/**
 * Labels as a client sends them: a list, or `{ labels: [...] }`, of `{ score_id, label }` or `{ keys: { name: value }, label }`,
 * each with an optional `time`, when the outcome became true (ISO 8601 or microseconds; default now). `label` is true, false,
 * a number, or null, which makes the score unlabelled again. Good entries are taken beside bad ones. Throws only where the
 * body as a whole is no list of labels. `isErased` says of keys whether their entity was erased: such a label is not taken.
 */
export function labelRowsFromApi(
  body: unknown,
  shape: ViewShape,
  now: Micros,
  isErased: (keys: Row) => boolean = () => false,
): LabelsRead {
  const list = Array.isArray(body) ? body : (body as { labels?: unknown } | null)?.labels;
  if (!Array.isArray(list))
    throw feedbackErrors.error("bad_labels", "the body is no list of labels", { place: "labels" });
  if (list.length > LABELS_MAX) {
    throw feedbackErrors.error("too_many", `${list.length} labels in one request; at most ${LABELS_MAX} are taken`);
  }
  const rows: Row[] = [];
  const problems: Problem[] = [];
  const readers = shape.keys.map((field) => ({ field, read: coercer(field) }));
  list.forEach((entry: unknown, index) => {
    const read = readEntry(entry, shape, readers, now, isErased);
    if (typeof read === "string") {
      problems.push(feedbackErrors.problem("bad_label", read, { place: `labels[${index}]` }));
    } else rows.push(read);
  });
  return { rows, problems };
}

/** The row, or what is wrong with the entry. */
function readEntry(
  entry: unknown,
  shape: ViewShape,
  readers: readonly KeyReader[],
  now: Micros,
  isErased: (keys: Row) => boolean,
): Row | string {
  if (entry === null || typeof entry !== "object" || Array.isArray(entry)) return "the entry is no object";
  const { score_id: scoreId, keys, time, label } = entry as Record<string, unknown>;
  const unknown = Object.keys(entry).find((name) => !FIELDS.has(name));
  if (unknown !== undefined) return `"${unknown}" is unknown here; an entry has score_id or keys, label and time`;
  if (!("label" in entry)) return "label is missing; write null to withdraw one";
  const value = outcome(label);
  if (value === undefined) return `label ${show(label)} is neither true, false, a number nor null`;
  const labelTime = time === undefined ? now : instant(time);
  if (labelTime === undefined) return `time ${show(time)} is no instant such as 2013-10-01T12:00:00Z`;
  if ((scoreId === undefined) === (keys === undefined)) return "an entry has either score_id or keys";
  const common = { label: value, label_time: labelTime, origin: "api", at: now };
  if (keys === undefined) {
    if (typeof scoreId !== "string" || scoreId === "") return "score_id is no text";
    return { ...nullKeys(shape), score_id: scoreId, ...common };
  }
  const read = readKeys(keys, readers);
  if (typeof read === "string") return read;
  if (isErased(Object.fromEntries(readers.map(({ field: { name } }) => [name, read[`key_${name}`]!])))) {
    return "the entity was erased, so nothing of it is stored";
  }
  return { ...read, score_id: null, ...common };
}

const nullKeys = (shape: ViewShape): Row => Object.fromEntries(shape.keys.map(({ name }) => [`key_${name}`, null]));
const show = (value: unknown) => exactJsonText(value).slice(0, 80);

/** true is 1, false is 0; undefined where it is no outcome. */
function outcome(label: unknown): number | null | undefined {
  if (label === null) return null;
  if (typeof label === "boolean") return label ? 1 : 0;
  return typeof label === "number" && Number.isFinite(label) ? label : undefined;
}

function instant(given: unknown): Micros | undefined {
  if (typeof given === "string") return parseInstant(given);
  return typeof given === "number" && Number.isSafeInteger(given) ? given : undefined;
}

function readKeys(given: unknown, readers: readonly KeyReader[]): Row | string {
  if (given === null || typeof given !== "object" || Array.isArray(given)) return "keys is no object";
  const names = readers.map(({ field }) => field.name);
  const unknown = Object.keys(given).find((name) => !names.includes(name));
  if (unknown !== undefined) return `"${unknown}" is no key; the keys are ${names.join(", ")}`;
  const row: Record<string, Value> = {};
  for (const { field, read } of readers) {
    const raw = (given as Record<string, unknown>)[field.name];
    if (raw === undefined || raw === null) return `key "${field.name}" is missing; the keys are ${names.join(", ")}`;
    const value = read(raw);
    if (isReject(value)) return `key ${value.message}; it is ${show(raw)}`;
    row[`key_${field.name}`] = value;
  }
  return row;
}

/** An outcome that a row of the label dataset tells. */
export interface DatasetLabel {
  /** The spine's record id, by plain name. */
  readonly keys: Row;
  /** Null: known to have none. */
  readonly label: number | boolean | null;
  /** Null where the dataset has no times: then it is when the row became known. */
  readonly labelTime: Micros | null;
}

export interface LabelStepOptions {
  readonly store: Store;
  readonly model: string;
  readonly shape: ViewShape;
  /** The dataset that the view's label reads. */
  readonly dataset: string;
  /** The view's label expression on one row; null where the row tells nothing. */
  readonly labelOf: (row: Row) => DatasetLabel | null;
  readonly now: Micros;
  /** The commit number looked at so far, from the step before; spares looking again. */
  readonly seen?: number | undefined;
  readonly maxRows?: number;
}

export interface LabelStep {
  readonly labels: number;
  readonly seen: number;
  readonly atEnd: boolean;
}

/** A position this far behind what was seen is made durable even if no row was read. */
const LAG_MAX = 1_000;
/** Who told a label that comes from the view's own dataset. */
export const DATASET_ORIGIN = "dataset";
export const labelReader = (model: string) => `labels/${model}`;

/**
 * Folds new rows of the label dataset into `labels/<model>`, however late they come: rows and the reader's position in one
 * commit, so each row is taken once. A withdrawn row withdraws its label.
 */
export async function stepLabels(options: LabelStepOptions): Promise<LabelStep> {
  const { store, model, shape, labelOf, now } = options;
  const reader = labelReader(model);
  const durable = await store.position(reader);
  const from = Math.max(durable, options.seen ?? 0);
  const page = await store.tail(from, [curatedStream(options.dataset)], options.maxRows ?? 65_536);
  const rows: Row[] = [];
  let read = 0;
  for (const { batch, tombstones, knownTimes } of page.rows) {
    for (let i = 0; i < batch.length; i++) {
      read++;
      const told = labelOf(rowAt(batch, i));
      if (told)
        rows.push({
          ...labelRow(told, tombstones[i] === 1, shape),
          label_time: told.labelTime ?? knownTimes[i]!,
          at: now,
        });
    }
  }
  if (read > 0 || page.upTo - durable >= LAG_MAX) {
    const append = { stream: labelsStream(model), batch: batchOf(labelsContract(model, shape), rows) };
    await store.commit({
      appends: rows.length > 0 ? [append] : [],
      readers: { [reader]: page.upTo },
      expect: { readers: { [reader]: durable } },
    });
  }
  return { labels: rows.length, seen: page.upTo, atEnd: page.upTo >= page.head.commitNo };
}

function labelRow(told: DatasetLabel, withdrawn: boolean, shape: ViewShape): Row {
  const keys = shape.keys.map(({ name }) => [`key_${name}`, told.keys[name] ?? null] as const);
  const label = withdrawn || told.label === null ? null : Number(told.label);
  return {
    ...Object.fromEntries(keys),
    score_id: null,
    label,
    origin: DATASET_ORIGIN,
  };
}
