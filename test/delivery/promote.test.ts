import { expect, test } from "bun:test";
import { errorTable } from "../../src/base/errors.ts";
import { seededRandom } from "../../src/base/random.ts";
import type { Row } from "../../src/base/row.ts";
import { rowsOf } from "../../src/contract/batch.ts";
import { CONTROL, VERDICTS } from "../../src/contract/streams.ts";
import type { LabelledScore } from "../../src/delivery/gates.ts";
import { type Candidate, flip, type PromoteOptions, promote, readDeployments } from "../../src/delivery/promote.ts";
import { generateSigningKey, signPackage } from "../../src/delivery/sign.ts";
import { MemoryStore } from "../support/memory_store.ts";

const key = generateSigningKey(seededRandom(3));
const clock = { now: () => 1_000_000 };
const digestOf = (name: string) => `sha256:${Buffer.from(name).toString("hex").padEnd(64, "0")}`;
const gate = { metric: "auc", margin: 0.01, min_labelled: 10 } as const;

const candidateOf = (version: string): Candidate => {
  const digest = digestOf(version);
  return { model: "delay", digest, version, signature: signPackage(digest, key.privatePem), gate };
};

/** Twenty rows whose label is known; the live model orders them rightly. */
const stored: LabelledScore[] = Array.from({ length: 20 }, (_, i) => ({
  features: { i },
  label: i < 10 ? 0 : 1,
  liveScore: i / 20,
}));

function optionsOf(store: MemoryStore, version: string, over: Partial<PromoteOptions> = {}): PromoteOptions {
  return {
    store,
    clock,
    candidate: candidateOf(version),
    trusted: [key.publicPem],
    runGolden: async () => ({ results: [{ line: 1, expected: 0.5, actual: 0.5 }], atol: 1e-6, rtol: 1e-5 }),
    storedScores: async () => stored,
    scoreCandidate: async (rows) => rows.map((row) => (row.i as number) / 20),
    ...over,
  };
}

async function rowsIn(store: MemoryStore, stream: string): Promise<Row[]> {
  const rows: Row[] = [];
  for await (const part of store.scan(stream)) rows.push(...rowsOf(part.batch));
  return rows;
}

const never = async (): Promise<never> => {
  throw new Error("must not be called");
};

test("the first promotion skips regression and says why; the second compares; flips go back and forth", async () => {
  const store = new MemoryStore(clock);
  const first = await promote(optionsOf(store, "1.0.0", { storedScores: never }));
  expect(first).toMatchObject({ promoted: true, live: { version: "1.0.0" } });
  expect(first.verdicts.map(({ gate: name, outcome }) => [name, outcome])).toEqual([
    ["smoke", "pass"],
    ["regression", "skipped"],
  ]);
  const second = await promote(optionsOf(store, "2.0.0"));
  expect(second.promoted).toBe(true);
  expect(second.verdicts[1]).toMatchObject({ outcome: "pass", figures: { live: 1, candidate: 1, labelled: 20 } });

  const back = await flip({ store, clock, model: "delay", direction: "rollback" });
  expect([back.from.version, back.to.version]).toEqual(["2.0.0", "1.0.0"]);
  expect((await readDeployments(store)).get("delay")?.live?.version).toBe("1.0.0");
  await flip({ store, clock, model: "delay", direction: "rollforward" });
  expect((await readDeployments(store)).get("delay")?.live?.version).toBe("2.0.0");
  expect(await rowsIn(store, CONTROL)).toHaveLength(4);
  const outcomes = (await rowsIn(store, VERDICTS)).map((row) => `${row.kind} ${row.outcome}`);
  expect(outcomes).toEqual([
    "smoke pass",
    "regression skipped",
    "promotion pass",
    "smoke pass",
    "regression pass",
    "promotion pass",
    "promotion pass",
    "promotion pass",
  ]);
});

test("verdicts and the deploy row are one commit", async () => {
  const store = new MemoryStore(clock);
  const { commitNo } = await promote(optionsOf(store, "1.0.0"));
  expect((await store.head()).commitNo).toBe(commitNo);
  const page = await store.tail(commitNo - 1, [CONTROL, VERDICTS]);
  expect(page.rows.map(({ stream }) => stream).sort()).toEqual([CONTROL, VERDICTS]);
});

