import { MlpeError, type Problem } from "../base/errors.ts";
import type { DatasetConfig, ViewConfig } from "../config/schema.ts";
import { type Contract, type FieldType, fieldOf } from "../contract/contract.ts";
import { compile, compileAggregate, typeOf } from "../expression/compile.ts";
import type { AggregateSource, ExpressionSource, Output, Program, Scope, ScopeColumn } from "../expression/types.ts";
import { fusionErrors } from "./errors.ts";
import type { TableNeeds } from "./table.ts";

export interface DatasetPlan {
  readonly contract: Contract;
  readonly config: DatasetConfig;
}

/** A view while it is being compiled: what its tables must hold, and everything wrong with it so far. */
export interface Draft {
  readonly view: string;
  readonly config: ViewConfig;
  readonly datasets: ReadonlyMap<string, DatasetPlan>;
  readonly problems: Problem[];
  readonly needs: Map<string, DraftNeeds>;
}

interface DraftNeeds {
  readonly dataset: DatasetPlan;
  readonly fields: Set<string>;
  /** Column id -> the expression that makes it. */
  readonly derived: Map<string, ExpressionSource>;
}

type ProblemName = keyof typeof fusionErrors.entries;

export function report(draft: Draft, name: ProblemName, place: string, message: string, fix?: string): void {
  draft.problems.push(fusionErrors.problem(name, message, fix === undefined ? { place } : { place, fix }));
}

/** The dataset of that name as something the view reads; undefined, and reported, when there is none. */
export function readDataset(draft: Draft, name: string, place: string): DatasetPlan | undefined {
  const dataset = draft.datasets.get(name);
  if (!dataset) {
    report(draft, "unknown_dataset", place, `there is no dataset "${name}"`);
    return undefined;
  }
  if (!draft.needs.has(name)) draft.needs.set(name, { dataset, fields: new Set(), derived: new Map() });
  return dataset;
}

/** Makes the table hold a field. */
export function needField(draft: Draft, dataset: string, field: string): void {
  draft.needs.get(dataset)?.fields.add(field);
}

/** The scope of expressions over one row of a dataset. */
export function rowScope(contract: Contract): Scope {
  return {
    columns: new Map(
      contract.fields.map(({ name, type, nullable }): [string, ScopeColumn] => [name, { type, nullable }]),
    ),
  };
}

/** An expression over a dataset's row as a column of its table: the field itself, or one computed when the row comes. */
export function rowColumn(
  draft: Draft,
  dataset: string,
  source: ExpressionSource,
): { readonly id: string; readonly output: Output } | undefined {
  const needs = draft.needs.get(dataset);
  if (!needs) return undefined;
  const output = outputOf(draft, source, rowScope(needs.dataset.contract));
  if (!output) return undefined;
  for (const column of output.columns) needs.fields.add(column);
  if (output.identity) return { id: output.columns[0]!, output };
  const id = `=${output.canonical}`;
  needs.derived.set(id, source);
  return { id, output };
}

function outputOf(draft: Draft, source: ExpressionSource, scope: Scope): Output | undefined {
  return collecting(draft, () => typeOf(source, scope));
}

/** The program, or undefined with its problems reported. */
export function compiled(draft: Draft, sources: readonly ExpressionSource[], scope: Scope): Program | undefined {
  return collecting(draft, () => compile(sources, scope));
}

export function aggregateOf(draft: Draft, source: ExpressionSource, scope: Scope): AggregateSource | undefined {
  return collecting(draft, () => compileAggregate(source.name, source.sql, source.place, scope));
}

function collecting<T>(draft: Draft, work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof MlpeError)) throw error;
    draft.problems.push(...error.problems);
    return undefined;
  }
}

/** What each table must hold, once everything was asked for. */
export function finishNeeds(draft: Draft): Map<string, TableNeeds> {
  const result = new Map<string, TableNeeds>();
  for (const [name, needs] of draft.needs) {
    const available = availableColumn(draft, name, needs);
    const { contract, config } = needs.dataset;
    const sources = [...needs.derived.values()];
    const program = sources.length === 0 ? undefined : compiled(draft, sources, rowScope(contract));
    result.set(name, {
      dataset: name,
      contract,
      isStatic: config.static,
      fields: contract.fields.map((field) => field.name).filter((field) => needs.fields.has(field)),
      available,
      derived: program ? { program, ids: [...needs.derived.keys()] } : undefined,
    });
  }
  return result;
}

function availableColumn(draft: Draft, name: string, needs: DraftNeeds): string | undefined {
  const { contract, config } = needs.dataset;
  if (config.static) return undefined;
  if (config.available !== undefined) {
    const place = `datasets.${name}.available`;
    return rowColumn(draft, name, { name: "available", sql: config.available, place, expect: "timestamp" })?.id;
  }
  if (contract.availableTime !== undefined) needs.fields.add(contract.availableTime);
  return contract.availableTime;
}

const FAMILIES: Readonly<Record<FieldType, string>> = {
  boolean: "boolean",
  int: "whole",
  long: "whole",
  float: "real",
  double: "real",
  string: "text",
  enum: "text",
  bytes: "bytes",
  timestamp: "timestamp",
  date: "date",
};

/** Pairs (spine column, their column) of a `by`, checked; undefined, and reported, when a pair can't be equal. */
export function keyPairs(
  draft: Draft,
  by: ViewConfig["joins"][string]["by"],
  theirs: Contract,
  spine: Contract,
  place: string,
): (readonly [string, string])[] {
  const pairs = Array.isArray(by) ? by.map((name): [string, string] => [name, name]) : Object.entries(by);
  return pairs.filter(([mine, their]) => {
    const left = fieldOf(spine, mine);
    const right = fieldOf(theirs, their);
    if (!left) report(draft, "unknown_column", place, `${spine.name} has no field "${mine}"`);
    if (!right) report(draft, "unknown_column", place, `${theirs.name} has no field "${their}"`);
    if (left && right && FAMILIES[left.type] !== FAMILIES[right.type]) {
      report(draft, "key_mismatch", place, `"${mine}" is a ${left.type} and "${their}" a ${right.type}`);
      return false;
    }
    return left !== undefined && right !== undefined;
  });
}
