import { z } from "zod";
import { configSchema } from "./schema.ts";
import type { Path } from "./tree.ts";

/** The part of JSON Schema that zod writes for `mlpe.yaml`. */
export interface JsonSchema {
  readonly type?: string | readonly string[];
  readonly description?: string;
  readonly default?: unknown;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: boolean | JsonSchema;
  readonly propertyNames?: JsonSchema;
  readonly items?: JsonSchema;
  readonly anyOf?: readonly JsonSchema[];
  readonly oneOf?: readonly JsonSchema[];
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly pattern?: string;
  readonly path?: boolean;
  readonly duration?: boolean;
  readonly sql?: boolean;
  readonly amount?: boolean;
  readonly size?: boolean;
  readonly [keyword: string]: unknown;
}

/** The schema of what a user writes, as zod derives it. */
export const inputSchema = (): JsonSchema => z.toJSONSchema(configSchema, { io: "input" }) as JsonSchema;

/** The schemas that a value at this path may have: several where the config offers alternatives. */
export function schemasAt(schema: JsonSchema, path: Path, value: unknown): readonly JsonSchema[] {
  let schemas = alternatives(schema, value);
  let current: unknown = value;
  for (const segment of path) {
    current = child(current, segment);
    schemas = schemas.flatMap((candidate) => {
      const next = below(candidate, String(segment));
      return next ? alternatives(next, current) : [];
    });
  }
  return schemas;
}

function child(value: unknown, segment: string | number): unknown {
  if (value === null || typeof value !== "object" || !Object.hasOwn(value, segment)) return undefined;
  return (value as Record<string | number, unknown>)[segment];
}

function below(schema: JsonSchema, segment: string): JsonSchema | undefined {
  if (schema.properties && Object.hasOwn(schema.properties, segment)) return schema.properties[segment];
  if (typeof schema.additionalProperties === "object") return schema.additionalProperties;
  return schema.items;
}

/** The branches of a union; of a union told apart by a constant (`connector: file`), only the one that was meant. */
function alternatives(schema: JsonSchema, value: unknown): readonly JsonSchema[] {
  const branches = schema.oneOf ?? schema.anyOf;
  if (!branches || schema.amount || schema.size) return [schema];
  const meant = branches.filter((branch) =>
    Object.entries(branch.properties ?? {}).some(
      ([key, { const: fixed }]) => fixed !== undefined && child(value, key) === fixed,
    ),
  );
  return (meant.length > 0 ? meant : branches).map((branch) => {
    const description = branch.description ?? schema.description;
    return description === undefined ? branch : { ...branch, description };
  });
}

/** A type in words: `a whole number from 0 to 65535`. */
export function typeText(schema: JsonSchema): string {
  if (schema.path) return "path";
  if (schema.duration) return "duration (90s, 15m, 3h, 7d)";
  if (schema.amount) return "amount of disk (512MiB, 2GB, 5%)";
  if (schema.size) return "size above 0 (512MiB, 2GB)";
  if (schema.sql) return "SQL scalar expression";
  const branches = schema.oneOf ?? schema.anyOf;
  if (branches) return branches.map(typeText).join(" or ");
  if (schema.const !== undefined) return `\`${String(schema.const)}\``;
  if (schema.enum) return schema.enum.map((item) => `\`${String(item)}\``).join(", ");
  if (Array.isArray(schema.type)) return schema.type.join(" or ");
  if (schema.type === "array") return `list of ${schema.items ? typeText(schema.items) : "values"}`;
  if (schema.type === "object") return typeof schema.additionalProperties === "object" ? "map by name" : "map";
  if (schema.type === "integer") return `whole number${rangeText(schema)}`;
  if (schema.type === "number") return `number${rangeText(schema)}`;
  if (schema.type === "boolean") return "true or false";
  if (schema.type === "string") return "text";
  return "any value";
}

function rangeText(schema: JsonSchema): string {
  const { minimum, maximum, exclusiveMinimum } = schema as Record<string, number | undefined>;
  const top = maximum === Number.MAX_SAFE_INTEGER ? undefined : maximum;
  if (exclusiveMinimum !== undefined) return ` above ${exclusiveMinimum}${top === undefined ? "" : `, at most ${top}`}`;
  if (minimum !== undefined && top !== undefined) return ` from ${minimum} to ${top}`;
  if (minimum !== undefined) return ` from ${minimum}`;
  return top === undefined ? "" : ` up to ${top}`;
}
