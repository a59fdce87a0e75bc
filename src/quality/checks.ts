import { canonicalJson } from "../base/digest.ts";
import type { Problem } from "../base/errors.ts";
import { nearest } from "../base/nearest.ts";
import type { Row } from "../base/row.ts";
import type { Micros } from "../base/time.ts";
import type { CheckConfig } from "../config/schema.ts";
import type { Contract } from "../contract/contract.ts";
import { ArgumentFault } from "./arguments.ts";
import { type Condition, conditionOf } from "./condition.ts";
import { qualityErrors } from "./errors.ts";
import { EXPECTATIONS } from "./registry.ts";
import { type CheckResult, type Evaluate, mapResult, showValue } from "./result.ts";

export interface PlannedCheck {
  /** `expect_column_values_to_not_be_null.tailnum`, or the check's own `name`. */
  readonly name: string;
  /** The expectation, or `sql`. */
  readonly expectation: string;
  readonly column: string | undefined;
  readonly severity: "warn" | "block";
  readonly run: Evaluate;
}

export interface CheckPlan {
  readonly dataset: string;
  readonly checks: readonly PlannedCheck[];
  /** Frees the compiled conditions. */
  close(): void;
}

/** What planning one check needs. */
interface Planning {
  readonly contract: Contract;
  readonly problems: Problem[];
  readonly conditions: Condition[];
}

/** The facts that a lineage event's assertions facet is made of. */
export interface AssertionFact {
  readonly assertion: string;
  readonly success: boolean;
  readonly column?: string;
  readonly severity: string;
  readonly failures?: number;
}

export interface CheckRun {
  /** Rows for verdictContract: kind `check`; outcome `pass`, `warn` or `fail` (a failed `block` check). */
  readonly verdictRows: readonly Row[];
  /** The first failed check of severity `block`, in words; undefined where the rows may go on. */
  readonly blocked: string | undefined;
  readonly assertions: readonly AssertionFact[];
}

/** Things that suites carry for people and tools; they change no verdict. */
const NOTES: ReadonlySet<string> = new Set([
  "meta",
  "notes",
  "result_format",
  "catch_exceptions",
  "include_config",
  "condition_parser",
  "description",
  "id",
]);

/**
 * The checks of a dataset, with every argument validated against the contract. A check is `{ expect_...: { arguments },
 * severity }`, `{ sql: <boolean expression>, severity, mostly }`, or an entry of a Great Expectations suite (`{ type or
 * expectation_type, kwargs }`). `row_condition` is a SQL condition: other rows are left out. Throws one MlpeError that
 * lists every problem.
 */
export function planChecks(dataset: string, configs: readonly CheckConfig[], contract: Contract): CheckPlan {
  const problems: Problem[] = [];
  const checks: PlannedCheck[] = [];
  const conditions: Condition[] = [];
  configs.forEach((config, index) => {
    const planned = planCheck(config, `checks.${dataset}[${index}]`, { contract, problems, conditions });
    if (planned) checks.push(planned);
  });
  if (problems.length > 0) {
    const [first] = problems as [Problem];
    const name = first.code.slice(qualityErrors.prefix.length + 1) as keyof typeof qualityErrors.entries;
    throw qualityErrors.error(name, first.message, { place: first.place, fix: first.fix, problems });
  }
  const close = () => {
    for (const condition of conditions) condition.close();
  };
  return { dataset, checks, close };
}

/** Runs every check on the rows of one batch. Nothing is thrown for bad data: that is what verdicts are for. */
export function runChecks(plan: CheckPlan, rows: readonly Row[], at: Micros): CheckRun {
  const verdictRows: Row[] = [];
  const assertions: AssertionFact[] = [];
  let blocked: string | undefined;
  for (const check of plan.checks) {
    const result = check.run(rows);
    const outcome = result.success ? "pass" : check.severity === "block" ? "fail" : "warn";
    verdictRows.push({
      kind: "check",
      subject: plan.dataset,
      name: check.name,
      outcome,
      severity: check.severity,
      value: verdictValue(result),
      detail: canonicalJson(result),
      at,
    });
    assertions.push({
      assertion: check.expectation,
      success: result.success,
      severity: check.severity,
      ...(check.column === undefined ? {} : { column: check.column }),
      ...(result.unexpected_count === undefined ? {} : { failures: result.unexpected_count }),
    });
    if (outcome === "fail") blocked ??= `${plan.dataset}: ${check.name} failed (${describe(result)})`;
  }
  return { verdictRows, blocked, assertions };
}

function verdictValue(result: CheckResult): number | null {
  if (typeof result.observed_value === "number") return result.observed_value;
  return result.unexpected_percent ?? null;
}

function describe(result: CheckResult): string {
  if (result.unexpected_count !== undefined) {
    return `${result.unexpected_count} of ${result.element_count} rows are unexpected`;
  }
  return `observed ${canonicalJson(result.observed_value ?? null)}`;
}

interface Shape {
  readonly kind: string;
  readonly args: Record<string, unknown>;
  readonly severity: "warn" | "block";
  readonly label: string | undefined;
}

