import type { Row, Value } from "../base/row.ts";
import { fieldOf } from "../contract/contract.ts";
import { curatedStream, labelsStream } from "../contract/streams.ts";
import { compile } from "../expression/compile.ts";
import { type DatasetLabel, stepLabels } from "../feedback/labels.ts";
import type { Engine } from "./engine.ts";
import type { Step } from "./loop.ts";
import type { ModelContext } from "./models.ts";

/** curated outcomes -> labels: the view's label expression on each row of its dataset, however late it comes. */
export function labelStep(engine: Engine, context: ModelContext): Step | undefined {
  const { store, project, world } = engine;
  const { plan, name } = context;
  const config = project.config.views[plan.name]?.label;
  const [label] = config ? Object.entries(config) : [];
  if (!label) return undefined;
  const [labelName, { from, by, value }] = label;
  const contract = project.contracts.get(from)!;
  const columns = new Map(contract.fields.map(({ name, type, nullable }) => [name, { type, nullable }]));
  const place = `views.${plan.name}.label.${labelName}`;
  const program = compile([{ name: labelName, sql: value, place }], { columns });
  // spine column -> their column
  const pairs = Array.isArray(by) ? by.map((column) => [column, column] as const) : Object.entries(by);
  const labelOf = (row: Row): DatasetLabel | null => {
    const [outcome] = program.evaluate(program.inputs.map((input) => row[input] ?? null)).values;
    const time = contract.availableTime ?? contract.eventTime;
    const keys: Record<string, Value> = {};
    for (const [spine, theirs] of pairs) {
      const key = row[theirs] ?? null;
      if (key === null) return null;
      keys[spine] = key;
    }
    return {
      keys,
      label: (outcome ?? null) as number | boolean | null,
      labelTime: time && fieldOf(contract, time) ? (row[time] as number) : world.clock.now(),
    };
  };
  let seen: number | undefined;
  return {
    name: `label.${name}`,
    reads: [curatedStream(from)],
    writes: [labelsStream(name)],
    async turn() {
      const step = await stepLabels({
        store,
        model: name,
        shape: plan.shape,
        dataset: from,
        labelOf,
        now: world.clock.now(),
        seen,
      });
      seen = step.seen;
      return step.labels > 0 || !step.atEnd ? "progress" : "idle";
    },
  };
}
