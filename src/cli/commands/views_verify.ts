import { formatInstant } from "../../base/time.ts";
import { curatedStream } from "../../contract/streams.ts";
import { withEngine } from "../../runtime/engine.ts";
import { viewNamed } from "../../runtime/project.ts";
import { evaluateRequests, readRequests, verifyElsewhere } from "../../runtime/views_verify.ts";
import type { Difference, Verification } from "../../views/verify.ts";
import { type Command, PROJECT_FLAGS, requireWord } from "../command.ts";
import { cliErrors, EXIT_NO } from "../errors.ts";
import { grouped, locationOf } from "../project.ts";

const ROWS_MAX = 10_000;
/** Differences that a person is shown; --json has them all. */
const SHOWN_MAX = 20;

export const viewsVerify: Command = {
  name: "views verify",
  words: "<view>",
  summary:
    "compute a sample of the fused rows again, from history and as requests in a fresh process, and compare the bits",
  flags: {
    ...PROJECT_FLAGS,
    rows: { kind: "number", describe: "rows of the sample", default: 100 },
    seed: { kind: "number", describe: "chooses the sample: the same seed, the same rows; default another each time" },
  },
  async run(world, input) {
    const name = requireWord(viewsVerify, input, 0, "the view");
    const rows = input.number("rows")!;
    if (!(Number.isInteger(rows) && rows > 0 && rows <= ROWS_MAX)) {
      throw cliErrors.error("bad_usage", `--rows is a whole number from 1 to ${ROWS_MAX}`, {
        place: "mlpe views verify",
      });
    }
    const seed = input.number("seed") ?? new DataView(world.random.bytes(4).buffer).getUint32(0);
    const location = locationOf(input);
    return withEngine(world, location, "read", async (engine) => {
      const startedAt = world.clock.now();
      world.progress("folding the log, here and in a fresh process");
      const view = viewNamed(engine.project, name);
      const result = await verifyElsewhere(engine, view, location, { rows, seed });
      const needed = new Set([...view.needs.keys()].map(curatedStream));
      const cut = (await engine.store.streams()).filter(
        ({ stream, firstSequence = 0 }) => firstSequence > 0 && needed.has(stream),
      );
      const retained = cut.map(({ stream }) => stream);
      const seconds = (world.clock.now() - startedAt) / 1_000_000;
      return {
        json: { ...result, retained, seed, seconds },
        text: [verifyText(result, seed, seconds), ...retentionText(result, retained)].join("\n"),
        exit: result.equal ? 0 : EXIT_NO,
      };
    });
  },
};

function verifyText(result: Verification, seed: number, seconds: number): string {
  const { view, fused, sampled, compared, differences } = result;
  const head = `${view}: ${grouped(sampled)} of ${grouped(fused)} fused rows, ${grouped(compared)} values compared (seed ${seed}, ${seconds.toFixed(1)} s)`;
  if (result.equal)
    return `${head}\nequal to the bit: stored rows, history of what was available at T, and requests in a fresh process`;
  const more = differences.length > SHOWN_MAX ? [`and ${differences.length - SHOWN_MAX} more`] : [];
  return [
    head,
    `${differences.length} values DIFFER`,
    ...differences.slice(0, SHOWN_MAX).map(differenceText),
    ...more,
  ].join("\n");
}

/** What retention dropped is in no history: what was fused from it differs, and nothing was changed. */
function retentionText({ equal }: Verification, retained: readonly string[]): string[] {
  if (equal || retained.length === 0) return [];
  return [
    `Retention dropped rows of ${retained.join(", ")}: feature rows made of them can't be made again, and differ here.`,
  ];
}

function differenceText({ path, feature, keys, asOf, stored, computed }: Difference): string {
  const entity = Object.entries(keys).map(([name, value]) => `${name}=${String(value)}`);
  return `  ${feature} of ${entity.join(" ")} at ${formatInstant(asOf)}: stored ${String(stored)}, by ${path} ${String(computed)}`;
}

/** What `views verify` starts as a fresh process. */
export const viewsEvaluate: Command = {
  name: "views evaluate",
  words: "<view>",
  summary:
    "compute features of spine rows given as JSON on standard input: what `views verify` runs as a fresh process",
  flags: PROJECT_FLAGS,
  async run(world, input) {
    const name = requireWord(viewsEvaluate, input, 0, "the view");
    const requests = readRequests(await world.input());
    return withEngine(world, locationOf(input), "read", async ({ project, store }) => {
      const values = await evaluateRequests(store, viewNamed(project, name), requests);
      return { json: { values }, text: values.map((row) => JSON.stringify(row)).join("\n") };
    });
  },
};
