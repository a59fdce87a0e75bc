import { MlpeError, type Problem } from "../base/errors.ts";
import type { World } from "../base/world.ts";
import { absolutePaths, loadConfig } from "../config/load.ts";
import type { Config } from "../config/schema.ts";
import { createConnector } from "../connectors/registry.ts";
import { type Contract, parseContract } from "../contract/contract.ts";
import { keyFingerprint } from "../delivery/sign.ts";
import { planView } from "../fusion/plan.ts";
import type { ViewPlan } from "../fusion/types.ts";
import { type DatasetPlan, planDataset, planSource, type SourcePlan } from "../ingestion/plan.ts";
import { planAlerts } from "../monitoring/alerts.ts";
import { type CheckPlan, planChecks } from "../quality/checks.ts";
import { planGuardrails } from "../scoring/guardrails.ts";
import { runtimeErrors } from "./errors.ts";
import { METRICS } from "./metrics.ts";

/** Everything a config means: every contract read, every expression compiled and typed, before any row is touched. */
export interface Project {
  readonly config: Config;
  /** Absolute. */
  readonly configPath: string;
  readonly dataDirectory: string;
  /** By dataset, with `available` and `static` worked in: what the curated streams hold. */
  readonly contracts: ReadonlyMap<string, Contract>;
  readonly datasets: ReadonlyMap<string, DatasetPlan>;
  readonly sources: ReadonlyMap<string, SourcePlan>;
  readonly views: ReadonlyMap<string, ViewPlan>;
  readonly checks: ReadonlyMap<string, CheckPlan>;
  /** Public keys in PEM whose signatures on packages count. */
  readonly trust: readonly string[];
}

/** Where a project is, as the command line says it. */
export interface ProjectLocation {
  readonly config: string;
  readonly data?: string | undefined;
  readonly set?: readonly string[] | undefined;
}

/** The config alone, checked against its schema: what else it names is not looked at. */
export async function openConfig(
  world: World,
  location: ProjectLocation,
): Promise<Pick<Project, "config" | "configPath" | "dataDirectory">> {
  const configPath = absolute(world, location.config);
  const folder = configPath.slice(0, configPath.lastIndexOf("/")) || "/";
  const text = utf8(await world.files.read(configPath), location.config);
  const config = absolutePaths(loadConfig(text, location.config, world.environment, location.set ?? []), folder);
  const dataDirectory = location.data === undefined ? config.data : absolute(world, location.data);
  return { config, configPath, dataDirectory };
}

/** Reads and plans a project. Throws one MlpeError that lists every problem of the first layer that has any. */
export async function openProject(world: World, location: ProjectLocation): Promise<Project> {
  const { config, configPath, dataDirectory } = await openConfig(world, location);
  const problems: Problem[] = [];
  const collect = <T>(make: () => T): T | undefined => collecting(problems, make);
  const contracts = new Map<string, Contract>();
  const datasets = new Map<string, DatasetPlan>();
  for (const [name, dataset] of Object.entries(config.datasets)) {
    const contractText = await readText(world, dataset.contract, `datasets.${name}.contract`, problems);
    const contract =
      contractText === undefined ? undefined : collect(() => parseContract(contractText, dataset.contract));
    if (!contract) continue;
    const plan = collect(() => planDataset(name, dataset, contract));
    if (!plan) continue;
    datasets.set(name, plan);
    contracts.set(name, plan.contract);
  }
  throwIfAny(problems);
  const sources = planAll(config.sources, (name, source) => planSource(name, source, datasets), collect);
  const views = planAll(config.views, (name, view) => planView(name, view, datasets), collect);
  const checks = planAll(config.checks, (name, list) => planChecks(name, list, contracts.get(name)!), collect);
  const trust: string[] = [];
  for (const [index, path] of config.trust.entries()) {
    const place = `trust[${index}]`;
    const pem = await readText(world, path, place, problems);
    if (pem === undefined) continue;
    collect(() => checkTrusted(pem, path, place));
    trust.push(pem);
  }
  throwIfAny(problems);
  for (const [name, { config: source }] of sources) {
    collect(() => createConnector(name, source, { clock: world.clock, resolve: (path) => path, expectations: [] }));
  }
  // Planned again where they are used; here to say what is wrong before anything runs.
  collect(() => planAlerts(config, METRICS))?.close();
  const project = { config, views };
  for (const [name, { guardrails }] of Object.entries(config.models)) {
    collect(() => planGuardrails(name, guardrails, viewOfModel(project, name).shape.features).program?.close());
  }
  throwIfAny(problems);
  return { config, configPath, dataDirectory, contracts, datasets, sources, views, checks, trust };
}

