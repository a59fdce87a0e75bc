import type { FileMetaData, SchemaElement } from "hyparquet";
import type { Problem } from "../base/errors.ts";
import { nearest } from "../base/nearest.ts";
import type { Contract, Field, FieldType } from "./contract.ts";
import { contractErrors } from "./errors.ts";

/** A top-level column of a Parquet file, by what its values are. */
export interface ParquetColumn {
  readonly name: string;
  /** Absent where MLPE has no such values (nested, decimal, time of day, ...): such a column is not read. */
  readonly type?: FieldType;
  /** The type as the file says it: `INT64 TIMESTAMP(MICROS, local)`. */
  readonly shown: string;
  readonly nullable: boolean;
  /** True where the writer counted as many nulls as rows. */
  readonly allNull: boolean;
  /** Timestamps without a zone are texts without an offset: they are no instants. */
  readonly local: boolean;
}

/** The columns of a file, from its footer alone. */
export function parquetColumns(metadata: FileMetaData): readonly ParquetColumn[] {
  const columns: ParquetColumn[] = [];
  const [, ...elements] = metadata.schema;
  for (let at = 0; at < elements.length; ) {
    const element = elements[at]!;
    const size = subtreeSize(elements, at);
    const type = size === 1 && element.repetition_type !== "REPEATED" ? columnType(element) : undefined;
    columns.push({
      name: element.name,
      ...(type === undefined ? {} : { type }),
      shown: size === 1 ? shownType(element) : "nested",
      nullable: element.repetition_type !== "REQUIRED",
      allNull: size === 1 && isAllNull(metadata, element.name),
      local: isLocal(element),
    });
    at += size;
  }
  return columns;
}

/** How a dataset's fields are found in a file. */
export interface ParquetMapping {
  /** Contract field -> column, where they differ. */
  readonly rename?: Readonly<Record<string, string>>;
  /** Fields that are computed from columns: they need not be in the file. */
  readonly computed?: readonly string[];
}

/**
 * Whether a file fits a contract, from its footer alone: every field is there (or computed, or has a default) with a type
 * that becomes the field's without loss (Avro's promotions). A column that may hold null for a field that may not is only
 * a problem here if it holds nothing else: single nulls are judged row by row.
 */
export function checkParquetSchema(
  columns: readonly ParquetColumn[],
  contract: Contract,
  mapping: ParquetMapping = {},
): Problem[] {
  const problems: Problem[] = [];
  const computed = new Set(mapping.computed ?? []);
  const byName = new Map(columns.map((column) => [column.name, column]));
  for (const field of contract.fields) {
    if (computed.has(field.name)) continue;
    const name = mapping.rename?.[field.name] ?? field.name;
    const place = `${contract.name}.${field.name}`;
    const column = byName.get(name);
    const found = column ? misfit(column, field) : absence(name, field, byName.keys());
    if (found) problems.push(contractErrors.problem("structure_mismatch", found.message, { place, fix: found.fix }));
  }
  return problems;
}

interface Misfit {
  readonly message: string;
  readonly fix: string;
}

/** File type -> the field types it becomes without loss. */
const FITS: Readonly<Record<FieldType, readonly FieldType[]>> = {
  boolean: ["boolean"],
  int: ["int", "long", "float", "double"],
  long: ["long", "float", "double"],
  float: ["float", "double"],
  double: ["double"],
  string: ["string", "bytes", "enum"],
  enum: ["string", "enum", "bytes"],
  bytes: ["bytes", "string"],
  timestamp: ["timestamp"],
  date: ["date"],
};

const WIDTH: Readonly<Partial<Record<FieldType, number>>> = { int: 1, long: 2, float: 3, double: 4 };

function absence(name: string, field: Field, names: Iterable<string>): Misfit | undefined {
  if (field.default !== undefined) return undefined;
  const near = nearest(name, names);
  const rename = near ? `rename: { ${field.name}: ${near} }, or ` : "";
  const add = field.nullable ? '"default": null in the contract' : "set: with an expression for it";
  return { message: `the file has no column "${name}"`, fix: `Add the column, or ${rename}${add}.` };
}

