import { expect, test } from "bun:test";
import { seededRandom } from "../../src/base/random.ts";
import {
  attestation,
  DEFAULT_GATE,
  type Gate,
  gateVerdictRow,
  type LabelledScore,
  regression,
  regressionSkipped,
  smoke,
} from "../../src/delivery/gates.ts";

const tolerance = { atol: 1e-6, rtol: 1e-5 };
const gate: Gate = { metric: "auc", margin: 0.01, min_labelled: 100 };

/** `count` labelled rows: the live score is the truth plus noise, and the candidate's noise is `noise` times as big. */
function history(count: number, noise: number): { stored: LabelledScore[]; candidateScores: number[] } {
  const random = seededRandom(7);
  const stored: LabelledScore[] = [];
  const candidateScores: number[] = [];
  for (let i = 0; i < count; i++) {
    const label = random.next() < 0.3 ? 1 : 0;
    const wobble = random.next() - 0.5;
    stored.push({ features: { i }, label, liveScore: 0.5 + 0.2 * (label - 0.5) + 0.3 * wobble });
    candidateScores.push(0.5 + 0.2 * (label - 0.5) + 0.3 * noise * wobble);
  }
  return { stored, candidateScores };
}

test("smoke passes within the tolerance, fails outside it, on NaN and on no score", () => {
  const good = { line: 1, expected: 0.5, actual: 0.500001 };
  expect(smoke([good], tolerance).outcome).toBe("pass");
  expect(smoke([good, { line: 2, expected: 0.5, actual: 0.5001 }], tolerance)).toMatchObject({
    outcome: "fail",
    reason: "1 of 2 golden rows differ; line 2: gives 0.5001 instead of 0.5",
  });
  expect(smoke([{ line: 1, expected: 0.5, actual: Number.NaN }], tolerance).outcome).toBe("fail");
  expect(smoke([{ line: 1, expected: 0.5, actual: null, error: "no such input" }], tolerance)).toMatchObject({
    outcome: "fail",
    reason: "1 of 1 golden rows differ; line 1: no such input",
  });
  expect(smoke([], tolerance).outcome).toBe("warn");
});

test("regression passes a better and an equal candidate", () => {
  expect(regression({ ...history(400, 0.5), gate }).outcome).toBe("pass");
  const equal = regression({ ...history(400, 1), gate: { ...gate, margin: 0 } });
  expect(equal).toMatchObject({ outcome: "pass", figures: { difference: 0, labelled: 400 } });
});

test("regression fails a worse candidate and says the figures", () => {
  const verdict = regression({ ...history(400, 4), gate });
  expect(verdict.outcome).toBe("fail");
  const { live, candidate } = verdict.figures as { live: number; candidate: number };
  expect(candidate).toBeLessThan(live - gate.margin);
  expect(verdict.reason).toContain(`auc ${candidate.toFixed(4)} against ${live.toFixed(4)}`);
  expect(verdict.reason).toContain("more than the margin 0.01");
});

test("brier is judged the other way round", () => {
  const brierGate: Gate = { metric: "brier", margin: 0.001, min_labelled: 100 };
  expect(regression({ ...history(400, 4), gate: brierGate }).outcome).toBe("fail");
  expect(regression({ ...history(400, 0.5), gate: brierGate }).outcome).toBe("pass");
});

test("regression is inconclusive on few rows and on one class", () => {
  expect(regression({ ...history(99, 1), gate }).outcome).toBe("inconclusive");
  const { stored, candidateScores } = history(200, 1);
  const oneClass = stored.map((row) => ({ ...row, label: 0 }));
  expect(regression({ stored: oneClass, candidateScores, gate }).outcome).toBe("inconclusive");
});

test("a row the candidate can't score is a failure, whatever the rest says", () => {
  const { stored, candidateScores } = history(400, 0.5);
  const holed = candidateScores.map((score, index) => (index === 5 ? null : score));
  expect(regression({ stored, candidateScores: holed, gate })).toMatchObject({
    outcome: "fail",
    figures: { unscored: 1 },
  });
});

test("a verdict row carries the figures and an in-toto test result", () => {
  const subject = { model: "m", digest: `sha256:${"0".repeat(64)}`, version: "2.0.0" };
  const verdict = regression({ ...history(400, 4), gate });
  const row = gateVerdictRow(verdict, subject, gate, 9);
  expect(row).toMatchObject({
    kind: "regression",
    subject: "m",
    outcome: "fail",
    at: 9,
    value: verdict.figures.candidate,
  });
  const detail = JSON.parse(row.detail as string);
  expect(detail.figures.live).toBe(verdict.figures.live);
  expect(detail.attestation.predicateType).toBe("https://in-toto.io/attestation/test-result/v0.1");
  expect(detail.attestation.subject).toEqual([{ name: "m", digest: { sha256: "0".repeat(64) } }]);
  expect(detail.attestation.predicate).toMatchObject({
    result: "FAILED",
    failedTests: ["regression"],
    passedTests: [],
  });
});

test("skipped and inconclusive are warnings in the attestation, a pass is a pass", () => {
  const subject = { model: "m", digest: `sha256:${"0".repeat(64)}`, version: "1" };
  const resultOf = (verdict: Parameters<typeof attestation>[0]) =>
    (attestation(verdict, subject, DEFAULT_GATE).predicate as { result: string }).result;
  expect(resultOf(regressionSkipped("m"))).toBe("WARNED");
  expect(resultOf(regression({ ...history(10, 1), gate }))).toBe("WARNED");
  expect(resultOf(smoke([{ line: 1, expected: 1, actual: 1 }], tolerance))).toBe("PASSED");
});
