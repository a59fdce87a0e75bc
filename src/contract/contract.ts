import { canonicalJson, sha256Hex } from "../base/digest.ts";
import type { Problem } from "../base/errors.ts";
import type { Value } from "../base/row.ts";
import { contractErrors } from "./errors.ts";

/**
 * The types a field can have. `timestamp` is microseconds in UTC (Avro `timestamp-micros` or `timestamp-millis`),
 * `date` is days since 1970-01-01, `enum` is a string out of `symbols`.
 */
export type FieldType =
  | "boolean"
  | "int"
  | "long"
  | "float"
  | "double"
  | "string"
  | "bytes"
  | "timestamp"
  | "date"
  | "enum";

export type Classification = "public" | "internal" | "confidential" | "pii";

export interface Field {
  readonly name: string;
  readonly type: FieldType;
  readonly nullable: boolean;
  readonly symbols?: readonly string[];
  /** Present only if the schema declares a default; null is a declared null. */
  readonly default?: Value;
  readonly classification: Classification;
  readonly unit?: string;
  readonly description?: string;
}

/** The versioned agreement on the rows of one stream. */
export interface Contract {
  readonly name: string;
  /** In the order of the schema: the order of columns everywhere. */
  readonly fields: readonly Field[];
  /** Key fields: what a row is about. May be empty. */
  readonly entity: readonly string[];
  /** The field that says when the row was true; absent for static datasets. */
  readonly eventTime?: string;
  /** The field that says when a consumer could have used the row; default the event time. */
  readonly availableTime?: string;
  /** Breaks ties of event time. */
  readonly order?: string;
  /** What makes two deliveries the same record. */
  readonly recordId: readonly string[] | "content" | "position";
  /** Sets rows apart whose fields are the same and whose values mean something else: the digest of the view they were fused by. */
  readonly generation?: string;
  /** SHA-256 of the schema's Parsing Canonical Form and the properties above, in hex. */
  readonly fingerprint: string;
  /** The Avro schema itself, as written: exports carry it. */
  readonly schema: AvroRecord;
}

export interface AvroRecord {
  readonly type: "record";
  readonly name: string;
  readonly namespace?: string;
  readonly doc?: string;
  readonly fields: readonly AvroField[];
  readonly [property: string]: unknown;
}

export interface AvroField {
  readonly name: string;
  readonly type: unknown;
  readonly default?: unknown;
  readonly doc?: string;
  readonly [property: string]: unknown;
}

const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;
const PRIMITIVES = new Set(["boolean", "int", "long", "float", "double", "string", "bytes"]);
const LOGICAL: Readonly<Record<string, FieldType>> = {
  "long:timestamp-micros": "timestamp",
  "long:timestamp-millis": "timestamp",
  "int:date": "date",
  "string:uuid": "string",
};
const CLASSES = ["public", "internal", "confidential", "pii"] as const;

/**
 * A contract from the text of an `.avsc` file. Throws one MlpeError that lists every problem found.
 * `place` names the file in messages.
 */
export function parseContract(text: string, place: string): Contract {
  let schema: unknown;
  try {
    schema = JSON.parse(text);
  } catch (cause) {
    throw contractErrors.error("not_json", `${place} is not JSON: ${(cause as Error).message}`, { place, cause });
  }
  return contractOf(schema, place);
}

/** A contract from a parsed Avro schema; see `parseContract`. */
export function contractOf(schema: unknown, place: string): Contract {
  const record = schema as Partial<AvroRecord> | null;
  if (record === null || typeof record !== "object" || record.type !== "record" || !Array.isArray(record.fields)) {
    throw contractErrors.error("not_a_record", `${place} is not an Avro record schema`, { place });
  }
  if (typeof record.name !== "string" || !NAME.test(record.name)) {
    throw contractErrors.error("not_a_record", `${place} has no valid record name`, { place });
  }
  const problems: Problem[] = [];
  const fields = readFields(record.fields, place, problems);
  const names = new Set(fields.map((field) => field.name));
  const properties = readProperties(record as AvroRecord, fields, names, place, problems);
  if (problems.length > 0) {
    throw contractErrors.error("bad_field", problems[0]!.message, { place: problems[0]!.place, problems });
  }
  const canonical = canonicalJson({ fields: fields.map(canonicalField), name: record.name, ...properties });
  return { name: record.name, fields, ...properties, fingerprint: sha256Hex(canonical), schema: record as AvroRecord };
}

