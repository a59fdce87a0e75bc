import { Database, type Statement } from "bun:sqlite";
import type { Value } from "../base/row.ts";
import type { Micros } from "../base/time.ts";
import type { Direct } from "./direct.ts";
import { expressionErrors } from "./errors.ts";
import { type Kind, kindOfField, kindWord } from "./kinds.ts";
import type { Helper, Mark, SqlValue } from "./typed.ts";
import type { Evaluated, Failure, Output, Program } from "./types.ts";
import { accepts, decode, fits, type Storage, storageOf } from "./values.ts";

/** A value the SQL reads: a scope column, or T where the column is null. */
export interface Slot {
  readonly column: string | null;
  readonly kind: Kind;
  /** Where not the column itself is read, but what a pure function makes of it. */
  readonly derive?: { readonly from: Kind; readonly call: (value: Value) => SqlValue };
}

/** How T is called among the things an output reads. */
export const AS_OF = "as_of()";

/** An output and the SQL that computes it; no SQL where it is a column, or a derived slot, as it stands. */
export interface Planned {
  readonly output: Output;
  readonly run: string | null;
  /** The derived slot that the output is, where there is no SQL and it is no column. */
  readonly slot: number | null;
  readonly explain: string;
  readonly direct: Direct | undefined;
  readonly fallible: boolean;
  /** The columns it reads, and `AS_OF` where it reads T. */
  readonly reads: readonly string[];
}

export interface Plan {
  readonly outputs: readonly Planned[];
  /** Scope columns in the order `evaluate` takes them. */
  readonly inputs: readonly string[];
  readonly slots: readonly Slot[];
  readonly helpers: readonly Helper[];
  /** Filled by helpers while a row is computed; emptied between rows. */
  readonly marks: Mark[];
}

/** Some of the outputs and the statement that computes them. */
interface Query {
  readonly outputs: readonly number[];
  readonly statement: Statement | undefined;
}

/** Prepares the plan as one statement of an in-memory SQLite. Nothing is written anywhere. */
export function runProgram(plan: Plan): Program {
  const database = openDatabase(plan);
  const computed = plan.outputs.flatMap((planned, index) => (planned.run === null ? [] : [index]));
  const bound = boundSlots(plan);
  const source = bound.map((slot, index) => `${readSlot(plan.slots[slot]!.kind, index + 1)} AS c${slot}`).join(", ");
  const prepare = (columns: readonly string[]): Statement => {
    const from = source === "" ? "" : ` FROM (SELECT ${source})`;
    try {
      return database.prepare(`SELECT ${columns.join(", ")}${from}`);
    } catch (cause) {
      const message = "the expressions together are too large for SQLite";
      throw expressionErrors.error("too_large", `${message}: ${(cause as Error).message}`, { cause });
    }
  };
  const query = (outputs: readonly number[]): Query => {
    const columns = outputs.map((index) => plan.outputs[index]!.run!);
    return { outputs, statement: columns.length === 0 ? undefined : prepare(columns) };
  };
  const whole = query(computed);
  const rest = query(computed.filter((index) => plan.outputs[index]!.direct === undefined));
  const explaining = new Map<number, Statement>();
  const explainer = (index: number): Statement => {
    let found = explaining.get(index);
    if (found === undefined) {
      found = prepare([plan.outputs[index]!.explain]);
      explaining.set(index, found);
    }
    return found;
  };
  let closed = false;
  const evaluate = evaluator(plan, whole, rest, explainer);
  return {
    outputs: plan.outputs.map((planned) => planned.output),
    inputs: plan.inputs,
    evaluate: (values, asOf) => {
      if (closed) throw expressionErrors.error("closed", "the compiled expressions were closed");
      return evaluate(values, asOf);
    },
    close: () => {
      closed = true;
      whole.statement?.finalize();
      rest.statement?.finalize();
      for (const one of explaining.values()) one.finalize();
      database.close();
    },
  };
}

function openDatabase(plan: Plan): Database {
  const database = new Database(":memory:", { safeIntegers: true });
  database.run("PRAGMA temp_store = memory");
  for (const { name, call, big } of plan.helpers) {
    database.function(name, { safeIntegers: big }, call as (...values: unknown[]) => SqlValue);
  }
  return database;
}

