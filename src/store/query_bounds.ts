import type { Value } from "../base/row.ts";
import { type Micros, parseDay, parseInstant } from "../base/time.ts";
import { type Contract, fieldOf } from "../contract/contract.ts";
import type { ScanOptions } from "./port.ts";
import type { Condition, ParsedQuery } from "./query_parse.ts";

/** The name under which a table's event time can be had, whatever its contract calls it. */
export const EVENT_TIME = "event_time";

type Bounds = Pick<ScanOptions, "from" | "to" | "entity">;

/**
 * What of a table need not be read, because no row of it could be in the answer: everything outside the event times, and of
 * another entity, that its conditions name wherever the query reads it. Nothing is pruned where the stored rows have
 * contracts that disagree on time, entity or identity, because the latest version of a record could then lie elsewhere.
 */
export function boundsOf(query: ParsedQuery, table: string, contracts: readonly Contract[], versions: boolean): Bounds {
  const [contract] = contracts;
  if (contract === undefined || contracts.some((other) => !agree(contract, other, versions))) return {};
  const uses = query.references.filter((reference) => reference.table.toLowerCase() === table.toLowerCase());
  const [first, ...others] = uses.map(({ conditions }) => boundsOfUse(conditions, contract));
  return others.reduce<Bounds>(either, first ?? {});
}

function agree(a: Contract, b: Contract, versions: boolean): boolean {
  const types = (contract: Contract) => contract.entity.map((name) => fieldOf(contract, name)!.type);
  const places = (contract: Contract) => [contract.eventTime, contract.entity, types(contract)];
  // A record of another generation is not withdrawn at its place before a newer one comes at another.
  const identity = (contract: Contract) => (versions ? [] : [contract.recordId, contract.generation]);
  return JSON.stringify([places(a), identity(a)]) === JSON.stringify([places(b), identity(b)]);
}

/** What either of two uses of a table needs. */
function either(a: Bounds, b: Bounds): Bounds {
  const from = a.from === undefined || b.from === undefined ? undefined : Math.min(a.from, b.from);
  const to = a.to === undefined || b.to === undefined ? undefined : Math.max(a.to, b.to);
  const same = a.entity !== undefined && JSON.stringify(a.entity) === JSON.stringify(b.entity);
  return bounds(from, to, same ? a.entity : undefined);
}

const bounds = (from: Micros | undefined, to: Micros | undefined, entity: readonly Value[] | undefined): Bounds => ({
  ...(from === undefined ? {} : { from }),
  ...(to === undefined ? {} : { to }),
  ...(entity === undefined ? {} : { entity }),
});

function boundsOfUse(conditions: readonly Condition[], contract: Contract): Bounds {
  let from: Micros | undefined;
  let to: Micros | undefined;
  for (const condition of conditions) {
    const micros = isEventTime(contract, condition.column) ? instantOf(condition.literal) : undefined;
    if (micros === undefined) continue;
    const { operator } = condition;
    if (operator === ">" || operator === ">=" || operator === "=") {
      from = Math.max(from ?? Number.NEGATIVE_INFINITY, operator === ">" ? micros + 1 : micros);
    }
    if (operator === "<" || operator === "<=" || operator === "=") {
      to = Math.min(to ?? Number.POSITIVE_INFINITY, operator === "<" ? micros - 1 : micros);
    }
  }
  return bounds(from, to, entityOf(conditions, contract));
}

const instantOf = (literal: string | number) => (typeof literal === "string" ? parseInstant(literal, true) : undefined);

function isEventTime(contract: Contract, column: string): boolean {
  const { eventTime } = contract;
  if (eventTime === undefined) return false;
  return column === eventTime.toLowerCase() || (column === EVENT_TIME && !hasOwnEventTime(contract));
}

/** Whether a field has the name that the event time would get beside its own. */
export const hasOwnEventTime = ({ fields }: Contract): boolean =>
  fields.some(({ name }) => name.toLowerCase() === EVENT_TIME);

/** The entity, if each of its fields is said to equal one value. */
function entityOf(conditions: readonly Condition[], contract: Contract): readonly Value[] | undefined {
  if (contract.entity.length === 0) return undefined;
  const values: Value[] = [];
  for (const name of contract.entity) {
    const { type } = fieldOf(contract, name)!;
    const found = conditions
      .filter(({ column, operator }) => operator === "=" && column === name.toLowerCase())
      .map(({ literal }) => storedValue(literal, type))
      .find((value) => value !== undefined);
    if (found === undefined) return undefined;
    values.push(found);
  }
  return values;
}

/** The stored value that SQLite finds equal to the literal; undefined where that is not plain. */
function storedValue(literal: string | number, type: string): Value | undefined {
  if (typeof literal === "string") {
    if (type === "date") return parseDay(literal);
    return type === "string" || type === "enum" ? literal : undefined;
  }
  return (type === "int" || type === "long") && Number.isSafeInteger(literal) ? literal : undefined;
}