function canonicalField(field: Field): unknown {
  return [field.name, field.type, field.nullable, field.symbols ?? null];
}

function readFields(list: readonly unknown[], place: string, problems: Problem[]): Field[] {
  const fields: Field[] = [];
  const seen = new Map<string, string>();
  list.forEach((item, index) => {
    const at = `${place}, field ${index + 1}`;
    const declared = item as Partial<AvroField> | null;
    if (declared === null || typeof declared !== "object" || typeof declared.name !== "string") {
      problems.push(contractErrors.problem("bad_field", "a field has no name", { place: at }));
      return;
    }
    const name = declared.name;
    const twin = seen.get(name.toLowerCase());
    if (!NAME.test(name)) {
      problems.push(contractErrors.problem("bad_field", `"${name}" is not an Avro name`, { place: at }));
    } else if (twin !== undefined) {
      const message = `fields "${twin}" and "${name}" differ at most in case`;
      problems.push(contractErrors.problem("bad_field", message, { place: at, fix: "Rename one of them." }));
    }
    seen.set(name.toLowerCase(), name);
    const field = readField(declared as AvroField, at, problems);
    if (field) fields.push(field);
  });
  return fields;
}

function readField(declared: AvroField, at: string, problems: Problem[]): Field | undefined {
  const branches = Array.isArray(declared.type) ? declared.type : [declared.type];
  const nullable = branches.includes("null");
  const rest = branches.filter((branch) => branch !== "null");
  const shape = rest.length === 1 ? readType(rest[0]) : undefined;
  if (!shape) {
    const shown = JSON.stringify(declared.type);
    problems.push(contractErrors.problem("bad_field", `"${declared.name}" has the type ${shown}`, { place: at }));
    return undefined;
  }
  const classification = declared.classification ?? "internal";
  if (!CLASSES.includes(classification as Classification)) {
    const message = `"${declared.name}" has the classification ${JSON.stringify(classification)}`;
    problems.push(
      contractErrors.problem("bad_field", message, { place: at, fix: `Use one of ${CLASSES.join(", ")}.` }),
    );
  }
  if (declared.default !== undefined && !defaultFits(declared.default, shape, nullable)) {
    const message = `the default ${JSON.stringify(declared.default).slice(0, 60)} of "${declared.name}" is no ${shape.type}`;
    const fix = `Write a default of the field's type${nullable ? " or null" : ', or allow null: "type": ["null", ...]'}.`;
    problems.push(contractErrors.problem("bad_field", message, { place: at, fix }));
  }
  return {
    name: declared.name,
    ...shape,
    nullable,
    ...(declared.default === undefined ? {} : { default: storedDefault(declared.default, shape.type, rest[0]) }),
    classification: classification as Classification,
    ...(typeof declared.unit === "string" ? { unit: declared.unit } : {}),
    ...(typeof declared.doc === "string" ? { description: declared.doc } : {}),
  };
}

/** Avro writes defaults as JSON: times and dates as whole numbers, bytes as text. */
function defaultFits(
  value: unknown,
  { type, symbols }: { type: FieldType; symbols?: readonly string[] },
  nullable: boolean,
): boolean {
  if (value === null) return nullable;
  switch (type) {
    case "boolean":
      return typeof value === "boolean";
    case "int":
    case "date":
      return Number.isInteger(value) && value === ((value as number) | 0);
    case "long":
    case "timestamp":
      return Number.isSafeInteger(value);
    case "float":
      return typeof value === "number" && Number.isFinite(Math.fround(value));
    case "double":
      return typeof value === "number";
    case "enum":
      return symbols!.includes(value as string);
    case "string":
      return typeof value === "string";
    case "bytes":
      return typeof value === "string" && /^[\0-\u00ff]*$/.test(value);
  }
}

/** A default as rows hold it. Avro writes bytes as text, a character a byte, and milliseconds where the type says so. */
function storedDefault(value: unknown, type: FieldType, declared: unknown): Value {
  if (value === null) return null;
  if (type === "bytes") return Uint8Array.from(value as string, (character) => character.charCodeAt(0));
  if (type === "float") return Math.fround(value as number);
  const isMillis = (declared as { logicalType?: unknown }).logicalType === "timestamp-millis";
  return isMillis ? (value as number) * 1000 : (value as Value);
}