function misfit(column: ParquetColumn, field: Field): Misfit | undefined {
  const wanted = `the contract's "${field.name}" is a ${field.type}`;
  const there = `the column "${column.name}" is ${column.shown}`;
  if (column.local && field.type === "timestamp") {
    return {
      message: `${there}: a local time without a zone is no instant, and ${wanted}`,
      fix: "Write the column as a timestamp in UTC, or compute the field with set:.",
    };
  }
  if (column.type === undefined) {
    return {
      message: `${there}, which is not read, and ${wanted}`,
      fix: `Write the column as ${castText(field.type)}.`,
    };
  }
  if (!FITS[column.type].includes(field.type)) {
    const [from, to] = [WIDTH[column.type], WIDTH[field.type]];
    const narrows = from !== undefined && to !== undefined;
    return {
      message: `${there}, and ${wanted}${narrows ? ", which would lose values" : ""}`,
      fix: narrows
        ? `Make the contract's field a ${column.type}, or write the column as ${castText(field.type)}.`
        : `Write the column as ${castText(field.type)}, or compute the field with set:.`,
    };
  }
  if (column.allNull && !field.nullable) {
    return {
      message: `the column "${column.name}" is null in every row, and ${wanted} that may not be null`,
      fix: `Fill the column, or allow null: "type": ["null", ...].`,
    };
  }
  return undefined;
}

const castText = (type: FieldType): string =>
  ({ timestamp: "a timestamp in UTC, in microseconds", enum: "a string" })[type as string] ?? `a ${type}`;

function subtreeSize(elements: readonly SchemaElement[], at: number): number {
  let size = 1;
  for (let child = 0; child < (elements[at]?.num_children ?? 0); child++) size += subtreeSize(elements, at + size);
  return size;
}

const BY_CONVERTED: Readonly<Record<string, FieldType | null>> = {
  UTF8: "string",
  ENUM: "string",
  JSON: "string",
  DATE: "date",
  TIMESTAMP_MILLIS: "timestamp",
  TIMESTAMP_MICROS: "timestamp",
  INT_8: "int",
  INT_16: "int",
  INT_32: "int",
  INT_64: "long",
  UINT_8: "int",
  UINT_16: "int",
  UINT_32: "long",
  UINT_64: null,
  DECIMAL: null,
  TIME_MILLIS: null,
  TIME_MICROS: null,
  BSON: null,
  INTERVAL: null,
  LIST: null,
  MAP: null,
  MAP_KEY_VALUE: null,
};
const BY_PHYSICAL: Readonly<Record<string, FieldType | undefined>> = {
  BOOLEAN: "boolean",
  INT32: "int",
  INT64: "long",
  FLOAT: "float",
  DOUBLE: "double",
  BYTE_ARRAY: "bytes",
  FIXED_LEN_BYTE_ARRAY: "bytes",
};

function columnType(element: SchemaElement): FieldType | undefined {
  const { type, converted_type: converted, logical_type: logical } = element;
  switch (logical?.type) {
    case "TIMESTAMP":
      return logical.isAdjustedToUTC ? "timestamp" : "string";
    case "STRING":
    case "ENUM":
    case "JSON":
    case "UUID":
      return "string";
    case "DATE":
      return "date";
    case "FLOAT16":
      return "float";
    case "INTEGER":
      if (logical.bitWidth === 64) return logical.isSigned ? "long" : undefined;
      return logical.bitWidth === 32 && !logical.isSigned ? "long" : "int";
    case undefined:
      break;
    default:
      return undefined;
  }
  if (converted !== undefined) return BY_CONVERTED[converted] ?? undefined;
  return type === undefined ? undefined : BY_PHYSICAL[type];
}

function isLocal(element: SchemaElement): boolean {
  return element.logical_type?.type === "TIMESTAMP" && !element.logical_type.isAdjustedToUTC;
}

function shownType(element: SchemaElement): string {
  const { type, converted_type: converted, logical_type: logical, repetition_type: repetition } = element;
  const base = repetition === "REPEATED" ? `repeated ${type}` : String(type);
  if (logical?.type === "TIMESTAMP")
    return `${base} TIMESTAMP(${logical.unit}, ${logical.isAdjustedToUTC ? "UTC" : "local"})`;
  if (logical?.type === "INTEGER") return `${base} ${logical.isSigned ? "INT" : "UINT"}_${logical.bitWidth}`;
  const name = logical?.type ?? converted;
  return name === undefined ? base : `${base} ${name}`;
}

function isAllNull(metadata: FileMetaData, name: string): boolean {
  let nulls = 0n;
  for (const group of metadata.row_groups) {
    const chunk = group.columns.find((column) => column.meta_data?.path_in_schema.join(".") === name);
    const count = chunk?.meta_data?.statistics?.null_count;
    if (count === undefined) return false;
    nulls += count;
  }
  return metadata.num_rows > 0n && nulls === metadata.num_rows;
}
