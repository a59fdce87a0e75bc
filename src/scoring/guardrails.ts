import type { Row, Value } from "../base/row.ts";
import type { Micros } from "../base/time.ts";
import type { FeatureField } from "../contract/streams.ts";
import { compile } from "../expression/compile.ts";
import type { ExpressionSource, Program, ScopeColumn } from "../expression/types.ts";

/** As in the config: name -> condition over the features and `score`, and what follows when it is true. */
export type GuardrailConfig = Readonly<Record<string, { readonly when: string; readonly then: "flag" | "block" }>>;

export interface Guardrails {
  readonly names: readonly string[];
  readonly actions: readonly ("flag" | "block")[];
  /** One output a guardrail, in order; null where there are no guardrails. */
  readonly program: Program | null;
}

export interface Judged {
  /** Names of the guardrails that hold, and `<name>: undefined` of those that can't be computed. */
  readonly flags: readonly string[];
  readonly blocked: boolean;
}

export const NO_GUARDRAILS: Guardrails = { names: [], actions: [], program: null };

/** A model's guardrails, their conditions compiled together. Throws what the expression room says of a condition. */
export function planGuardrails(model: string, config: GuardrailConfig, features: readonly FeatureField[]): Guardrails {
  const names = Object.keys(config);
  if (names.length === 0) return NO_GUARDRAILS;
  const columns = new Map<string, ScopeColumn>();
  for (const { name, type } of features) columns.set(name, { type, nullable: true });
  columns.set("score", { type: "double", nullable: false });
  const sources = names.map((name): ExpressionSource => {
    const place = `models.${model}.guardrails.${name}.when`;
    return { name, sql: config[name]!.when, place, expect: "boolean" };
  });
  return { names, actions: names.map((name) => config[name]!.then), program: compile(sources, { columns }) };
}

/** Ids of scores that a verdict lists; further ones are counted. */
const IDS_SHOWN_MAX = 10;

/** One verdict for each guardrail that flagged or blocked among the score rows of one commit. */
export function guardrailVerdicts(guardrails: Guardrails, model: string, rows: readonly Row[], at: Micros): Row[] {
  const held = new Map<string, string[]>();
  for (const row of rows) {
    if (row.flags === "[]") continue;
    for (const flag of JSON.parse(row.flags as string) as string[]) {
      const name = guardrails.names.find((known) => flag === known || flag.startsWith(`${known}: `));
      if (name !== undefined) held.set(name, [...(held.get(name) ?? []), row.score_id as string]);
    }
  }
  return [...held].map(([name, scores]) => {
    const outcome = guardrails.actions[guardrails.names.indexOf(name)]!;
    const severity = outcome === "block" ? "block" : "warn";
    const detail = JSON.stringify({ scores: scores.slice(0, IDS_SHOWN_MAX) });
    return { kind: "guardrail", subject: model, name, outcome, severity, value: scores.length, detail, at };
  });
}

/**
 * Which guardrails hold for a row and its score. Null is not true. A guardrail that can't be computed (1/0, overflow)
 * flags, or blocks if that is its action: what guards must not fail open.
 */
export function judge(guardrails: Guardrails, features: Row, score: number): Judged {
  const { names, actions, program } = guardrails;
  if (program === null) return { flags: [], blocked: false };
  const values: Value[] = program.inputs.map((name) => (name === "score" ? score : (features[name] ?? null)));
  const { values: results, failures } = program.evaluate(values);
  const failed = new Map(failures.map(({ output, status }) => [output, status]));
  const flags: string[] = [];
  let blocked = false;
  names.forEach((name, i) => {
    const status = failed.get(i);
    if (results[i] !== true && status === undefined) return;
    flags.push(status === undefined ? name : `${name}: ${status}`);
    blocked ||= actions[i] === "block";
  });
  return { flags, blocked };
}
