import fc from "fast-check";
import type { Row } from "../../../src/base/row.ts";
import { batchOf } from "../../../src/contract/batch.ts";
import { streamContract } from "../../../src/contract/contract.ts";
import type { Append, CommitRequest } from "../../../src/store/port.ts";
import type { RetentionOutcome } from "../../../src/store/retain.ts";
import type { RetentionPolicy } from "../../../src/store/retention_rules.ts";
import { streams } from "../../support/rows.ts";
import type { Draw } from "../draw.ts";
import type { Made } from "./history.ts";

export const CURSORS = ["s", "t"] as const;
export const READERS = ["r", "q"] as const;

/** The same fields and one more: a later version of the contract in the same stream. */
const laterContract = streamContract({
  name: "timed",
  fields: {
    ...{ id: "string", place: "string?", gate: "int?", at: "timestamp", seen_at: "timestamp?", amount: "double?" },
    ...{ ratio: "float?", count: "long?", open: "boolean?", day: "date?", note: "string?", payload: "bytes?" },
    more: "string?",
  },
  entity: ["place", "gate"],
  eventTime: "at",
  availableTime: "seen_at",
  recordId: ["id"],
});

/** Rows in stock for each stream, drawn from the generators that the tests of the store share. */
const STOCK = 200;

/** Random commits. Entities, record ids and times collide: most rows correct, withdraw or follow others. */
export function requestsFrom(seed: number, draw: Draw): () => CommitRequest {
  const stock = new Map(
    Object.entries(streams).map(([name, { row }]) => [
      name,
      fc.sample(row as fc.Arbitrary<Row>, { seed, numRuns: STOCK }),
    ]),
  );
  const appendTo = (stream: string, later: boolean): Append => {
    const count = draw.chance(0.1) ? draw.integer(20, 120) : draw.integer(0, 6);
    const rows = Array.from({ length: count }, () => draw.pick(stock.get(stream)!));
    const contract = stream === "curated/timed" && later ? laterContract : streams[stream]!.contract;
    const batch = batchOf(contract, contract === laterContract ? rows.map((row) => ({ ...row, more: "m" })) : rows);
    if (draw.chance(0.6)) return { stream, batch };
    return { stream, batch, tombstones: Uint8Array.from({ length: count }, () => draw.integer(0, 1)) };
  };
  let made = 0;
  return () => {
    made++;
    const names = Object.keys(streams).filter(() => draw.chance(0.5));
    if (draw.chance(0.1)) names.push(draw.pick(Object.keys(streams))); // perhaps twice
    return {
      appends: names.map((stream) => appendTo(stream, draw.chance(made / 200))),
      ...(draw.chance(0.5) ? { cursors: { [draw.pick(CURSORS)]: `at ${made}` } } : {}),
      ...(draw.chance(0.5) ? { readers: { [draw.pick(READERS)]: made } } : {}),
      priority: draw.chance(0.3) ? "score" : "pipeline",
      durability: draw.chance(0.2) ? "process" : "power-loss",
    };
  };
}

/** An entity that many rows have. */
export const entityFrom = (draw: Draw): Readonly<Record<string, string>> =>
  draw.chance(0.5)
    ? { code: draw.pick(["A", "B", "C"]) }
    : { place: draw.pick(["JFK", "LGA"]), gate: draw.pick(["1", "2"]) };

/** What is to be kept of some streams: so little that something goes, where there is anything in segments. */
export function policyFrom(draw: Draw): RetentionPolicy {
  const streams = draw.pick(["curated/*", "landing/plain", "*", "curated/fixed"]);
  return {
    rules: [draw.chance(0.5) ? { streams, bytes: draw.integer(0, 8_000) } : { streams, age: draw.integer(0, 60_000) }],
  };
}

/** The commit that records what was dropped, for the model. */
export function droppedBy({ commitNo, dropped }: RetentionOutcome, knownTime: number): Made | undefined {
  if (commitNo === undefined) return undefined;
  const first = Object.fromEntries(dropped.map(({ stream, firstSequence }) => [stream, firstSequence]));
  return { request: { appends: [] }, receipt: { commitNo, knownTime, firstSequence: {} }, dropped: first };
}