/** The view a model reads: the one its config names, else the view with the model's own name. */
export function viewOfModel(project: Pick<Project, "config" | "views">, model: string): ViewPlan {
  const name = project.config.models[model]?.view ?? model;
  const plan = project.views.get(name);
  if (plan && project.config.models[model]) return plan;
  const known = Object.keys(project.config.models).join(", ");
  if (!project.config.models[model]) {
    throw runtimeErrors.error("unknown_model", `there is no model "${model}"; the config has: ${known || "none"}`, {
      place: `models.${model}`,
    });
  }
  throw runtimeErrors.error("unknown_view", `model "${model}" reads the view "${name}", which the config lacks`, {
    place: `models.${model}`,
  });
}

export function viewNamed(project: Project, name: string): ViewPlan {
  const plan = project.views.get(name);
  if (plan) return plan;
  const known = [...project.views.keys()].join(", ");
  throw runtimeErrors.error("unknown_view", `there is no view "${name}"; the config has: ${known || "none"}`, {
    place: `views.${name}`,
  });
}

export const absolute = (world: World, path: string): string => {
  if (path.startsWith("/")) return path;
  const parts: string[] = [];
  for (const part of `${world.workingDirectory}/${path}`.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return `/${parts.join("/")}`;
};

function planAll<Input, Plan>(
  items: Readonly<Record<string, Input>>,
  plan: (name: string, item: Input) => Plan,
  collect: <T>(make: () => T) => T | undefined,
): Map<string, Plan> {
  const plans = new Map<string, Plan>();
  for (const [name, item] of Object.entries(items)) {
    const made = collect(() => plan(name, item));
    if (made !== undefined) plans.set(name, made);
  }
  return plans;
}

function collecting<T>(problems: Problem[], make: () => T): T | undefined {
  try {
    return make();
  } catch (error) {
    if (!(error instanceof MlpeError)) throw error;
    problems.push(...error.problems);
    return undefined;
  }
}

async function readText(world: World, path: string, place: string, problems: Problem[]): Promise<string | undefined> {
  try {
    return utf8(await world.files.read(path), path);
  } catch (error) {
    if (!(error instanceof MlpeError)) throw error;
    problems.push({ ...error.problems[0]!, place, message: error.message });
    return undefined;
  }
}

function checkTrusted(pem: string, path: string, place: string): void {
  try {
    keyFingerprint(pem);
  } catch (error) {
    if (!(error instanceof MlpeError)) throw error;
    const { code, kind, fix } = error;
    throw new MlpeError(code, { kind, meaning: error.message, fix }, `${path}: ${error.message}`, {
      place,
      cause: error,
    });
  }
}

function utf8(bytes: Uint8Array, place: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw runtimeErrors.error("not_text", `${place} is not UTF-8`, { place, cause });
  }
}

function throwIfAny(problems: readonly Problem[]): void {
  const first = problems[0];
  if (!first) return;
  const more = problems.length === 1 ? "" : ` (and ${problems.length - 1} more)`;
  const entry = { kind: "invalid", meaning: "", fix: first.fix } as const;
  throw new MlpeError(first.code, entry, `${first.message}${more}`, { place: first.place, problems });
}
