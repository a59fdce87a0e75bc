/** Projects for the executable: the example's config, with what a test adds, and copies of the demo's data. */
import { cpSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parse } from "yaml";
import { EXAMPLE, type Flight, flightsOf } from "./flights.ts";
import type { Placed, Server } from "./program.ts";

/** A config is changed by the tests as a person would edit the file. */
export type ConfigText = Record<string, ReturnType<typeof JSON.parse>>;

/** The example's config with absolute paths, so that it can stand anywhere. */
export async function exampleConfig(): Promise<ConfigText> {
  const config = parse(await Bun.file(`${EXAMPLE}/mlpe.yaml`).text()) as ConfigText;
  const absolute = (path: string) => resolve(EXAMPLE, path);
  for (const source of Object.values<ConfigText>(config.sources)) source.path = absolute(source.path);
  for (const dataset of Object.values<ConfigText>(config.datasets)) dataset.contract = absolute(dataset.contract);
  for (const model of Object.values<ConfigText>(config.models)) model.artifact = absolute(model.artifact);
  config.trust = config.trust.map(absolute);
  return config;
}

/** Writes the config (JSON is YAML) and gives the project; a copy of `data` with its key, if one is named. */
export function place(directory: string, config: ConfigText, from?: Placed): Placed {
  const path = join(directory, "mlpe.yaml");
  writeFileSync(path, JSON.stringify(config, null, 2));
  const placed = { config: path, data: join(directory, "data"), key: join(directory, "key") };
  if (from) {
    cpSync(from.data, placed.data, { recursive: true });
    cpSync(from.key, placed.key);
  }
  return placed;
}

/** The demo's own config and data, copied. */
export const copyOf = async (demo: Placed, directory: string): Promise<Placed> =>
  place(directory, await exampleConfig(), demo);

export interface Scored {
  readonly requestId: string;
  readonly scoreId: string;
  readonly score: number;
  readonly digest: string;
}

export interface Load {
  /** Every answer that came with status 200, in the order of arrival. */
  readonly acknowledged: Scored[];
  /** Requests whose answer never came, or was no 200. */
  readonly failures: string[];
  stop(): Promise<void>;
}

const REQUESTS_MAX = 40_000;

/** So many clients that score flights over HTTP, one request after the other, each with an id of its own. */
export function load(server: Server, clients: number, month = "2013-11"): Load {
  const flights: Flight[] = flightsOf(month, 500);
  const acknowledged: Scored[] = [];
  const failures: string[] = [];
  let stopped = false;
  let count = 0;
  const client = async () => {
    while (!stopped && count < REQUESTS_MAX) {
      const requestId = `load-${server.pid}-${++count}`;
      const entity = flights[count % flights.length]!;
      try {
        const { status, text, body } = await server.post("/v1/score/flight_delay", {
          id: requestId,
          entities: [entity],
        });
        if (status !== 200) failures.push(`${requestId}: ${status} ${text.slice(0, 300)}`);
        else {
          const [{ score_id: scoreId, score, model: digest }] = body.results;
          acknowledged.push({ requestId, scoreId, score, digest });
        }
      } catch (error) {
        failures.push(`${requestId}: ${(error as Error).message}`);
        if (!stopped) await Bun.sleep(5);
      }
    }
  };
  const running = Promise.all(Array.from({ length: clients }, client));
  return {
    acknowledged,
    failures,
    async stop() {
      stopped = true;
      await running;
    },
  };
}

/** What Prometheus would read: `name{labels}` -> value; throws on a line that is none. */
export function parseMetrics(text: string): Map<string, number> {
  const values = new Map<string, number>();
  for (const line of text.trimEnd().split("\n")) {
    if (/^# (?:HELP|TYPE) [a-zA-Z_:][\w:]* .+$/.test(line)) continue;
    const match = /^([a-zA-Z_:][\w:]*(?:\{(?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\[\\n"])*",?)*\})?) (\S+)$/.exec(line);
    const value = match?.[2] === "+Inf" ? Number.POSITIVE_INFINITY : Number(match?.[2]);
    if (!match || (Number.isNaN(value) && match[2] !== "NaN")) throw new Error(`no Prometheus line: ${line}`);
    if (values.has(match[1]!)) throw new Error(`twice: ${match[1]}`);
    values.set(match[1]!, value);
  }
  return values;
}
