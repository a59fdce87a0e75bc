import { seededRandom } from "../../src/base/random.ts";
import type { Row, Value } from "../../src/base/row.ts";
import { rowAt } from "../../src/contract/batch.ts";
import { featuresStream, LEDGER, scoresStream, VERDICTS } from "../../src/contract/streams.ts";
import { fusePlace } from "../../src/fusion/feature_rows.ts";
import { historyPlaces, historyView } from "../../src/fusion/history.ts";
import type { ViewPlan } from "../../src/fusion/types.ts";
import { verifyLedger } from "../../src/ingestion/ledger.ts";
import { streamContent } from "../../src/runtime/content.ts";
import type { Project } from "../../src/runtime/project.ts";
import type { Store } from "../../src/store/port.ts";
import { verifyView } from "../../src/views/verify.ts";
import { SIM_MODEL } from "./project.ts";

const COMPARED = /^(?:landing|curated|quarantine|features|labels)\//;

/** Stream -> digest of its content, for the streams in which two runs of one seed must agree. */
export async function contentsOf(store: Store): Promise<Map<string, string>> {
  const contents = new Map<string, string>();
  for (const { stream } of await store.streams()) {
    if (!COMPARED.test(stream) && stream !== LEDGER) continue;
    const { rows, digest } = await streamContent(store, stream);
    if (rows > 0) contents.set(stream, `${rows} rows, ${digest.slice(0, 12)}`);
  }
  return contents;
}

/** Everything that must hold of a log after a run; one sentence for each thing that does not. */
export async function checkRun(
  store: Store,
  project: Project,
  expected: ReadonlyMap<string, string>,
): Promise<string[]> {
  const findings: string[] = [];
  const found = await contentsOf(store);
  for (const stream of new Set([...expected.keys(), ...found.keys()])) {
    const [want, have] = [expected.get(stream) ?? "nothing", found.get(stream) ?? "nothing"];
    if (want !== have) findings.push(`${stream} holds ${have}; undisturbed it holds ${want}`);
  }
  const ledger = await verifyLedger(store, [...project.sources.values()]);
  findings.push(...ledger.problems.map((problem) => `ledger: ${problem}`));
  for (const plan of project.views.values()) findings.push(...(await checkHistory(store, plan)));
  findings.push(...(await checkScores(store, project.views.get(SIM_MODEL)!)));
  return findings;
}

const valueText = (value: Value): string =>
  Object.is(value, -0) ? "-0" : typeof value === "string" ? JSON.stringify(value) : String(value);

interface Version {
  readonly sequence: number;
  readonly commitNo: number;
  readonly row: Row;
  readonly live: boolean;
}

async function versionsOf(store: Store, stream: string): Promise<Version[]> {
  const versions: Version[] = [];
  for await (const stored of store.scan(stream)) {
    for (let i = 0; i < stored.batch.length; i++) {
      const [sequence, commitNo] = [stored.sequences[i]!, stored.commitNos[i]!];
      versions.push({ sequence, commitNo, row: rowAt(stored.batch, i), live: stored.tombstones[i] === 0 });
    }
  }
  return versions.sort((a, b) => a.sequence - b.sequence);
}

const keyOf = (plan: ViewPlan, row: Row): string =>
  plan.shape.keys.map(({ name }) => valueText(row[`key_${name}`] ?? null)).join("|");

/** The latest feature rows are what one evaluation of the whole history gives, and what each was fused from is still so. */
async function checkHistory(store: Store, plan: ViewPlan): Promise<string[]> {
  const latest = new Map<string, Version>();
  for (const version of await versionsOf(store, featuresStream(plan.name)))
    latest.set(keyOf(plan, version.row), version);
  const stored = new Map(
    [...latest].filter(([, { live }]) => live).map(([key, { row }]) => [key, featureText(plan, row)]),
  );
  const view = await historyView(store, plan, (await store.head()).commitNo);
  const findings: string[] = [];
  for (const place of historyPlaces(view)) {
    const { keys, asOf, fused } = fusePlace(view, place);
    const key = keys.map(valueText).join("|");
    const want = [asOf, ...fused!.values, ...fused!.inputs].map(valueText).join("|");
    const have = stored.get(key) ?? "no row";
    if (have !== want) findings.push(`features/${plan.name} ${key} is ${have}; history gives ${want}`);
    stored.delete(key);
  }
  for (const key of stored.keys()) findings.push(`features/${plan.name} has a row ${key} that history lacks`);
  if (
    latest.size > 0 &&
    findings.length === 0 &&
    view.spine.length > 0 &&
    [...latest.values()].some(({ live }) => live)
  ) {
    const verified = await verifyView({ store, plan, random: seededRandom(1), rows: 25 });
    for (const { feature, stored, computed } of verified.differences) {
      findings.push(`features/${plan.name}.${feature} was ${stored}; at its own position it is ${computed}`);
    }
  }
  return findings;
}

function featureText({ shape }: ViewPlan, row: Row): string {
  const names = ["as_of", ...shape.features.map(({ name }) => name), ...shape.inputs.map((name) => `time_${name}`)];
  return names.map((name) => valueText(row[name] ?? null)).join("|");
}

/** Each feature row is scored once, however often fusion wrote it; the scores that a later version replaced, and only those, are stale. */
async function checkScores(store: Store, plan: ViewPlan): Promise<string[]> {
  const findings: string[] = [];
  const textOf = (row: Row) => `${keyOf(plan, row)} of position ${row.position}: ${featureText(plan, row)}`;
  const wanted = new Map<string, number>();
  for (const { row, live } of await versionsOf(store, featuresStream(plan.name))) {
    if (live) wanted.set(textOf(row), 1);
  }
  const scores = await versionsOf(store, scoresStream(SIM_MODEL));
  for (const { row } of scores) wanted.set(textOf(row), (wanted.get(textOf(row)) ?? 0) - 1);
  for (const [text, left] of wanted) {
    if (left > 0) findings.push(`no score of ${text}`);
    if (left < 0) findings.push(`${-left} scores too many of ${text}`);
  }
  return [...findings, ...(await checkStale(store, plan, scores))];
}

async function checkStale(store: Store, plan: ViewPlan, scores: readonly Version[]): Promise<string[]> {
  const stale = new Set<string>();
  for (const { row } of await versionsOf(store, VERDICTS)) {
    if (row.kind !== "stale") continue;
    const { scores: named } = JSON.parse(row.detail as string) as { scores: { score_id: string }[] };
    for (const { score_id } of named) stale.add(score_id);
  }
  const current = new Map<string, string | null>();
  for (const { row, live } of await versionsOf(store, featuresStream(plan.name))) {
    current.set(keyOf(plan, row), live ? featureText(plan, row) : null);
  }
  const last = new Map(scores.map(({ row }) => [keyOf(plan, row), row]));
  return scores.flatMap(({ row }) => {
    const key = keyOf(plan, row);
    const isCurrent = last.get(key) === row && current.get(key) !== null;
    if (isCurrent === !stale.has(row.score_id as string)) return [];
    return [
      `the score of ${key} ${isCurrent ? "counts, and is called stale" : "was replaced, and is not called stale"}`,
    ];
  });
}
