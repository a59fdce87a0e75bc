import type { Clock } from "../base/clock.ts";
import { canonicalJson } from "../base/digest.ts";
import { MlpeError } from "../base/errors.ts";
import type { Row } from "../base/row.ts";
import type { Micros } from "../base/time.ts";
import { batchOf, rowAt } from "../contract/batch.ts";
import type { GoldenResult } from "../contract/model_package.ts";
import { CONTROL, controlContract, VERDICTS, verdictContract } from "../contract/streams.ts";
import type { Store } from "../store/port.ts";
import {
  type Deployed,
  type Deployments,
  foldDeployments,
  type ModelDeployments,
  noDeployments,
  promoteRow,
  rollbackRow,
  rollforwardRow,
} from "./deployments.ts";
import { deliveryErrors } from "./errors.ts";
import {
  DEFAULT_GATE,
  type Gate,
  type GateVerdict,
  gateVerdictRow,
  type LabelledScore,
  REGRESSION_ROWS_MAX,
  regression,
  regressionSkipped,
  type Subject,
  smoke,
  smokeNotLoaded,
} from "./gates.ts";
import { verifyPackage } from "./sign.ts";

export interface Candidate extends Subject {
  /** The text of `signature.json`; null where the package has none. */
  readonly signature: string | null;
  /** From the manifest; DEFAULT_GATE where it names none. */
  readonly gate?: Gate | undefined;
}

export interface PromoteOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly candidate: Candidate;
  /** Public keys in PEM. */
  readonly trusted: readonly string[];
  /** Loads the candidate and scores its golden rows. An MlpeError is a failed smoke gate. */
  readonly runGolden: () => Promise<{
    readonly results: readonly GoldenResult[];
    readonly atol: number;
    readonly rtol: number;
  }>;
  /** The newest stored scores of the live package that have labels, at most `limit`; without hindsight or blocked ones. */
  readonly storedScores: (live: Deployed, limit: number) => Promise<readonly LabelledScore[]>;
  /** The candidate's scores of these feature rows, in order; null where it gives none. */
  readonly scoreCandidate: (rows: readonly Row[]) => Promise<readonly (number | null)[]>;
  /** Promote although the regression gate has too few rows to say; the verdict records it. */
  readonly acceptInconclusive?: boolean;
}

export interface Refusal {
  readonly code: string;
  readonly reason: string;
  readonly fix: string;
  readonly figures: GateVerdict["figures"];
}

export interface Promotion {
  readonly promoted: boolean;
  readonly refused?: Refusal;
  readonly verdicts: readonly GateVerdict[];
  /** What is live after it. */
  readonly live: Deployed | null;
  readonly commitNo: number;
}

/** Deployments of every model, folded from the whole control stream. */
export async function readDeployments(store: Store): Promise<Deployments> {
  return (await foldedControl(store)).deployments;
}

/**
 * Signature, smoke, regression, and one commit of the verdicts with the deploy row. A refusal commits its verdicts too
 * and is a value, not an error: the caller shows it. Throws delivery.already_live, bad_key, and store.stale_writer
 * where another deployment of the model was committed meanwhile; nothing is written then.
 */
export async function promote(options: PromoteOptions): Promise<Promotion> {
  const { store, clock, candidate } = options;
  const { state, expected, upTo } = await modelState(store, candidate.model);
  promoteRow(state, candidate, clock.now()); // refuses before any work what is live already
  const verdicts: GateVerdict[] = [];
  let signer: string | null = null;
  let refused: Refusal | undefined;
  try {
    signer = verifyPackage(candidate.digest, candidate.signature, options.trusted).signer;
  } catch (error) {
    if (!(error instanceof MlpeError) || error.kind !== "refused") throw error;
    refused = { code: error.code, reason: error.message, fix: error.fix, figures: {} };
  }
  // An unsigned model is never loaded: it could do harm before any gate looks at its scores.
  if (refused === undefined) refused = await runGates(options, state, verdicts);
  const at = clock.now();
  const gate = candidate.gate ?? DEFAULT_GATE;
  const rows = verdicts.map((verdict) => gateVerdictRow(verdict, candidate, gate, at));
  rows.push(promotionVerdictRow(candidate, signer, refused, verdicts, at));
  const deploy = refused === undefined ? [promoteRow(state, candidate, at)] : [];
  const commitNo = await commitDeployment(store, candidate.model, { verdicts: rows, deploy, expected, upTo });
  if (refused !== undefined) return { promoted: false, refused, verdicts, live: state.live, commitNo };
  return { promoted: true, verdicts, live: { digest: candidate.digest, version: candidate.version }, commitNo };
}

async function runGates(
  options: PromoteOptions,
  state: ModelDeployments,
  verdicts: GateVerdict[],
): Promise<Refusal | undefined> {
  const smoked = await smokeOf(options);
  verdicts.push(smoked);
  if (smoked.outcome === "fail") return refusal("smoke_failed", smoked);
  const compared = await regressionOf(options, state);
  verdicts.push(compared);
  if (compared.outcome === "fail") return refusal("regression_failed", compared);
  if (compared.outcome === "inconclusive" && !options.acceptInconclusive) {
    return refusal("regression_inconclusive", compared);
  }
  return undefined;
}

async function smokeOf({ runGolden }: PromoteOptions): Promise<GateVerdict> {
  try {
    const { results, atol, rtol } = await runGolden();
    return smoke(results, { atol, rtol });
  } catch (error) {
    if (error instanceof MlpeError) return smokeNotLoaded(error.code, error.message);
    throw error;
  }
}

