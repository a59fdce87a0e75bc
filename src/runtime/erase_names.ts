import { coercer, isReject } from "../contract/coerce.ts";
import { type Field, fieldOf } from "../contract/contract.ts";
import { exactJsonText, parseExactJson } from "../contract/json.ts";
import { runtimeErrors } from "./errors.ts";
import type { Project } from "./project.ts";

/** Fields and the texts of their values. */
export type Texts = Readonly<Record<string, string>>;

/**
 * The entity as its datasets store it: an instant in any spelling is its microseconds, a day its number, `007` of a whole
 * number 7. A value that no dataset's type reads stays as it was written: rows of an earlier contract may hold it. Throws
 * runtime.not_an_entity where no dataset has the fields, or two read them differently.
 */
export function storedEntity(project: Project, given: Texts): Texts {
  const names = Object.keys(given);
  const readings = new Map<string, { readonly texts: Texts; readonly dataset: string }>();
  const owners = ownersOf(project, names);
  for (const { dataset, fields } of owners) {
    const texts = fields.map((field) => storedText(field, given[field.name]!));
    if (texts.includes(undefined)) continue;
    const reading = Object.fromEntries(names.map((name, i) => [name, texts[i]!]));
    if (!readings.has(JSON.stringify(reading))) readings.set(JSON.stringify(reading), { texts: reading, dataset });
  }
  if (owners.length === 0 || names.length === 0) {
    const message = `no dataset has the fields ${names.join(", ") || "of an empty entity"}`;
    throw runtimeErrors.error("not_an_entity", message, { place: "entity" });
  }
  const [first, second] = readings.values();
  if (first !== undefined && second !== undefined) {
    const message = `${first.dataset} and ${second.dataset} store these values differently, as their types differ`;
    const fix = "Write the value so that both read the same, or erase by another field.";
    throw runtimeErrors.error("not_an_entity", message, { place: "entity", fix });
  }
  return first?.texts ?? given;
}

function ownersOf({ contracts }: Project, names: readonly string[]) {
  return [...contracts].flatMap(([dataset, contract]) => {
    const fields = names.map((name) => fieldOf(contract, name));
    return fields.includes(undefined) ? [] : [{ dataset, fields: fields as Field[] }];
  });
}

function storedText(field: Field, text: string): string | undefined {
  const value = coercer(field)(text);
  return value === null || value instanceof Uint8Array || isReject(value) ? undefined : String(value);
}

/** Spellings of letters that JSON allows beside the letter itself and what `JSON.stringify` writes. */
const ESCAPES = /\\[u/]/;

/** Shorter ones are words that mean anything; a name of two ideographs is a name. */
const LETTERS_LEAST = 3;
const WIDE_LETTERS_LEAST = 2;

/**
 * Puts `[erased]` in the place of the entity's names, wherever they stand as words in the texts of a JSON document: keys and
 * numbers stay. Names are values of text fields with a letter in them; what the config itself is made of (sources,
 * datasets, views, models, the site) is no secret, and means something else there. Undefined where there are none.
 */
export function nameEraser(project: Project, given: Texts): ((json: string) => string) | undefined {
  const isText = (field: Field) => field.type === "string" || field.type === "enum";
  const { site, sources, datasets, views, models } = project.config;
  const ours = new Set([site, ...[sources, datasets, views, models].flatMap((part) => Object.keys(part))]);
  const names = Object.entries(given)
    .filter(([name]) => ownersOf(project, [name]).some(({ fields }) => fields.every(isText)))
    .map(([, value]) => value)
    .filter((value) => !ours.has(value) && isName(value));
  if (names.length === 0) return undefined;
  const escaped = names.map((name) => name.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  const pattern = new RegExp(`(?<![\\p{L}\\p{N}_-])(?:${escaped.join("|")})(?![\\p{L}\\p{N}_-])`, "gu");
  const erased = (text: string) => text.replace(pattern, "[erased]");
  const inside = (value: unknown): unknown => {
    if (typeof value === "string") return erased(value);
    if (Array.isArray(value)) return value.map(inside);
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, inside(item)]));
  };
  const spelled = [...new Set(names.flatMap((name) => [name, JSON.stringify(name).slice(1, -1)]))];
  const mayName = (json: string) => spelled.some((name) => json.includes(name)) || ESCAPES.test(json);
  return (json) => {
    if (!mayName(json)) return json;
    let document: unknown;
    try {
      document = parseExactJson(json);
    } catch {
      return erased(json);
    }
    const changed = exactJsonText(inside(document));
    return changed === exactJsonText(document) ? json : changed;
  };
}

function isName(value: string): boolean {
  const least = /[^\p{ASCII}]/u.test(value) ? WIDE_LETTERS_LEAST : LETTERS_LEAST;
  return [...value].length >= least && /\p{L}/u.test(value);
}