test("a worse candidate is refused with the figures, the live one stays, and the refusal is a committed verdict", async () => {
  const store = new MemoryStore(clock);
  await promote(optionsOf(store, "1.0.0"));
  const worse = optionsOf(store, "2.1.0", { scoreCandidate: async (rows) => rows.map((row) => -(row.i as number)) });
  const result = await promote(worse);
  expect(result).toMatchObject({
    promoted: false,
    live: { version: "1.0.0" },
    refused: { code: "delivery.regression_failed", figures: { live: 1, candidate: 0, margin: 0.01 } },
  });
  expect((await readDeployments(store)).get("delay")?.live?.version).toBe("1.0.0");
  const last = (await rowsIn(store, VERDICTS)).at(-1)!;
  expect(last).toMatchObject({ kind: "promotion", outcome: "fail", name: digestOf("2.1.0") });
  expect(JSON.parse(last.detail as string)).toMatchObject({
    refused: { code: "delivery.regression_failed", figures: { live: 1, candidate: 0 } },
  });
});

const badSignatures: readonly (readonly [string, Partial<PromoteOptions>])[] = [
  ["delivery.unsigned", { candidate: { ...candidateOf("1.0.0"), signature: null } }],
  ["delivery.wrong_digest", { candidate: { ...candidateOf("1.0.0"), digest: digestOf("changed") } }],
  ["delivery.untrusted_signer", { trusted: [generateSigningKey(seededRandom(4)).publicPem] }],
  ["delivery.bad_signature", { candidate: { ...candidateOf("1.0.0"), signature: "{}" } }],
];

test.each(badSignatures)("%s: refused before the model is loaded, and recorded", async (code, over) => {
  const store = new MemoryStore(clock);
  const options = optionsOf(store, "1.0.0", { runGolden: never, storedScores: never, scoreCandidate: never, ...over });
  const result = await promote(options);
  expect(result).toMatchObject({ promoted: false, live: null, verdicts: [], refused: { code } });
  const recorded = await rowsIn(store, VERDICTS);
  expect(recorded).toHaveLength(1);
  expect(recorded[0]).toMatchObject({ kind: "promotion", outcome: "fail" });
  expect(await rowsIn(store, CONTROL)).toEqual([]);
});

test("a candidate that does not load, or fails golden rows, is refused without a regression", async () => {
  const store = new MemoryStore(clock);
  const table = errorTable("sample", { broken: { kind: "invalid", meaning: "", fix: "" } });
  const unloadable = optionsOf(store, "1.0.0", {
    storedScores: never,
    runGolden: async () => {
      throw table.error("broken", "the graph has no output");
    },
  });
  expect((await promote(unloadable)).refused).toMatchObject({
    code: "delivery.smoke_failed",
    reason: "the candidate does not load: the graph has no output",
    figures: { error: "sample.broken" },
  });
  const wrong = async () => ({ results: [{ line: 1, expected: 0.5, actual: 0.6 }], atol: 1e-6, rtol: 1e-5 });
  expect((await promote(optionsOf(store, "1.0.0", { runGolden: wrong }))).refused?.code).toBe("delivery.smoke_failed");
});

test("a broken invariant while loading is not taken for a verdict, and nothing is committed", async () => {
  const store = new MemoryStore(clock);
  await expect(promote(optionsOf(store, "1.0.0", { runGolden: never }))).rejects.toThrow("must not be called");
  expect((await store.head()).commitNo).toBe(0);
});

test("too few labels refuse, unless that is accepted, which is recorded", async () => {
  const store = new MemoryStore(clock);
  await promote(optionsOf(store, "1.0.0"));
  const few = { storedScores: async () => stored.slice(5, 12) };
  expect((await promote(optionsOf(store, "2.0.0", few))).refused).toMatchObject({
    code: "delivery.regression_inconclusive",
    figures: { labelled: 7, min_labelled: 10 },
  });
  const accepted = await promote(optionsOf(store, "2.0.0", { ...few, acceptInconclusive: true }));
  expect(accepted.promoted).toBe(true);
  const last = (await rowsIn(store, VERDICTS)).at(-1)!;
  expect(JSON.parse(last.detail as string).inconclusive_accepted).toBe(true);
});

test("promoting what is live is a conflict", async () => {
  const store = new MemoryStore(clock);
  await promote(optionsOf(store, "1.0.0"));
  await expect(promote(optionsOf(store, "1.0.0"))).rejects.toMatchObject({ code: "delivery.already_live" });
});

test("of two promotions at once one wins and the other is told; the fold stays sound", async () => {
  const store = new MemoryStore(clock);
  const results = await Promise.allSettled(["1.0.0", "2.0.0"].map((version) => promote(optionsOf(store, version))));
  expect(results.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
  const lost = results.find((result) => result.status === "rejected");
  expect(lost?.reason).toMatchObject({ code: "store.stale_writer" });
  expect((await readDeployments(store)).get("delay")?.history).toHaveLength(1);
});
