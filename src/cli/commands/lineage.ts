import { formatInstant } from "../../base/time.ts";
import { rowsOf } from "../../contract/batch.ts";
import { LINEAGE } from "../../contract/streams.ts";
import { withEngine } from "../../runtime/engine.ts";
import type { Store } from "../../store/port.ts";
import { type Command, PROJECT_FLAGS } from "../command.ts";
import { cliErrors } from "../errors.ts";
import { locationOf, table } from "../project.ts";

const LIMIT_DEFAULT = 20;

interface Entry {
  readonly sequence: number;
  readonly at: number;
  readonly job: string;
  readonly type: string;
  /** JSON text. */
  readonly event: string;
}

export const lineage: Command = {
  name: "lineage",
  summary: "show the newest OpenLineage events, oldest first",
  flags: {
    ...PROJECT_FLAGS,
    job: { kind: "text", describe: "only this job, such as fuse.flight_delay; fuse. means every job that begins so" },
    limit: { kind: "number", describe: "how many", default: LIMIT_DEFAULT },
    format: { kind: "text", describe: "table, or ndjson (one whole event a line)", default: "table" },
  },
  async run(world, input) {
    const format = input.text("format");
    const limit = input.number("limit")!;
    const refuse = (message: string) => cliErrors.error("bad_usage", message, { place: `mlpe ${lineage.name}` });
    if (format !== "table" && format !== "ndjson") throw refuse(`--format is "${format}"; it is table or ndjson`);
    if (!(Number.isInteger(limit) && limit > 0)) throw refuse("--limit is a whole number above 0");
    return withEngine(world, locationOf(input), "read", async ({ store }) => {
      const entries = await newest(store, input.text("job"), limit);
      const events = entries.map(({ event }) => JSON.parse(event) as Event);
      if (format === "ndjson") return { json: { events }, text: entries.map(({ event }) => event).join("\n") };
      const rows = entries.map(({ at, job, type }, i) => [formatInstant(at), job, type, flow(events[i]!)]);
      const none = `no event${input.text("job") === undefined ? "" : ` of ${input.text("job")}`}`;
      return { json: { events }, text: rows.length === 0 ? none : table(["at", "job", "event", "datasets"], rows) };
    });
  },
};

/** The newest events in order of sequence; at most twice as many are held at a time. */
async function newest(store: Store, job: string | undefined, limit: number): Promise<Entry[]> {
  // A job is stored with its namespace before it, which is the site's.
  const wanted = (stored: string) => {
    const name = stored.slice(stored.indexOf("/") + 1);
    return job === undefined || job === name || job === stored || (job.endsWith(".") && name.startsWith(job));
  };
  let entries: Entry[] = [];
  const trim = () => {
    entries = entries.sort((a, b) => a.sequence - b.sequence).slice(-limit);
  };
  for await (const { batch, sequences } of store.scan(LINEAGE)) {
    rowsOf(batch).forEach((row, i) => {
      if (!wanted(String(row.job))) return;
      const [at, type] = [Number(row.at), String(row.event_type)];
      entries.push({ sequence: sequences[i]!, at, job: String(row.job), type, event: String(row.event) });
      if (entries.length >= 2 * limit) trim();
    });
  }
  trim();
  return entries;
}

interface Dataset {
  readonly name: string;
  readonly outputFacets?: { readonly outputStatistics?: { readonly rowCount?: number } };
}

interface Event {
  readonly inputs?: readonly Dataset[];
  readonly outputs?: readonly Dataset[];
}

/** `curated/a, curated/b -> features/c (12 rows)` */
function flow({ inputs = [], outputs = [] }: Event): string {
  const written = outputs.map(({ name, outputFacets }) => {
    const count = outputFacets?.outputStatistics?.rowCount;
    return count === undefined ? name : `${name} (${count} rows)`;
  });
  return `${inputs.map(({ name }) => name).join(", ")} -> ${written.join(", ")}`;
}
