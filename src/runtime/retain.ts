import type { Config } from "../config/schema.ts";
import { RETENTION } from "../contract/streams.ts";
import type { RetentionOutcome } from "../store/retain.ts";
import type { RetentionPolicy } from "../store/retention_rules.ts";
import type { Engine } from "./engine.ts";
import type { Step } from "./loop.ts";

/** The config's retention as the store takes it; undefined where it asks for nothing. */
export function retentionPolicy({ retention }: Config): RetentionPolicy | undefined {
  const rules = Object.entries(retention.streams).map(([streams, { age, bytes }]) => ({ streams, age, bytes }));
  return rules.length === 0 ? undefined : { rules, hostBytes: retention.host.bytes };
}

/** One look at what is due. `told` hears what was dropped, and what a reader holds back. */
export function retainStep(
  { project, store }: Engine,
  policy: RetentionPolicy,
  told: (message: string, facts: object) => void,
): Step {
  return {
    name: "retain",
    reads: Object.keys(project.config.retention.streams),
    writes: [RETENTION],
    waitsBelow: "hard",
    async turn() {
      tell(await store.retain(policy), told);
      return "idle";
    },
  };
}

function tell({ dropped, held }: RetentionOutcome, told: (message: string, facts: object) => void): void {
  for (const { stream, rows, bytes, reason } of dropped)
    told("retention dropped rows", { stream, rows, bytes, reason });
  for (const { stream, bytes, reader, position } of held) {
    told("retention waits for a reader", { stream, bytes, reader, position });
  }
}
