import type { Value } from "../../base/row.ts";
import { formatDuration, formatInstant, type Micros, parseInstant } from "../../base/time.ts";
import { coercer } from "../../contract/coerce.ts";
import { cutoffOf, historyView } from "../../fusion/history.ts";
import type { ViewPlan } from "../../fusion/types.ts";
import { withEngine } from "../../runtime/engine.ts";
import { absolute, viewNamed } from "../../runtime/project.ts";
import { exportView } from "../../runtime/views.ts";
import { type Explanation, explainEntity, type UsedRow } from "../../views/explain.ts";
import { type Command, type Input, PROJECT_FLAGS, requireText, requireWord } from "../command.ts";
import { cliErrors } from "../errors.ts";
import { grouped, locationOf } from "../project.ts";

/** An instant given on the command line, or `cli.bad_usage`. */
export function instantFlag(command: Command, input: Input, flag: string): Micros | undefined {
  const text = input.text(flag);
  if (text === undefined) return undefined;
  const instant = parseInstant(text);
  if (instant !== undefined) return instant;
  throw cliErrors.error("bad_usage", `--${flag} is "${text}", which is no instant`, {
    place: `mlpe ${command.name}`,
    fix: "Write it as 2013-10-01 or 2013-10-01T00:00:00Z.",
  });
}

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
    const out = absolute(world, requireText(viewsExport, input, "out"));
    const [from, to, knownBy] = ["from", "to", "known-by"].map((flag) => instantFlag(viewsExport, input, flag));
    const cutoff = input.number("cutoff");
    return withEngine(world, locationOf(input), "write", async (engine) => {
      const { commitNo } = await engine.store.head();
      if (cutoff !== undefined && !(Number.isInteger(cutoff) && cutoff >= 1 && cutoff <= commitNo)) {
        const message = `--cutoff is ${cutoff}, and the store has the commits 1 to ${commitNo}`;
        throw cliErrors.error("bad_usage", message, {
          place: `mlpe ${viewsExport.name}`,
          fix: "Name a commit that is there: an earlier manifest says its own as cutoff.commit_no.",
        });
      }
      const set = await exportView(engine, viewNamed(engine.project, name), {
        ...(from === undefined ? {} : { from }),
        ...(to === undefined ? {} : { to }),
        ...(knownBy === undefined ? {} : { knownBy }),
        ...(cutoff === undefined ? {} : { cutoff }),
      });
      await world.files.write(out, set.parquet, 0o600);
      await world.files.write(`${out}.json`, set.manifestText, 0o600);
      const { rows, labelled, sha256 } = set.manifest;
      const text = `${grouped(rows)} rows, ${grouped(labelled)} of them labelled\n${out}\nsha256 ${sha256}`;
      return { json: { file: out, manifest: set.manifest }, text };
    });
  },
};

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
      return { json: shown(explained), text: explanationText(explained) };
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

/** Times as text, for JSON. */
function shown(explained: Explanation): unknown {
  return { ...explained, asOf: formatInstant(explained.asOf) };
}

function usedText(used: UsedRow): string {
  const time = used.eventTime === null ? "" : ` at ${formatInstant(used.eventTime)}`;
  const values = Object.entries(used.row).map(([name, value]) => `${name}=${String(value)}`);
  return `${used.dataset} #${used.sequence}${time}: ${values.join(" ")}`;
}

function explanationText(explained: Explanation): string {
  const lines = [`${explained.view} at T = ${formatInstant(explained.asOf)}`, `spine: ${usedText(explained.spine)}`];
  for (const { alias, used, age } of explained.joins) {
    const found = used === null ? "no row" : `${usedText(used)}${age === null ? "" : `, ${formatDuration(age)} old`}`;
    lines.push(`join ${alias}: ${found}`);
  }
  for (const window of explained.windows) {
    lines.push(
      `window ${window.alias}: ${window.count} rows of ${window.dataset} in (${formatInstant(window.from)}, ${formatInstant(window.to)}]`,
    );
    for (const row of window.rows.slice(-5)) lines.push(`  ${usedText(row)}`);
  }
  for (const { name, value, failure, expression } of explained.features) {
    lines.push(`feature ${name} = ${String(value)}${failure === null ? "" : ` (${failure})`}  from ${expression}`);
  }
  lines.push(`label = ${explained.label === null ? "not known" : explained.label.value}`);
  return lines.join("\n");
}