/** The slots that SQL text mentions: the others are read in TypeScript only. */
function boundSlots(plan: Plan): number[] {
  const text = plan.outputs
    .map((planned) => (planned.run === null ? "" : `${planned.run} ${planned.explain}`))
    .join(" ");
  const mentioned = new Set([...text.matchAll(/\bc(\d+)\b/g)].map((match) => Number(match[1])));
  return plan.slots.flatMap((_, index) => (mentioned.has(index) ? [index] : []));
}

/** A bound value in its declared storage class: JavaScript's 5.0 would arrive as an integer. */
function readSlot(kind: Kind, parameter: number): string {
  if (kind === "double" || kind === "float") return `CAST(?${parameter} AS REAL)`;
  return kind === "string" || kind === "bytes" ? `?${parameter}` : `CAST(?${parameter} AS INTEGER)`;
}

type Evaluate = (values: readonly Value[], asOf: Micros | undefined) => Evaluated;

/** A slot with what is needed to fill it. */
interface Filler {
  readonly slot: Slot;
  /** Where its column is in the values; -1: T. */
  readonly at: number;
  readonly storage: Storage;
  readonly call: ((value: Value) => SqlValue) | undefined;
}

function fillers(plan: Plan): Filler[] {
  const places = new Map(plan.inputs.map((name, index) => [name, index]));
  return plan.slots.map((slot) => ({
    slot,
    at: slot.column === null ? -1 : places.get(slot.column)!,
    storage: storageOf(slot.derive?.from ?? slot.kind),
    call: slot.derive?.call,
  }));
}

/** Fills `bound`; the answer says which columns hold what they can't, by name. */
function bind(
  list: readonly Filler[],
  bound: SqlValue[],
  values: readonly Value[],
  asOf: Micros | undefined,
): Map<string, string> | undefined {
  let bad: Map<string, string> | undefined;
  for (let i = 0; i < list.length; i++) {
    const { at, storage, call, slot } = list[i]!;
    const value = at < 0 ? asOf : values[at];
    if (value === null) bound[i] = null;
    else if (value !== undefined && accepts(storage, value)) bound[i] = call === undefined ? value : call(value);
    else {
      bound[i] = null;
      bad ??= new Map();
      bad.set(slot.column ?? AS_OF, badInput(slot, value));
    }
  }
  return bad;
}

/**
 * Everyday values are computed directly; a row with any other is computed by SQLite as a whole. Outputs that only SQLite
 * can compute (`rest`) are always asked of it.
 */
function evaluator(plan: Plan, whole: Query, rest: Query, explainer: (index: number) => Statement): Evaluate {
  const list = fillers(plan);
  const filled: SqlValue[] = list.map(() => null);
  const copies = plan.outputs.map(({ output }) => (output.identity ? plan.inputs.indexOf(output.columns[0]!) : -1));
  const derived = plan.outputs.flatMap(({ slot }, index) => (slot === null ? [] : [{ slot, index }]));
  const direct = directly(plan, whole);
  const ask = asker(plan, filled, explainer);
  return (values, asOf) => {
    const results: Value[] = new Array(copies.length);
    for (let i = 0; i < copies.length; i++) results[i] = copies[i]! < 0 ? null : (values[copies[i]!] ?? null);
    if (list.length === 0 && whole.statement === undefined) return { values: results, failures: NO_FAILURES };
    const bad = bind(list, filled, values, asOf);
    if (bad === undefined && direct(filled, results)) {
      for (let i = 0; i < derived.length; i++) results[derived[i]!.index] = filled[derived[i]!.slot]!;
      if (rest.statement === undefined) return { values: results, failures: NO_FAILURES };
      const failures: Failure[] = [];
      ask(rest, undefined, results, failures);
      return { values: results, failures };
    }
    const failures: Failure[] = [];
    for (const { slot, index } of derived) {
      const failure = bad === undefined ? undefined : badResult(plan.outputs[index]!, index, bad);
      if (failure === undefined) results[index] = filled[slot]!;
      else failures.push(failure);
    }
    ask(whole, bad, results, failures);
    return { values: results, failures };
  };
}

const NO_FAILURES: readonly Failure[] = [];

