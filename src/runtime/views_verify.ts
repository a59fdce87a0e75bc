import { fromBase64, toBase64 } from "../base/bytes.ts";
import { seededRandom } from "../base/random.ts";
import type { Row, Value } from "../base/row.ts";
import { createIndex } from "../fusion/index.ts";
import { fuseRequest } from "../fusion/request.ts";
import type { ViewPlan } from "../fusion/types.ts";
import type { Store } from "../store/port.ts";
import { foldTo, type LogCursor, type Verification, type VerifyRequest, verifyView } from "../views/verify.ts";
import type { Engine } from "./engine.ts";
import { runtimeErrors } from "./errors.ts";
import type { ProjectLocation } from "./project.ts";

export interface VerifyChoices {
  readonly rows: number;
  /** The same seed chooses the same rows. */
  readonly seed: number;
}

/** How long the fresh process may fold the log and answer. */
const CHILD_TIMEOUT_MS = 1_800_000;

/**
 * Computes a sample of the fused rows again in two ways: from the history of what was available at T, and as requests in
 * a fresh process of this program, which is handed spine rows and no feature. Rows go through its standard input, so no
 * value is written to a file.
 */
export function verifyElsewhere(
  engine: Engine,
  plan: ViewPlan,
  location: ProjectLocation,
  choices: VerifyChoices,
): Promise<Verification> {
  const { store, world } = engine;
  return verifyView({
    store,
    plan,
    random: seededRandom(choices.seed),
    rows: choices.rows,
    async request(requests) {
      const input = JSON.stringify(
        requests.map(({ spine, asOf, position }) => ({ spine: tagRow(spine), asOf, position })),
      );
      const args = ["views", "evaluate", plan.name, "--config", location.config, "--json"];
      if (location.data !== undefined) args.push("--data", location.data);
      for (const override of location.set ?? []) args.push("--set", override);
      const { code, output, errors } = await world.again(args, { input, timeoutMs: CHILD_TIMEOUT_MS });
      if (code !== 0)
        throw runtimeErrors.error(
          "process_failed",
          `the fresh process stopped with ${code}: ${errors.trim().slice(0, 500)}`,
        );
      return (JSON.parse(output) as { values: unknown[][] }).values.map((row) => row.map(untag));
    },
  });
}

/** Reads what `verifyElsewhere` sends. */
export function readRequests(text: string): VerifyRequest[] {
  const problem = (message: string) => runtimeErrors.error("bad_requests", message, { place: "standard input" });
  let given: unknown;
  try {
    given = JSON.parse(text);
  } catch (cause) {
    throw problem(`it is not JSON: ${(cause as Error).message}`);
  }
  if (!Array.isArray(given)) throw problem("it is no list");
  return given.map((one: unknown, i) => {
    const { spine, asOf, position } = (one ?? {}) as Record<string, unknown>;
    const whole = Number.isSafeInteger(asOf) && Number.isSafeInteger(position) && (position as number) >= 0;
    if (!whole || spine === null || typeof spine !== "object")
      throw problem(`number ${i + 1} is not { spine, asOf, position }`);
    const row = Object.fromEntries(Object.entries(spine).map(([name, value]) => [name, untag(value)]));
    return { spine: row, asOf: asOf as number, position: position as number };
  });
}

/** Answers each row by the request path, from an index of what was known at the row's position. */
export async function evaluateRequests(
  store: Store,
  plan: ViewPlan,
  requests: readonly VerifyRequest[],
): Promise<unknown[][]> {
  const index = createIndex([plan]);
  const log: LogCursor = { read: 0, rows: [] };
  const order = requests.map((_, i) => i).sort((a, b) => requests[a]!.position - requests[b]!.position);
  const answers: unknown[][] = new Array(requests.length);
  for (const at of order) {
    const { spine, asOf, position } = requests[at]!;
    await foldTo(store, index, log, position);
    answers[at] = fuseRequest(plan, index, [spine], asOf)[0]!.fused.values.map(tag);
  }
  return answers;
}

/** A value as JSON that comes back with the same bits: what JSON has no form for is spelled out. */
function tag(value: Value): unknown {
  if (typeof value === "bigint") return { long: value.toString() };
  if (value instanceof Uint8Array) return { bytes: toBase64(value) };
  if (typeof value !== "number" || (Number.isFinite(value) && !Object.is(value, -0))) return value;
  return { number: Object.is(value, -0) ? "-0" : String(value) };
}

const tagRow = (row: Row): Record<string, unknown> =>
  Object.fromEntries(Object.entries(row).map(([name, value]) => [name, tag(value)]));

function untag(value: unknown): Value {
  if (value === null || typeof value !== "object") return value as Value;
  const { long, bytes, number } = value as { long?: string; bytes?: string; number?: string };
  if (long !== undefined) return BigInt(long);
  return bytes === undefined ? Number(number) : fromBase64(bytes);
}
