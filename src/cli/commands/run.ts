import pino from "pino";
import type { World } from "../../base/world.ts";
import { cacheOf, engineOver, openLog } from "../../runtime/engine.ts";
import { type PipelineHandle, startPipeline } from "../../runtime/pipeline.ts";
import { openProject, type ProjectLocation } from "../../runtime/project.ts";
import { takeUpRotation } from "../../runtime/rotate.ts";
import { addressFile, newToken } from "../../runtime/running.ts";
import { servicesOf } from "../../runtime/services.ts";
import { createServing, type Serving } from "../../runtime/serving.ts";
import { type Listening, listen } from "../../server/listen.ts";
import type { LogStore } from "../../store/store.ts";
import { type Command, type Outcome, PROJECT_FLAGS } from "../command.ts";
import { locationOf } from "../project.ts";
import { stopInTurn } from "../stop.ts";

export const run: Command = {
  name: "run",
  summary: "serve: ingest, fuse, score on schedule and on request, until stopped",
  flags: {
    ...PROJECT_FLAGS,
    host: { kind: "text", describe: "the address to listen on; default is the config's `listen.host`" },
    port: {
      kind: "number",
      describe: "the port to listen on; 0 picks a free one; default is the config's `listen.port`",
    },
  },
  run: (world, input) => serve(world, locationOf(input), input.text("host"), input.number("port")),
};

/** So long a stop waits for requests, then for the turn of the pipeline, then for what serves. */
const STOP_WAIT_MS = 5_000;

/** Runs a project until SIGINT or SIGTERM: three threads, one log. Log lines are JSON on standard error. */
export async function serve(world: World, location: ProjectLocation, host?: string, port?: number): Promise<Outcome> {
  const logger = pino(
    { base: null, timestamp: pino.stdTimeFunctions.isoTime },
    { write: (line: string) => world.warn(line.trimEnd()) },
  );
  const log = (message: string, facts: object) => logger.info(facts, message);
  const hostFlag = host === undefined ? [] : [`listen.host=${host}`];
  const portFlag = port === undefined ? [] : [`listen.port=${port}`];
  const place = { ...location, set: [...(location.set ?? []), ...hostFlag, ...portFlag] };
  const project = await openProject(world, place);
  const { keys, space, listen: address } = project.config;
  const store = await openLog({
    directory: project.dataDirectory,
    keys,
    clock: world.clock,
    random: world.random,
    space,
    cacheBytes: cacheOf(project),
    thread: true,
    workerUrl: world.workers.log,
  });
  const ended = new Promise<Error>((resolve) => store.onEnded(resolve));
  const engine = engineOver(world, project, store);
  const serving = createServing(engine, log);
  // The pipeline thread opens while this one folds its index; what is pushed meanwhile waits for it.
  const opening = startPipeline(world, place, store.port(), serving, (message, facts) => logger.warn(facts, message));
  opening.catch(() => {}); // it is awaited below: until then a failure is not unhandled
  const token = newToken(world.random);
  const services = servicesOf(
    serving,
    async (...pushed) => (await opening).push(...pushed),
    async (...erased) => (await opening).erase(...erased),
  );
  let heard = false; // whether a signal is: who reads that it is ready may stop it at once
  const server = listen(
    { ...services, ready: () => heard && services.ready() },
    { host: address.host, port: address.port, maxBody: address.max_body, token },
  );
  await world.files.write(addressFile(project.dataDirectory), JSON.stringify({ url: server.url, token }), 0o600);
  log("listening", { url: server.url, site: project.config.site, data: project.dataDirectory });
  const [pipeline] = await Promise.all([opening, serving.start()]);
  const asked = world.stopRequested().then(() => undefined);
  heard = true;
  const unloaded = serving.models.unloaded().map(({ model, version }) => `${model} ${version}`);
  log("ready", {
    models: serving.models.table.list().map(({ name, live }) => `${name} ${live.manifest.version}`),
    ...(unloaded.length === 0 ? {} : { unloaded }),
  });
  pipeline.work();
  takeUpRotation(engine, log);
  const failure = await Promise.race([ended, asked]);
  if (failure) logger.fatal({ error: failure.message }, "the log can't be written any more");
  else log("stopping", {});
  await world.files.removeFile(addressFile(project.dataDirectory)).catch(() => {}); // a file left behind proves nothing
  const left = await stopParts({ store, server, pipeline, serving }, failure !== undefined);
  if (left.length > 0) log("work under way was left to the next start", { left });
  await store.close();
  if (failure) throw failure;
  return { json: { stopped: true }, text: "stopped" };
}

interface Parts {
  readonly store: LogStore;
  readonly server: Listening;
  readonly pipeline: PipelineHandle;
  readonly serving: Serving;
}

/** What uses the log ends, in order and in time. Answers what was left at work. */
function stopParts({ store, server, pipeline, serving }: Parts, failed: boolean): Promise<string[]> {
  pipeline.interrupt();
  const requests = {
    name: "requests",
    async stop() {
      await store.pending.interrupt().catch(() => {}); // without a log thread nothing goes on
      await server.stop();
    },
    leave: server.end,
  };
  const turns = { name: "pipeline", stop: pipeline.stop, leave: pipeline.end };
  const answering = { name: "serving", stop: serving.close, leave: () => {} };
  if (failed) pipeline.end(); // what it has under way waits for an answer that never comes
  return stopInTurn([requests, ...(failed ? [] : [turns]), answering], STOP_WAIT_MS);
}
