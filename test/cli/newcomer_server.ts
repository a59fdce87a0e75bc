import { rmSync } from "node:fs";
import { join } from "node:path";
import { serve } from "../../src/cli/commands/run.ts";
import { systemWorld } from "../../src/system.ts";
import { makeNewcomerHome } from "../e2e/newcomer.ts";
import { fixture } from "../scoring/support.ts";
import { commandsIn } from "./support.ts";

export interface Exported {
  readonly manifest: { readonly sha256: string };
}

/** A newcomer's project, ingested, with a training set and a signed package, and a server over it. */
export interface NewcomerServer {
  readonly directory: string;
  readonly mlpe: ReturnType<typeof commandsIn>;
  /** The training set that was exported to `training.parquet` before the server was started. */
  readonly exported: Exported;
  stop(): Promise<void>;
}

export const exportTo = (out: string) => ["views", "export", "pump_failure", "--to", "2024-01-25", "--out", out];
const FEATURES = ["--features", "flow,heat,noise,wear"];
const init = (out: string) => ["model", "init", "--onnx", "model.onnx", "--view", "pump_failure", "--out", out];

/** `set` is what the server's config has beside the newcomer's. */
export async function serveNewcomer(set: readonly string[] = []): Promise<NewcomerServer> {
  const home = makeNewcomerHome(fixture("trees.onnx"));
  const { directory } = home;
  const mlpe = commandsIn(directory);
  await mlpe.json(["contract", "infer", "readings.csv", "--out", "readings.avsc", "--rows", String(home.readings)]);
  await mlpe.json(["contract", "infer", "failures.csv", "--out", "failures.avsc"]);
  await mlpe.json(["model", "keygen", "--private", "signing.key", "--public", "trust.pem"]);
  await mlpe.json(["ingest"]);
  const exported = await mlpe.json<Exported>(exportTo("training.parquet"));
  await mlpe.json([...init("package"), "--training", "training.parquet", "--min-labelled", "20", ...FEATURES]);
  await mlpe.json(["model", "sign", "package", "--key", "signing.key"]);
  const stopping = Promise.withResolvers<"SIGTERM">();
  const ready = Promise.withResolvers<void>();
  const world = {
    ...systemWorld,
    environment: { HOME: directory },
    workingDirectory: directory,
    stopRequested: () => stopping.promise,
    print: () => {},
    warn(line: string) {
      if (line.includes('"msg":"ready"')) ready.resolve();
    },
  };
  const served = serve(world, { config: join(directory, "mlpe.yaml"), set: ["listen.port=0", ...set] });
  await Promise.race([ready.promise, served]);
  return {
    directory,
    mlpe,
    exported,
    async stop() {
      stopping.resolve("SIGTERM");
      await served;
      rmSync(directory, { recursive: true, force: true });
    },
  };
}
