import { inputSchema, type JsonSchema, typeText } from "./keys.ts";

/** The JSON Schema (2020-12) of `mlpe.yaml` for editors: `mlpe config schema`. Made from the schema that checks it. */
export function configJsonSchema(): Record<string, unknown> {
  return { title: "mlpe.yaml", ...(withoutMarks(inputSchema()) as Record<string, unknown>) };
}

/** Our own marks on a schema mean nothing to an editor, and strict validators refuse them. */
function withoutMarks(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(withoutMarks);
  if (schema === null || typeof schema !== "object") return schema;
  const marks = new Set(["path", "duration", "sql", "amount", "size"]);
  const kept = Object.entries(schema).filter(([key, value]) => !(marks.has(key) && value === true));
  return Object.fromEntries(kept.map(([key, value]) => [key, withoutMarks(value)]));
}

/** One key of `mlpe.yaml`; a name that the user chooses is written `<name>`, a list item `[]`. */
export interface ConfigKey {
  readonly key: string;
  readonly type: string;
  readonly required: boolean;
  /** As JSON; absent where there is none. */
  readonly default?: string;
  readonly description: string;
}

/** Every key, in the order of the schema. */
export function configKeys(): readonly ConfigKey[] {
  const keys = new Map<string, ConfigKey>();
  const visit = (schema: JsonSchema, path: string): void => {
    for (const branch of schema.oneOf ?? schema.anyOf ?? []) visit(branch, path);
    for (const [name, inner] of Object.entries(schema.properties ?? {})) {
      add(path === "" ? name : `${path}.${name}`, inner, schema.required?.includes(name) ?? false);
    }
    if (typeof schema.additionalProperties === "object") {
      // `{ features: { hour: SQL } }`: the names are the user's, so only what lies below them has keys of its own.
      visit(schema.additionalProperties, `${path}.<name>`);
    }
    if (schema.items) visit(schema.items, `${path}[]`);
  };
  const add = (key: string, schema: JsonSchema, required: boolean): void => {
    const known = keys.get(key);
    const type = keyType(schema);
    keys.set(key, {
      key,
      type: known && known.type !== type ? `${known.type}, ${type}` : type,
      required: required && (known?.required ?? true),
      ...(schema.default === undefined ? {} : { default: JSON.stringify(schema.default) }),
      description: known?.description || schema.description || "",
    });
    visit(schema, key);
  };
  visit(inputSchema(), "");
  return [...keys.values()];
}

/** A map by name says what its values are. */
function keyType(schema: JsonSchema): string {
  const values = schema.additionalProperties;
  if (typeof values !== "object" || schema.path) return typeText(schema);
  const inner = typeText(values);
  return inner.startsWith("map") ? "map by name" : `map of name to ${inner}`;
}

/** Every key of `mlpe.yaml` as a Markdown table. */
export function configReference(): string {
  const cell = (text: string) => text.replaceAll("|", "\\|").replaceAll("\n", " ");
  const rows = configKeys().map(({ key, type, required, default: preset, description }) => {
    const shown = required ? "required" : preset === undefined ? "" : `\`${preset}\``;
    return `| \`${key}\` | ${cell(type)} | ${cell(shown)} | ${cell(description)} |`;
  });
  return ["| key | type | default | meaning |", "|---|---|---|---|", ...rows, ""].join("\n");
}