async function regressionOf(options: PromoteOptions, state: ModelDeployments): Promise<GateVerdict> {
  const { candidate } = options;
  if (state.live === null) return regressionSkipped(candidate.model);
  const stored = await options.storedScores(state.live, REGRESSION_ROWS_MAX);
  const candidateScores = await options.scoreCandidate(stored.map((row) => row.features));
  return regression({ stored, candidateScores, gate: candidate.gate ?? DEFAULT_GATE });
}

function refusal(
  name: "smoke_failed" | "regression_failed" | "regression_inconclusive",
  verdict: GateVerdict,
): Refusal {
  const { code, message, fix } = deliveryErrors.problem(name, verdict.reason);
  return { code, reason: message, fix, figures: verdict.figures };
}

function promotionVerdictRow(
  candidate: Candidate,
  signer: string | null,
  refused: Refusal | undefined,
  verdicts: readonly GateVerdict[],
  at: Micros,
): Row {
  const inconclusiveAccepted = refused === undefined && verdicts.some(({ outcome }) => outcome === "inconclusive");
  return {
    kind: "promotion",
    subject: candidate.model,
    name: candidate.digest,
    outcome: refused === undefined ? "pass" : "fail",
    severity: "block",
    value: null,
    detail: canonicalJson({
      version: candidate.version,
      digest: candidate.digest,
      signer,
      inconclusive_accepted: inconclusiveAccepted,
      gates: Object.fromEntries(verdicts.map(({ gate, outcome }) => [gate, outcome])),
      ...(refused === undefined ? {} : { refused }),
    }),
    at,
  };
}

export interface FlipOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly model: string;
  readonly direction: "rollback" | "rollforward";
  /** Looks at what would become live before the pointer moves; where it throws, nothing is written. */
  readonly check?: (to: Deployed, from: Deployed) => Promise<void>;
}

export interface Flipped {
  readonly from: Deployed;
  readonly to: Deployed;
  readonly commitNo: number;
}

/**
 * Rollback or rollforward: one committed pointer flip with its verdict row, that needs no network, no package file and
 * no gate, for the package was live before. Throws the errors of `rollbackRow` and `rollforwardRow`.
 */
export async function flip({ store, clock, model, direction, check }: FlipOptions): Promise<Flipped> {
  const { state, expected, upTo } = await modelState(store, model);
  const at = clock.now();
  const row = direction === "rollback" ? rollbackRow(state, at) : rollforwardRow(state, at);
  const from = state.live!;
  const to = (direction === "rollback" ? state.canRollBackTo : state.canRollForwardTo)!;
  await check?.(to, from);
  const verdict: Row = {
    kind: "promotion",
    subject: model,
    name: direction,
    outcome: "pass",
    severity: "block",
    value: null,
    detail: canonicalJson({ from, to }),
    at,
  };
  const commitNo = await commitDeployment(store, model, { verdicts: [verdict], deploy: [row], expected, upTo });
  return { from, to, commitNo };
}

interface ReadState {
  readonly state: ModelDeployments;
  /** Where the model's deployment reader stood, and the commit this fold covers. */
  readonly expected: number;
  readonly upTo: number;
}

/** A model, and what rollback and rollforward would make live. */
export interface ListedModel {
  readonly name: string;
  readonly live: Deployed | null;
  readonly rollback: Deployed | null;
  readonly rollforward: Deployed | null;
}

export async function listModels(store: Store, names: Iterable<string>): Promise<ListedModel[]> {
  const deployments = await readDeployments(store);
  return [...names].map((name) => {
    const { live, canRollBackTo, canRollForwardTo } = deployments.get(name) ?? noDeployments(name);
    return { name, live, rollback: canRollBackTo, rollforward: canRollForwardTo };
  });
}

const readerOf = (model: string) => `deployments/${model}`;

async function modelState(store: Store, model: string): Promise<ReadState> {
  const expected = await store.position(readerOf(model));
  const { deployments, upTo } = await foldedControl(store);
  return { state: deployments.get(model) ?? noDeployments(model), expected, upTo };
}

async function foldedControl(store: Store): Promise<{ deployments: Deployments; upTo: number }> {
  const { commitNo: upTo } = await store.head();
  const rows: { readonly sequence: number; readonly row: Row }[] = [];
  for await (const stored of store.scan(CONTROL, { upTo })) {
    for (let i = 0; i < stored.batch.length; i++) {
      rows.push({ sequence: stored.sequences[i]!, row: rowAt(stored.batch, i) });
    }
  }
  rows.sort((a, b) => a.sequence - b.sequence); // a scan promises no order
  return { deployments: foldDeployments(rows.map(({ row }) => row)), upTo };
}

interface DeploymentCommit extends Omit<ReadState, "state"> {
  readonly verdicts: readonly Row[];
  readonly deploy: readonly Row[];
}

/** The reader position is what two promotions at once collide on: the second is refused with store.stale_writer. */
async function commitDeployment(store: Store, model: string, commit: DeploymentCommit): Promise<number> {
  const { verdicts, deploy, expected, upTo } = commit;
  const reader = readerOf(model);
  const receipt = await store.commit({
    appends: [
      { stream: VERDICTS, batch: batchOf(verdictContract, verdicts) },
      ...(deploy.length === 0 ? [] : [{ stream: CONTROL, batch: batchOf(controlContract, deploy) }]),
    ],
    readers: { [reader]: Math.max(upTo, 1) }, // never 0, which would mean that nobody came before
    expect: { readers: { [reader]: expected } },
  });
  return receipt.commitNo;
}
