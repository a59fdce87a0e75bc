import { MlpeError, type Problem } from "../base/errors.ts";
import type { Value } from "../base/row.ts";
import { check } from "./check.ts";
import { type ExpressionErrorName, expressionErrors } from "./errors.ts";
import type { Kind } from "./kinds.ts";
import { isProblem, type Parsed, parseExpression } from "./parse.ts";
import type { Slot } from "./program.ts";
import type { Context, Helper, Mark, SqlValue, Typed } from "./typed.ts";
import type { ExpressionSource, Scope } from "./types.ts";
import { zoneOffset } from "./zones.ts";

/** What the expressions of one program share while they are compiled. */
export interface Workshop {
  readonly scope: Scope;
  readonly problems: Problem[];
  readonly slots: Slot[];
  readonly helpers: Map<string, Helper>;
  readonly marks: Mark[];
  context(output: number, problem: Context["problem"]): Context;
}

export function openWorkshop(scope: Scope): Workshop {
  const problems: Problem[] = [];
  const slots: Slot[] = [];
  const helpers = new Map<string, Helper>();
  const marks: Mark[] = [];
  const zones = new Map<string, ReturnType<Context["offset"]>>();
  const places = new Map<string, number>();
  const place = (key: string, slot: Slot): string => {
    const at = places.get(key) ?? slots.push(slot) - 1;
    places.set(key, at);
    return `c${at}`;
  };
  const slot = (column: string | null, kind: Kind) => place(`column ${column ?? ""}`, { column, kind });
  const context: Workshop["context"] = (output, problem) => {
    const used = { asOf: false };
    return {
      scope,
      output,
      columns: new Set(),
      slot,
      used,
      asOfSlot: () => {
        used.asOf = true;
        return slot(null, "timestamp");
      },
      derivedSlot: (key, column, { from, to }, call) =>
        place(`derived ${key} of ${column}`, {
          column,
          kind: to,
          derive: { from, call: call as (value: Value) => SqlValue },
        }),
      helper: (key, big, make) => {
        const made = helpers.get(key) ?? { name: `helper_${helpers.size}`, call: make(), big };
        helpers.set(key, made);
        return made.name;
      },
      mark: (status, message) => {
        marks.push({ output, status, message });
      },
      problem,
      offset: (zone) => {
        const offset = zones.get(zone) ?? zoneOffset(zone);
        zones.set(zone, offset);
        return offset;
      },
    };
  };
  return { scope, problems, slots, helpers, marks, context };
}

/** Parses and types one expression; its problems go to the workshop. */
export function analyse(
  workshop: Workshop,
  source: ExpressionSource,
  output: number,
): { typed: Typed; context: Context; parsed: Parsed } | undefined {
  const parsed = parseExpression(source);
  if (isProblem(parsed)) {
    workshop.problems.push(parsed);
    return undefined;
  }
  const context = workshop.context(output, (name, message, span, fix) => {
    workshop.problems.push(parsed.problem(name, message, span, fix));
  });
  const typed = check(context, parsed);
  return typed && { typed, context, parsed };
}

export function throwProblems(problems: readonly Problem[]): void {
  const first = problems[0];
  if (first === undefined) return;
  const more = problems.length > 1 ? ` (and ${problems.length - 1} more)` : "";
  const name = first.code.slice("expression.".length) as ExpressionErrorName;
  const { place, fix } = first;
  const { code } = first;
  throw new MlpeError(code, expressionErrors.entries[name], first.message + more, { place, fix, problems });
}
