import { curatedStream, labelsStream } from "../contract/streams.ts";
import { stepLabels } from "../feedback/labels.ts";
import { rowLabels } from "../fusion/label.ts";
import type { Engine } from "./engine.ts";
import type { Step } from "./loop.ts";
import type { ModelContext } from "./models.ts";

/** curated outcomes -> labels: the view's label on each row of its dataset, however late it comes. */
export function labelStep({ store, world }: Engine, { plan, name }: ModelContext): Step | undefined {
  const { label, shape } = plan;
  if (!label) return undefined;
  const labelOf = rowLabels(plan, label);
  let seen: number | undefined;
  return {
    name: `label.${name}`,
    reads: [curatedStream(label.dataset)],
    writes: [labelsStream(name)],
    async turn() {
      const now = world.clock.now();
      const step = await stepLabels({ store, model: name, shape, dataset: label.dataset, labelOf, now, seen });
      seen = step.seen;
      return step.labels > 0 || !step.atEnd ? "progress" : "idle";
    },
  };
}
