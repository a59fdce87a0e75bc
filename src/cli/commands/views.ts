import type { Value } from "../../base/row.ts";
import { formatDay, formatDuration, formatInstant } from "../../base/time.ts";
import type { World } from "../../base/world.ts";
import { coercer } from "../../contract/coerce.ts";
import { cutoffOf, historyView } from "../../fusion/history.ts";
import type { ViewPlan } from "../../fusion/types.ts";
import { withWriter } from "../../runtime/beside.ts";
import { withEngine } from "../../runtime/engine.ts";
import { type Project, viewNamed } from "../../runtime/project.ts";
import { exportView, type Keeper } from "../../runtime/views.ts";
import { type Explanation, explainEntity, type UsedRow } from "../../views/explain.ts";
import { type Command, PROJECT_FLAGS, requireText, requireWord } from "../command.ts";
import { cliErrors } from "../errors.ts";
import { grouped, instantFlag, locationOf, outsideData } from "../project.ts";

/** Rows of one window that a person is shown, the newest; --json has more. */
const ROWS_SHOWN = 5;

export const viewsExport: Command = {
  name: "views export",
  words: "<view>",
  summary: "write a training set as Parquet, with its manifest: point-in-time correct, the same bytes each time",
  flags: {
    ...PROJECT_FLAGS,
    out: { kind: "text", describe: "the Parquet file; the manifest goes beside it as <out>.json" },
    from: { kind: "text", describe: "first T, inclusive" },
    to: { kind: "text", describe: "last T, inclusive" },
    "known-by": { kind: "text", describe: "only what was known by this time; default now" },
    cutoff: { kind: "number", describe: "only what was known by this commit number, as an earlier manifest says it" },
  },
  async run(world, input) {
    const name = requireWord(viewsExport, input, 0, "the view");
    const out = await outsideData(world, input, requireText(viewsExport, input, "out"));
    const [from, to, knownBy] = ["from", "to", "known-by"].map((flag) => instantFlag(viewsExport, input, flag));
    const cutoff = input.number("cutoff");
    return withWriter(world, locationOf(input), async (engine) => {
      const { commitNo } = await engine.store.head();
      if (cutoff !== undefined && !(Number.isInteger(cutoff) && cutoff >= 1 && cutoff <= commitNo)) {
        const message = `--cutoff is ${cutoff}, and the store has the commits 1 to ${commitNo}`;
        throw cliErrors.error("bad_usage", message, {
          place: `mlpe ${viewsExport.name}`,
          fix: "Name a commit that is there: an earlier manifest says its own as cutoff.commit_no.",
        });
      }
      const options = {
        ...(from === undefined ? {} : { from }),
        ...(to === undefined ? {} : { to }),
        ...(knownBy === undefined ? {} : { knownBy }),
        ...(cutoff === undefined ? {} : { cutoff }),
      };
      const set = await exportView(engine, viewNamed(engine.project, name), options, filesAt(world, out));
      const { rows, labelled, sha256 } = set.manifest;
      const text = `${grouped(rows)} rows, ${grouped(labelled)} of them labelled\n${out}\nsha256 ${sha256}`;
      return { json: { file: out, manifest: set.manifest }, text };
    });
  },
};

/** The training set as the file `out`, with its manifest beside it. */
function filesAt({ files }: World, out: string): Keeper {
  const written: string[] = [];
  const write = async (path: string, content: string | Uint8Array) => {
    await files.write(path, content, 0o600);
    written.push(path);
  };
  return {
    async keep({ parquet, manifestText }) {
      await write(out, parquet);
      await write(`${out}.json`, manifestText);
    },
    async drop() {
      for (const path of written) await files.removeFile(path);
    },
  };
}

export const viewsExplain: Command = {
  name: "views explain",
  words: "<view>",
  summary: "show the rows behind each feature of an entity",
  flags: {
    ...PROJECT_FLAGS,
    entity: { kind: "list", describe: "key=value, once for each entity field" },
    at: { kind: "text", describe: "T; default the row's own" },
    "known-by": { kind: "text", describe: "only what was known by this time; default now" },
  },
  async run(world, input) {
    const name = requireWord(viewsExplain, input, 0, "the view");
    const [at, knownBy] = ["at", "known-by"].map((flag) => instantFlag(viewsExplain, input, flag));
    return withEngine(world, locationOf(input), "read", async ({ project, store }) => {
      const plan = viewNamed(project, name);
      const view = await historyView(store, plan, await cutoffOf(store, knownBy));
      const explained = explainEntity(view, entityFlag(plan, input.list("entity")), at);
      const json = shown(explained, project.contracts);
      return { json, text: explanationText(json) };
    });
  },
};