function planCheck(config: CheckConfig, at: string, planning: Planning): PlannedCheck | undefined {
  const { contract, problems } = planning;
  const shape = shapeOf(config, at, problems);
  if (!shape) return undefined;
  try {
    return shape.kind === "sql" ? sqlCheck(shape, at, planning) : expectationCheck(shape, at, planning);
  } catch (fault) {
    if (!(fault instanceof ArgumentFault)) throw fault;
    const place = `${at}.${shape.kind}`;
    if (fault.unknownColumn === undefined) {
      problems.push(qualityErrors.problem("bad_argument", fault.message, { place }));
    } else {
      const near = nearest(
        fault.unknownColumn,
        contract.fields.map((field) => field.name),
      );
      const fix = near === undefined ? undefined : `Did you mean "${near}"?`;
      problems.push(qualityErrors.problem("unknown_column", fault.message, { place, fix }));
    }
    return undefined;
  }
}

/** Which of the accepted forms the check has. */
function shapeOf(config: CheckConfig, at: string, problems: Problem[]): Shape | undefined {
  const { severity = "warn", name, ...rest } = config as Record<string, unknown> & CheckConfig;
  const label = typeof name === "string" ? name : undefined;
  const type = rest.expectation_type ?? rest.type;
  if (typeof type === "string") {
    const kwargs = (rest.kwargs ?? {}) as Record<string, unknown>;
    return known({ kind: type, args: kwargs, severity, label }, at, problems);
  }
  if (typeof rest.sql === "string") return { kind: "sql", args: rest, severity, label };
  const kinds = Object.keys(rest).filter((key) => !NOTES.has(key));
  if (kinds.length !== 1) {
    const found = kinds.length === 0 ? "no expectation" : `${kinds.join(", ")} together`;
    problems.push(qualityErrors.problem("bad_check", `the check names ${found}`, { place: at }));
    return undefined;
  }
  const kind = kinds[0]!;
  const args = rest[kind] ?? {};
  if (typeof args !== "object" || Array.isArray(args)) {
    problems.push(qualityErrors.problem("bad_check", `"${kind}" is not followed by { arguments }`, { place: at }));
    return undefined;
  }
  return known({ kind, args: args as Record<string, unknown>, severity, label }, at, problems);
}

function known(shape: Shape, at: string, problems: Problem[]): Shape | undefined {
  if (Object.hasOwn(EXPECTATIONS, shape.kind)) return shape;
  const near = nearest(shape.kind, Object.keys(EXPECTATIONS));
  const fix = near === undefined ? undefined : `Did you mean ${near}?`;
  const message = `there is no expectation "${shape.kind}"`;
  problems.push(qualityErrors.problem("unknown_expectation", message, { place: `${at}.${shape.kind}`, fix }));
  return undefined;
}

function expectationCheck(shape: Shape, at: string, planning: Planning): PlannedCheck {
  const entry = EXPECTATIONS[shape.kind]!;
  const { row_condition: condition, ...given } = shape.args;
  const args = Object.fromEntries(Object.entries(given).filter(([key]) => !NOTES.has(key)));
  const parsed = entry.args.safeParse(args);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    const key = issue.code === "unrecognized_keys" ? issue.keys[0] : undefined;
    const near = key === undefined ? undefined : nearest(key, Object.keys(entry.args.shape));
    const hint = near === undefined ? "" : `; did you mean "${near}"?`;
    throw new ArgumentFault(`${issue.path.length > 0 ? `${issue.path.join(".")}: ` : ""}${issue.message}${hint}`);
  }
  const run = entry.plan(parsed.data, planning.contract);
  const column = typeof args.column === "string" ? args.column : undefined;
  return {
    name: shape.label ?? (column === undefined ? shape.kind : `${shape.kind}.${column}`),
    expectation: shape.kind,
    column,
    severity: shape.severity,
    run:
      condition === undefined || condition === null ? run : filtered(run, condition, planning, `${at}.row_condition`),
  };
}

function filtered(run: Evaluate, condition: unknown, planning: Planning, place: string): Evaluate {
  if (typeof condition !== "string") throw new ArgumentFault("row_condition is not a SQL expression");
  const { holds } = opened(condition, planning, place);
  return (rows) => run(rows.filter((row) => holds(row) === true));
}

function opened(sql: string, { contract, conditions }: Planning, place: string): Condition {
  const condition = conditionOf(sql, contract, place);
  conditions.push(condition);
  return condition;
}

function sqlCheck(shape: Shape, at: string, planning: Planning): PlannedCheck {
  const { sql, mostly = 1, row_condition: condition } = shape.args;
  for (const key of Object.keys(shape.args)) {
    if (!["sql", "mostly", "row_condition"].includes(key) && !NOTES.has(key)) {
      throw new ArgumentFault(`"${key}" is no argument of a SQL check`);
    }
  }
  if (typeof mostly !== "number" || mostly < 0 || mostly > 1) throw new ArgumentFault("mostly is not between 0 and 1");
  const { holds } = opened(sql as string, planning, `${at}.sql`);
  const run: Evaluate = (rows) => {
    // As for a CHECK constraint, null is no failure: it is counted as missing.
    const show = (index: number) => showRow(rows[index]!);
    return mapResult(rows.length, (index) => holds(rows[index]!), show, mostly);
  };
  return {
    name: shape.label ?? `sql: ${sql}`,
    expectation: "sql",
    column: undefined,
    severity: shape.severity,
    run: condition === undefined ? run : filtered(run, condition, planning, `${at}.row_condition`),
  };
}

const showRow = (row: Row) => Object.fromEntries(Object.entries(row).map(([name, value]) => [name, showValue(value)]));
