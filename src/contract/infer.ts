import { coercer, isReject } from "./coerce.ts";
import type { AvroField, AvroRecord, FieldType } from "./contract.ts";

export interface InferOptions {
  /** Texts that mean null; default "" and "NA". */
  readonly nulls?: readonly string[];
}

export interface Inferred {
  /** An Avro schema that `contractOf` accepts. */
  readonly schema: AvroRecord;
  /** What was assumed, a sentence each, for a person to check. */
  readonly notes: readonly string[];
}

/** What the texts of one column have in common. */
interface Guess {
  /** As in the file. */
  readonly column: string;
  /** As an Avro name. */
  readonly name: string;
  readonly type: FieldType;
  readonly nulls: number;
  readonly distinct: number;
}

const NULLS = ["", "NA"];
const WHOLE = /^[+-]?\d+$/;
const REAL = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/;
const LEADING_ZERO = /^[+-]?0\d/;
const LOCAL = /^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?$/;
/** Combinations of columns that are tried as the record id. */
const CANDIDATES_MAX = 1_000;
/** Fewer rows than this prove no column unique. */
const UNIQUE_ROWS_MIN = 2;

/**
 * A contract for rows of texts (a CSV and a sample of it): the narrowest type that every text of the sample has, null
 * where the sample has none, and proposals for what a row is about. A value that the sample does not show may not fit:
 * such rows are quarantined, and the notes say what to check. `name` is the record's name.
 */
export function inferContract(
  name: string,
  header: readonly string[],
  sample: readonly (readonly string[])[],
  options: InferOptions = {},
): Inferred {
  const nulls = new Set(options.nulls ?? NULLS);
  const notes: string[] = [`Types are those of ${sample.length} sampled rows; ${shownNulls(nulls)} mean null.`];
  const names = fieldNames(header, notes);
  const guesses = header.map((column, index) =>
    guess(
      column,
      names[index]!,
      sample.map((row) => row[index] ?? ""),
      nulls,
      notes,
    ),
  );
  const eventTime = chooseEventTime(guesses, notes);
  const recordId = chooseRecordId(guesses, sample, nulls, eventTime, notes);
  const entity = chooseEntity(guesses, sample.length, recordId, eventTime, notes);
  const recordName = avroName(name, "record");
  return {
    schema: {
      type: "record",
      name: recordName,
      entity,
      ...(eventTime === undefined ? {} : { eventTime: eventTime.name }),
      recordId,
      fields: guesses.map((column) => avroField(column, column === eventTime || recordId.includes(column.name))),
    },
    notes,
  };
}

function shownNulls(nulls: ReadonlySet<string>): string {
  return [...nulls].map((text) => JSON.stringify(text)).join(" and ");
}

/** Avro names, all different even where case is ignored. */
function fieldNames(header: readonly string[], notes: string[]): string[] {
  const taken = new Set<string>();
  const renamed: string[] = [];
  const names = header.map((column, index) => {
    const base = avroName(column, `column_${index + 1}`);
    let name = base;
    for (let next = 2; taken.has(name.toLowerCase()); next++) name = `${base}_${next}`;
    taken.add(name.toLowerCase());
    if (name !== column) renamed.push(`${name}: ${JSON.stringify(column)}`);
    return name;
  });
  if (renamed.length > 0) {
    const count = renamed.length === 1 ? "One column has a name" : `${renamed.length} columns have names`;
    notes.push(`${count} that no field can have: write rename: { ${renamed.join(", ")} } in the dataset.`);
  }
  return names;
}

function avroName(text: string, fallback: string): string {
  const clean = text
    .normalize("NFKD")
    .replace(/[\u0300-\u036f]/g, "")
    .replace(/[^A-Za-z0-9_]+/g, "_")
    .replace(/^_+|_+$/g, "");
  if (clean === "") return fallback;
  return /^[0-9]/.test(clean) ? `_${clean}` : clean;
}

function guess(
  column: string,
  name: string,
  texts: readonly string[],
  nulls: ReadonlySet<string>,
  notes: string[],
): Guess {
  const present = texts.filter((text) => !nulls.has(text));
  const distinct = new Set(present).size;
  const type = present.length === 0 ? "string" : typeOf(present);
  const base = { column, name, type, nulls: texts.length - present.length, distinct };
  if (present.length === 0)
    notes.push(`"${name}" has no value in the sample: it is taken as a string that may be null.`);
  else if (type === "string" && present.every((text) => LOCAL.test(text))) {
    notes.push(
      `"${name}" looks like times without an offset, which are no instants: it is taken as a string. Add Z or an offset in the source, or compute an instant with set:.`,
    );
  } else if (
    type === "string" &&
    present.some((text) => WHOLE.test(text) && LEADING_ZERO.test(text)) &&
    present.every((text) => WHOLE.test(text))
  ) {
    notes.push(`"${name}" has digits with leading zeros: it is taken as a string, so that they are kept.`);
  } else if (type === "string" && distinct > 0 && looksLikeNull(present)) {
    notes.push(
      `"${name}" is numeric but for ${JSON.stringify(looksLikeNull(present))}: if that means null, add it to csv: { nulls: [...] }.`,
    );
  }
  return base;
}

/** A column of numbers with one word in it: the word may mean null. */
function looksLikeNull(texts: readonly string[]): string | undefined {
  const words = new Set(texts.filter((text) => !REAL.test(text)));
  return words.size === 1 && texts.length > 2 && texts.filter((text) => REAL.test(text)).length > texts.length / 2
    ? [...words][0]
    : undefined;
}