/** Writes what can be computed directly into the results; false where a value is not an everyday one. */
function directly(plan: Plan, { outputs }: Query): (filled: readonly SqlValue[], results: Value[]) => boolean {
  const steps = outputs.flatMap((index) => {
    const { direct, output } = plan.outputs[index]!;
    return direct === undefined ? [] : [{ index, direct, storage: storageOf(output.type) }];
  });
  return (filled, results) => {
    for (let i = 0; i < steps.length; i++) {
      const { index, direct, storage } = steps[i]!;
      const value = direct(filled);
      if (value !== null && (value === undefined || !fits(storage, value))) return false;
      results[index] = value;
    }
    return true;
  };
}

type Ask = (query: Query, bad: ReadonlyMap<string, string> | undefined, results: Value[], failures: Failure[]) => void;

/** Runs a statement over the filled slots and takes over what it gives, each value checked against its type. */
function asker(plan: Plan, filled: readonly SqlValue[], explainer: (index: number) => Statement): Ask {
  const { marks } = plan;
  const sent = boundSlots(plan);
  const bound: SqlValue[] = sent.map(() => null);
  const storages = plan.outputs.map((planned) => storageOf(planned.output.type));
  return ({ outputs, statement }, bad, results, failures) => {
    if (statement === undefined) return;
    for (let i = 0; i < sent.length; i++) bound[i] = filled[sent[i]!]!;
    marks.length = 0;
    const row = statement.values(...(bound as never[]))[0]! as SqlValue[];
    const clean = bad === undefined && marks.length === 0;
    const state: Circumstances = { bad, marked: clean ? [] : [...marks], bound, explainer };
    for (let i = 0; i < outputs.length; i++) {
      const index = outputs[i]!;
      const raw = row[i]!;
      const value = raw === null ? null : decode(storages[index]!, raw);
      const failure =
        clean && (raw === null ? !plan.outputs[index]!.fallible : value !== undefined)
          ? undefined
          : judge(plan, index, raw, value, state);
      results[index] = failure === undefined ? value! : null;
      if (failure !== undefined) failures.push(failure);
    }
  };
}

interface Circumstances {
  readonly bad: ReadonlyMap<string, string> | undefined;
  readonly marked: readonly Mark[];
  readonly bound: readonly SqlValue[];
  readonly explainer: (index: number) => Statement;
}

/** Why an output has no value, if it is for another reason than a null input. */
function judge(
  plan: Plan,
  index: number,
  raw: SqlValue,
  value: Value | undefined,
  state: Circumstances,
): Failure | undefined {
  const { output, fallible } = plan.outputs[index]!;
  const { bad, marked, bound, explainer } = state;
  const badRead = bad === undefined ? undefined : badResult(plan.outputs[index]!, index, bad);
  if (badRead !== undefined) return badRead;
  const own = marked.filter((mark) => mark.output === index);
  const overflow = own.find((mark) => mark.status === "overflow");
  if (overflow !== undefined) return overflow;
  if (raw === null) {
    if (own.length > 0 || !fallible) return own[0];
    plan.marks.length = 0;
    explainer(index).values(...(bound as never[]));
    return plan.marks.find((mark) => mark.output === index);
  }
  if (value !== undefined) return undefined;
  const message = `the result ${String(raw).slice(0, 40)} is not ${kindWord(kindOfField(output.type))}`;
  const number = typeof raw === "number" || typeof raw === "bigint";
  return { output: index, status: number && output.type !== "boolean" ? "overflow" : "wrong_type", message };
}

/** The failure of an output that reads a column which holds what it can't. */
function badResult(planned: Planned, index: number, bad: ReadonlyMap<string, string>): Failure | undefined {
  const column = planned.reads.find((name) => bad.has(name));
  return column === undefined ? undefined : { output: index, status: "wrong_type", message: bad.get(column)! };
}

function badInput(slot: Slot, value: Value | undefined): string {
  if (slot.column === null) return "as_of() has no value: the row is evaluated for no instant";
  if (value === undefined) return `column ${slot.column} has no value`;
  const word = kindWord(slot.derive?.from ?? slot.kind);
  return `column ${slot.column} holds ${String(value).slice(0, 40)}, which is not ${word}`;
}