/** `carrier=UA` and so on, in the order of the view's entity, as typed values. */
function entityFlag(plan: ViewPlan, given: readonly string[]): Value[] {
  const values = new Map(given.map((pair) => [pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1)]));
  return plan.shape.entity.map((name) => {
    const text = values.get(name);
    const field = plan.spineContract.fields.find((candidate) => candidate.name === name)!;
    const value = text === undefined ? undefined : coercer(field)(text);
    if (value === undefined || (value !== null && typeof value === "object" && "rule" in value)) {
      const fix = `Give --entity ${plan.shape.entity.map((key) => `${key}=...`).join(" --entity ")}.`;
      throw cliErrors.error(
        "bad_usage",
        `the entity field "${name}" is ${text === undefined ? "missing" : `no ${field.type}`}`,
        { place: "--entity", fix },
      );
    }
    return value as Value;
  });
}

type Shown = ReturnType<typeof shown>;

/** The explanation with every instant and day as text. */
function shown(explained: Explanation, contracts: Project["contracts"]) {
  const used = (one: UsedRow) => {
    const fields = contracts.get(one.dataset)!.fields.filter(({ name }) => name in one.row);
    return {
      ...one,
      row: Object.fromEntries(fields.map(({ name, type }) => [name, shownValue(one.row[name]!, type)])),
      ...shownTimes(one),
    };
  };
  const { asOf, spine, joins, windows, features, label } = explained;
  return {
    ...explained,
    asOf: formatInstant(asOf),
    spine: used(spine),
    joins: joins.map((join) => ({ ...join, used: join.used && used(join.used) })),
    windows: windows.map((window) => ({
      ...window,
      from: formatInstant(window.from),
      to: formatInstant(window.to),
      rows: window.rows.map(used),
    })),
    features: features.map((feature) => ({ ...feature, value: shownValue(feature.value, feature.type) })),
    label: label && { ...label, ...shownTimes(label) },
  };
}

function shownTimes({ eventTime, availableTime }: Pick<UsedRow, "eventTime" | "availableTime">) {
  return {
    eventTime: shownValue(eventTime, "timestamp") as string | null,
    availableTime: shownValue(availableTime, "timestamp") as string | null,
  };
}

function shownValue(value: Value, type: string): Value {
  if (typeof value !== "number" || !Number.isFinite(value)) return value;
  if (type === "timestamp") return formatInstant(value);
  return type === "date" ? formatDay(value) : value;
}

function usedText({ dataset, sequence, eventTime, row }: Shown["spine"]): string {
  const time = eventTime === null ? "" : ` at ${eventTime}`;
  const values = Object.entries(row).map(([name, value]) => `${name}=${String(value)}`);
  return `${dataset} #${sequence}${time}: ${values.join(" ")}`;
}

function explanationText(explained: Shown): string {
  const lines = [`${explained.view} at T = ${explained.asOf}`, `spine: ${usedText(explained.spine)}`];
  for (const { alias, used, age } of explained.joins) {
    const found = used === null ? "no row" : `${usedText(used)}${age === null ? "" : `, ${formatDuration(age)} old`}`;
    lines.push(`join ${alias}: ${found}`);
  }
  for (const { alias, count, dataset, from, to, rows } of explained.windows) {
    lines.push(`window ${alias}: ${count} rows of ${dataset} in (${from}, ${to}]`);
    const listed = rows.slice(-ROWS_SHOWN);
    if (count > listed.length) lines.push(`  ${grouped(count - listed.length)} older`);
    for (const row of listed) lines.push(`  ${usedText(row)}`);
  }
  for (const { name, value, failure, expression } of explained.features) {
    lines.push(`feature ${name} = ${String(value)}${failure === null ? "" : ` (${failure})`}  from ${expression}`);
  }
  lines.push(`label = ${explained.label === null ? "not known" : explained.label.value}`);
  return lines.join("\n");
}
