import { curatedStream, featuresStream, LINEAGE, RETENTION } from "../contract/streams.ts";
import { labelReader } from "../feedback/labels.ts";
import { fuseReader } from "../fusion/step.ts";
import { POST_READER } from "../lineage/post.ts";
import { scoreReaderOf } from "../scoring/job.ts";
import type { RetentionOutcome } from "../store/retain.ts";
import type { RetentionPolicy } from "../store/retention_rules.ts";
import type { Engine } from "./engine.ts";
import type { Step } from "./loop.ts";
import { type Project, viewOfModel } from "./project.ts";

/** The config's retention as the store takes it; undefined where it asks for nothing. */
export function retentionPolicy(project: Project): RetentionPolicy | undefined {
  const { retention } = project.config;
  const rules = Object.entries(retention.streams).map(([streams, { age, bytes }]) => ({ streams, age, bytes }));
  return rules.length === 0 ? undefined : { rules, hostBytes: retention.host.bytes, readers: readersOf(project) };
}

/**
 * The readers that steps of the config go on with, and what each reads. Positions of other names (of views and models that
 * are configured no longer, of trial scoring, of deployments) stand still for ever, and hold nothing back.
 */
function readersOf(project: Project): Readonly<Record<string, readonly string[]>> {
  const { models, schedules, lineage } = project.config;
  const scored = new Set(Object.values(schedules).map(({ score }) => score));
  return Object.fromEntries([
    ...[...project.views.values()].map(({ name, needs }) => [fuseReader(name), [...needs.keys()].map(curatedStream)]),
    ...Object.keys(models).flatMap((model) => {
      const { name, label } = viewOfModel(project, model);
      return [
        ...(label ? [[labelReader(model), [curatedStream(label.dataset)]]] : []),
        ...(scored.has(model) ? [[scoreReaderOf(model), [featuresStream(name)]]] : []),
      ];
    }),
    ...(lineage.openlineage === "" ? [] : [[POST_READER, [LINEAGE]]]),
  ]);
}

/** One look at what is due. `told` hears what was dropped, and what a reader holds back, and `metrics` sums of it. */
export function retainStep({ project, store }: Engine, policy: RetentionPolicy, told: Told): Step {
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

/** Where the server's log lines go, and its metrics. */
export interface Told {
  log(message: string, facts: object): void;
  retained(amounts: RetentionAmounts): void;
}

/** What one look dropped, and left because of readers. */
export interface RetentionAmounts {
  readonly rows: number;
  readonly bytes: number;
  readonly heldBytes: number;
}

const sum = (amounts: readonly number[]) => amounts.reduce((total, one) => total + one, 0);

function tell({ dropped, held, damaged }: RetentionOutcome, { log, retained }: Told): void {
  const [rows, bytes] = [sum(dropped.map((one) => one.rows)), sum(dropped.map((one) => one.bytes))];
  retained({ rows, bytes, heldBytes: sum(held.map((one) => one.bytes)) });
  for (const { stream, rows, bytes, reason } of dropped) log("retention dropped rows", { stream, rows, bytes, reason });
  for (const { stream, bytes, reader, position } of held) {
    log("retention waits for a reader", { stream, bytes, reader, position });
  }
  for (const message of damaged) log("retention leaves damaged rows, and what follows them", { message });
}
