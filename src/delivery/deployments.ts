import { invariant } from "../base/errors.ts";
import type { Row } from "../base/row.ts";
import type { Micros } from "../base/time.ts";
import type { Deployment } from "../contract/model_package.ts";
import { deliveryErrors } from "./errors.ts";

/** A package in the succession of live ones. */
export interface Deployed {
  readonly digest: string;
  readonly version: string;
}

/** One `deploy` row as it happened. */
export interface DeploymentEvent extends Deployment {
  readonly at: Micros;
}

/**
 * What is deployed of one model, and how it came to be. `succession` are the packages that were live one after another
 * and can be gone back and forth on; `pointer` is the live one among them, -1 before the first promotion. A promotion
 * drops what lies ahead of the pointer.
 */
export interface ModelDeployments {
  readonly model: string;
  readonly live: Deployed | null;
  readonly canRollBackTo: Deployed | null;
  readonly canRollForwardTo: Deployed | null;
  readonly shadow: Deployed | null;
  readonly succession: readonly Deployed[];
  readonly pointer: number;
  /** Every deployment of the model, oldest first. */
  readonly history: readonly DeploymentEvent[];
}

export type Deployments = ReadonlyMap<string, ModelDeployments>;

/** The state of a model that was never deployed. */
export function noDeployments(model: string): ModelDeployments {
  return stateOf({ model, shadow: null, succession: [], pointer: -1, history: [] });
}

/** A fold of rows of the control stream, in the order of their sequence; rows of other kinds are passed over. */
export function foldDeployments(rows: Iterable<Row>, from: Deployments = new Map()): Deployments {
  const models = new Map(from);
  for (const row of rows) {
    if (row.kind !== "deploy") continue;
    const deployment = JSON.parse(row.body as string) as Deployment;
    const before = models.get(deployment.model) ?? noDeployments(deployment.model);
    models.set(deployment.model, applyDeployment(before, { ...deployment, at: row.at as Micros }));
  }
  return models;
}

/** The next state. A row that does not follow from the state was not written by the builders below: it throws. */
function applyDeployment(state: ModelDeployments, event: DeploymentEvent): ModelDeployments {
  const history = [...state.history, event];
  const deployed = { digest: event.digest, version: event.version };
  if (event.role === "shadow") return stateOf({ ...state, shadow: deployed, history });
  invariant(event.previous === (state.live?.digest ?? null), `${event.model}: a deployment replaces what is not live`);
  if (event.reason === "promote") {
    const succession = [...state.succession.slice(0, state.pointer + 1), deployed];
    return stateOf({ ...state, succession, pointer: state.pointer + 1, history });
  }
  const pointer = state.pointer + (event.reason === "rollback" ? -1 : 1);
  invariant(state.succession[pointer]?.digest === event.digest, `${event.model}: a ${event.reason} to another package`);
  return stateOf({ ...state, pointer, history });
}

/** The control row that makes the package live. Throws delivery.already_live. */
export function promoteRow(state: ModelDeployments, candidate: Deployed, at: Micros): Row {
  if (state.live?.digest === candidate.digest) {
    const message = `${state.model} ${candidate.version} (${candidate.digest}) is live already`;
    throw deliveryErrors.error("already_live", message, { place: state.model });
  }
  return deployRow(state, candidate, "promote", at);
}

/** The control row that makes the package live that was so before the present one. Throws delivery.nothing_to_roll_back or never_deployed. */
export function rollbackRow(state: ModelDeployments, at: Micros): Row {
  if (state.live === null) throw neverDeployed(state.model);
  if (state.canRollBackTo === null) {
    const message = `${state.model} ${state.live.version} is the first package that was live`;
    throw deliveryErrors.error("nothing_to_roll_back", message, { place: state.model });
  }
  return deployRow(state, state.canRollBackTo, "rollback", at);
}

/** The control row that undoes the last rollback. Throws delivery.nothing_to_roll_forward or never_deployed. */
export function rollforwardRow(state: ModelDeployments, at: Micros): Row {
  if (state.live === null) throw neverDeployed(state.model);
  if (state.canRollForwardTo === null) {
    const message = `${state.model} ${state.live.version} was not rolled back to`;
    throw deliveryErrors.error("nothing_to_roll_forward", message, { place: state.model });
  }
  return deployRow(state, state.canRollForwardTo, "rollforward", at);
}

function neverDeployed(model: string) {
  return deliveryErrors.error("never_deployed", `no package of ${model} was ever promoted here`, { place: model });
}

function deployRow(state: ModelDeployments, to: Deployed, reason: Deployment["reason"], at: Micros): Row {
  const deployment: Deployment = {
    model: state.model,
    role: "live",
    digest: to.digest,
    version: to.version,
    previous: state.live?.digest ?? null,
    reason,
  };
  return { kind: "deploy", subject: state.model, body: JSON.stringify(deployment), at };
}

type Core = Pick<ModelDeployments, "model" | "shadow" | "succession" | "pointer" | "history">;

function stateOf({ model, shadow, succession, pointer, history }: Core): ModelDeployments {
  return {
    model,
    live: succession[pointer] ?? null,
    canRollBackTo: succession[pointer - 1] ?? null,
    canRollForwardTo: succession[pointer + 1] ?? null,
    shadow,
    succession,
    pointer,
    history,
  };
}
