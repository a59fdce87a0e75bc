import { canonicalJson } from "../base/digest.ts";
import type { World } from "../base/world.ts";
import { curatedStream, featuresStream, LINEAGE, RETENTION } from "../contract/streams.ts";
import { labelReader } from "../feedback/labels.ts";
import { fuseReader } from "../fusion/step.ts";
import { POST_READER } from "../lineage/post.ts";
import { scoreReaderOf } from "../scoring/job.ts";
import type { RetentionOutcome } from "../store/retain.ts";
import type { RetentionPolicy } from "../store/retention_rules.ts";
import { throughServer } from "./beside.ts";
import type { Engine } from "./engine.ts";
import { runtimeErrors } from "./errors.ts";
import type { Step } from "./loop.ts";
import { openProject, type Project, type ProjectLocation, viewOfModel } from "./project.ts";
import { parseObject, requestErrors } from "./requests.ts";

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

/** Where a running server retains. */
const RETENTION_PATH = "/v1/retention";

/** What a look at what is due did, as it is told. */
export interface ShownRetention extends Omit<RetentionOutcome, "commitNo"> {
  readonly commit_no: number | null;
}

const NOTHING_DUE: ShownRetention = { commit_no: null, dropped: [], held: [], damaged: [] };

const shownRetention = ({ commitNo, ...rest }: RetentionOutcome): ShownRetention => ({
  commit_no: commitNo ?? null,
  ...rest,
});

/** The rules alone: how often a server looks is its own affair. */
const rulesOf = ({ config: { retention } }: Project) => ({ streams: retention.streams, host: retention.host });

/**
 * Drops what is due, now: the server that has the store open does it, or this process where none runs. Undefined where the
 * config asks for nothing. Throws runtime.other_retention where the server was started with other rules.
 */
export async function retainProject(world: World, location: ProjectLocation): Promise<ShownRetention | undefined> {
  const project = await openProject(world, location);
  const policy = retentionPolicy(project);
  if (!policy) return undefined;
  return throughServer(world, location, RETENTION_PATH, { rules: rulesOf(project) }, async ({ store }) =>
    shownRetention(await store.retain(policy)),
  );
}

/** The same in the server, by its own rules. `body` may say which rules whoever asks means. */
export async function retainAsked({ project, store }: Engine, body: string, told: Told): Promise<ShownRetention> {
  const { rules, ...rest } = parseObject(body);
  const [other] = Object.keys(rest);
  if (other !== undefined) {
    const fix = "Send {}: the rules are those of the config that the server was started with.";
    throw requestErrors.error("bad_request", `a look at what is due takes no ${other}`, { place: other, fix });
  }
  if (rules !== undefined && canonicalJson(rules) !== canonicalJson(rulesOf(project))) {
    throw runtimeErrors.error("other_retention", "the server was started with another `retention`", {
      place: "retention",
    });
  }
  const policy = retentionPolicy(project);
  if (!policy) return NOTHING_DUE;
  const outcome = await store.retain(policy);
  tell(outcome, told);
  return shownRetention(outcome);
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