/** From narrow to wide; what each type asks of a text beside being readable as it. */
const TYPES: readonly (readonly [FieldType, (text: string) => boolean])[] = [
  ["boolean", () => true],
  ["int", (text) => WHOLE.test(text) && !LEADING_ZERO.test(text)],
  ["long", (text) => WHOLE.test(text) && !LEADING_ZERO.test(text)],
  ["double", (text) => REAL.test(text) && !LEADING_ZERO.test(text)],
  ["date", () => true],
  ["timestamp", () => true],
];

/** The narrowest type that every text is read as without loss. Digits with leading zeros are codes, not numbers. */
function typeOf(texts: readonly string[]): FieldType {
  for (const [type, fits] of TYPES) {
    const read = coercer({ name: "sample", type, nullable: false, classification: "internal" });
    if (texts.every((text) => fits(text) && !isReject(read(text)))) return type;
  }
  return "string";
}

function chooseEventTime(guesses: readonly Guess[], notes: string[]): Guess | undefined {
  const times = guesses.filter((column) => column.type === "timestamp");
  const chosen = times.find((column) => column.nulls === 0);
  if (chosen) {
    const others =
      times.length > 1
        ? `; others are ${times
            .filter((column) => column !== chosen)
            .map((column) => `"${column.name}"`)
            .join(", ")}`
        : "";
    notes.push(
      `eventTime is "${chosen.name}", the first timestamp without nulls${others}: it must say when the row was true.`,
    );
  } else {
    notes.push(
      "There is no eventTime, because no column is a timestamp without nulls: make the dataset static: true, or compute an instant with set: and name it.",
    );
  }
  return chosen;
}

/** The first single column, pair with the event time or of two keys, or pair with the event time, that tells all sampled rows apart. */
function chooseRecordId(
  guesses: readonly Guess[],
  sample: readonly (readonly string[])[],
  nulls: ReadonlySet<string>,
  eventTime: Guess | undefined,
  notes: string[],
): readonly string[] | "content" {
  const possible = guesses.filter((column) => column.nulls === 0 && isKeyType(column.type));
  // Texts name things; whole numbers are often measured.
  const keys = [
    ...possible.filter(({ type }) => type === "string"),
    ...possible.filter(({ type }) => type !== "string"),
  ];
  const unique = (columns: readonly Guess[]) => {
    const at = columns.map((column) => guesses.indexOf(column));
    const seen = new Set<string>();
    for (const row of sample) {
      if (at.some((index) => nulls.has(row[index] ?? ""))) return false;
      const before = seen.size;
      // Most candidates end here after a few rows, so that many can be tried.
      if (seen.add(JSON.stringify(at.map((index) => row[index] ?? ""))).size === before) return false;
    }
    return true;
  };
  const pairs = keys.flatMap((first, index) => keys.slice(index + 1).map((second) => [first, second]));
  const candidates: (readonly Guess[])[] = [
    ...keys.filter((column) => isNamedKey(column)).map((column) => [column]),
    ...keys.map((column) => [column]),
    ...(eventTime ? keys.map((column) => [column, eventTime]) : []),
    ...pairs,
    ...(eventTime ? pairs.map((pair) => [...pair, eventTime]) : []),
  ];
  const found = sample.length < UNIQUE_ROWS_MIN ? undefined : candidates.slice(0, CANDIDATES_MAX).find(unique);
  if (!found) {
    notes.push(
      'recordId is "content", because no one or two columns, with or without the event time, tell the sampled rows apart: two equal rows count as one record.',
    );
    return "content";
  }
  const names = found.map((column) => column.name);
  notes.push(
    `recordId is [${names.join(", ")}], which tells all sampled rows apart: check that it does so always, or a second row would count as a correction of the first.`,
  );
  return names;
}

const isKeyType = (type: FieldType): boolean => type === "string" || type === "int" || type === "long";
const isNamedKey = (column: Guess): boolean =>
  /(^|_)(id|key|code|uuid|number|no|nr)$/i.test(column.name) || /Id$/.test(column.name);

/** What rows are about: the record id without its time, where there is one; else the first repeated key. */
function chooseEntity(
  guesses: readonly Guess[],
  rows: number,
  recordId: readonly string[] | "content",
  eventTime: Guess | undefined,
  notes: string[],
): readonly string[] {
  const inId = recordId === "content" ? [] : recordId.filter((name) => name !== eventTime?.name);
  const repeated = guesses.filter(
    (column) => isKeyType(column.type) && column.nulls === 0 && column.distinct > 1 && column.distinct < rows,
  );
  const about = eventTime !== undefined && inId.length === recordId.length ? repeated.find(isNamedKey) : undefined;
  const entity = about
    ? [about.name]
    : inId.length > 0
      ? inId
      : repeated
          .filter(isNamedKey)
          .slice(0, 1)
          .map((column) => column.name);
  notes.push(
    entity.length === 0
      ? "entity is empty: name the fields that say what a row is about, so that views can join it."
      : `entity is [${entity.join(", ")}]: it must name what a row is about, as views join by it.`,
  );
  return entity;
}

const AVRO: Readonly<Partial<Record<FieldType, unknown>>> = {
  timestamp: { type: "long", logicalType: "timestamp-micros" },
  date: { type: "int", logicalType: "date" },
};

/** Nullable unless it identifies the row: a sample without nulls does not prove that there are none. */
function avroField(column: Guess, required: boolean): AvroField {
  const type = AVRO[column.type] ?? column.type;
  return required ? { name: column.name, type } : { name: column.name, type: ["null", type], default: null };
}