function readType(type: unknown): { type: FieldType; symbols?: readonly string[] } | undefined {
  if (typeof type === "string") return PRIMITIVES.has(type) ? { type: type as FieldType } : undefined;
  if (type === null || typeof type !== "object") return undefined;
  const { type: base, logicalType, symbols } = type as Record<string, unknown>;
  if (base === "enum") {
    if (!Array.isArray(symbols) || symbols.some((symbol) => typeof symbol !== "string")) return undefined;
    return { type: "enum", symbols: symbols as string[] };
  }
  if (typeof base !== "string" || !PRIMITIVES.has(base)) return undefined;
  if (logicalType === undefined) return { type: base as FieldType };
  const logical = LOGICAL[`${base}:${String(logicalType)}`];
  return logical ? { type: logical } : undefined;
}

interface Properties {
  readonly entity: readonly string[];
  readonly recordId: readonly string[] | "content" | "position";
  readonly eventTime?: string;
  readonly availableTime?: string;
  readonly order?: string;
  readonly generation?: string;
}

function readProperties(
  record: AvroRecord,
  fields: readonly Field[],
  names: ReadonlySet<string>,
  place: string,
  problems: Problem[],
): Properties {
  const bad = (message: string) => problems.push(contractErrors.problem("bad_property", message, { place }));
  const fieldList = (property: string): readonly string[] => {
    const value = record[property] ?? [];
    if (!Array.isArray(value)) bad(`"${property}" is not a list of field names`);
    const list = Array.isArray(value) ? (value as string[]) : [];
    for (const name of list) if (!names.has(name)) bad(`"${property}" names "${name}", which is no field`);
    return list;
  };
  const timeField = (property: string): string | undefined => {
    const value = record[property];
    if (value === undefined) return undefined;
    const field = fields.find((candidate) => candidate.name === value);
    if (!field) bad(`"${property}" names ${JSON.stringify(value)}, which is no field`);
    else if (field.type !== "timestamp")
      bad(`"${property}" names "${field.name}", which is a ${field.type}, not a timestamp`);
    return value as string;
  };
  const entity = fieldList("entity");
  const eventTime = timeField("eventTime");
  const availableTime = timeField("availableTime");
  const order = record.order as string | undefined;
  if (order !== undefined && !names.has(order)) bad(`"order" names "${order}", which is no field`);
  const id = record.recordId;
  if (id === undefined)
    bad('"recordId" is missing: list the fields that identify a record, or say "content" or "position"');
  const recordId = id === "content" || id === "position" ? id : fieldList("recordId");
  if (Array.isArray(id) && id.length === 0) bad('"recordId" is an empty list');
  return {
    entity,
    recordId,
    ...(eventTime === undefined ? {} : { eventTime }),
    ...(availableTime === undefined ? {} : { availableTime }),
    ...(order === undefined ? {} : { order }),
    ...(typeof record.generation === "string" ? { generation: record.generation } : {}),
  };
}

/** The field of that name, or undefined. */
export function fieldOf(contract: Contract, name: string): Field | undefined {
  return contract.fields.find((field) => field.name === name);
}

const AVRO_TYPES: Readonly<Record<FieldType, unknown>> = {
  boolean: "boolean",
  int: "int",
  long: "long",
  float: "float",
  double: "double",
  string: "string",
  bytes: "bytes",
  timestamp: { type: "long", logicalType: "timestamp-micros" },
  date: { type: "int", logicalType: "date" },
  enum: "string",
};

/** What a room says about a stream of its own: enough to make its contract. */
export interface StreamShape {
  readonly name: string;
  /** `name: type`, with a trailing `?` where null is allowed: `{ score_id: "string", label: "boolean?" }`. */
  readonly fields: Readonly<Record<string, FieldType | `${FieldType}?`>>;
  readonly entity?: readonly string[];
  readonly eventTime?: string;
  readonly availableTime?: string;
  readonly recordId: readonly string[] | "content" | "position";
  readonly generation?: string;
}

/** The contract of a stream that MLPE itself writes (features, scores, labels, verdicts, ...). */
export function streamContract(shape: StreamShape): Contract {
  const { fields, ...properties } = shape;
  return contractOf(
    {
      type: "record",
      ...properties,
      fields: Object.entries(fields).map(([name, type]) => {
        const nullable = type.endsWith("?");
        const avro = AVRO_TYPES[(nullable ? type.slice(0, -1) : type) as FieldType];
        return { name, type: nullable ? ["null", avro] : avro };
      }),
    },
    `stream ${shape.name}`,
  );
}
