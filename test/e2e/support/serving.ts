/** `mlpe run` over HTTP: the tests of it, as `binary.e2e.ts` registers them. */

import { expect, test } from "bun:test";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { median } from "../../../scripts/bench/bench.ts";
import { systemClock } from "../../../src/base/clock.ts";
import { systemRandom } from "../../../src/base/random.ts";
import type { Row } from "../../../src/base/row.ts";
import { batchOf, rowAt } from "../../../src/contract/batch.ts";
import { openStore } from "../../../src/store/store.ts";
import { makeNewcomerHome } from "../newcomer.ts";
import type { House } from "./demo.ts";
import { type Flight, flightsOf, tableOf } from "./flights.ts";
import { lineageJudge } from "./openlineage.ts";
import { type Answer, keyed, on, ROOT, type Server, until } from "./program.ts";
import { type ConfigText, copyOf, exampleConfig, load, parseMetrics, place } from "./project.ts";
import { freePort, receiver } from "./receivers.ts";

const MODEL = "flight_delay";
const HOUR_MS = 3_600_000;
const MINUTE_MS = 60_000;

interface Manifest {
  readonly version: string;
  readonly inputs: readonly { name: string; datatype: string; features: readonly { name: string }[] }[];
}

/** The request of the Open Inference Protocol that one row of features makes. */
function tensorsOf(manifest: Manifest, features: Readonly<Record<string, unknown>>): object {
  const inputs = manifest.inputs.map(({ name, datatype, features: columns }) => {
    const data = columns.map((column) => features[column.name]);
    return { name, datatype, shape: [1, columns.length], data };
  });
  return { id: "one", inputs };
}

const askedAnHourBefore = ({ scheduled }: Flight) => new Date(Date.parse(scheduled) - HOUR_MS).toISOString();

export function serveTests(house: House): void {
  const { program } = house;
  const package_ = (name: string): Promise<Manifest> => Bun.file(`${ROOT}/models/${name}/model.json`).json();

  test("a server answers scores of entities and rows and the inference protocol, the same after a restart", async () => {
    const project = await copyOf((await house.demo()).placed, house.room("serve"));
    const manifest = await package_(MODEL);
    let server = await program.serve(project);
    expect((await server.get(`/v2/models/${MODEL}`)).body).toMatchObject({ name: MODEL, versions: [manifest.version] });
    expect((await server.get(`/v2/models/${MODEL}/versions/${manifest.version}/ready`)).status).toBe(200);
    const full = await fullyKnown(server);
    const inferred = await server.post(`/v2/models/${MODEL}/infer`, tensorsOf(manifest, full.features));
    expect(inferred.status).toBe(200);
    const outputs = Object.fromEntries(
      inferred.body.outputs.map((output: { name: string; data: unknown }) => [output.name, output.data]),
    );
    for (const [name, value] of Object.entries(full.outputs)) expect([value].flat()).toEqual(outputs[name]);
    // An entity asked now: what was known in 2013 is too old for the windows, and the age is told.
    const [flight] = flightsOf("2013-12", 1) as [Flight];
    const asked = { id: "now-1", entities: [flight] };
    const now = await server.post(`/v1/score/${MODEL}`, asked);
    expect(now).toMatchObject({
      status: 200,
      body: { repeated: false, results: [{ hindsight: true, keys: { flight: flight.flight } }] }, // it has departed
    });
    const rows = { id: "rows-1", at: "2013-11-05T10:00:00Z", rows: [spineRow("2013-11-05T11:30:00Z", 9_999)] };
    const scoredRow = await server.post(`/v1/score/${MODEL}`, rows);
    expect(scoredRow).toMatchObject({
      status: 200,
      body: { results: [{ score: expect.any(Number), hindsight: true }] },
    });
    const part = await server.post(`/v1/score/${MODEL}`, { entities: [flight, { ...flight, flight: 77_777 }] });
    expect(part.body.results).toMatchObject([
      { score: expect.any(Number) },
      { error: { code: "request.unknown_entity" } },
    ]);
    await server.stop();

    server = await program.serve(project);
    const again = async (body: object, was: Answer) => {
      const answer = await server.post(`/v1/score/${MODEL}`, body);
      expect(answer).toMatchObject({ status: 200, body: { repeated: true } });
      expect(answer.body.results).toEqual(was.body.results);
    };
    for (let times = 0; times < 2; times++) {
      await again(asked, now);
      await again(rows, scoredRow);
    }
    const other = await server.post(`/v1/score/${MODEL}`, { ...asked, entities: [flight, flight] });
    expect(other).toMatchObject({ status: 409, body: { error: { code: "scoring.request_conflict" } } });
    const ids: string[] = [full, now.body.results[0], scoredRow.body.results[0]].map(({ score_id }) => score_id);
    const found = await Promise.all(ids.map((id) => server.get(`/v1/scores/${id}`)));
    expect(found.map(({ body }) => body)).toEqual([full, now.body.results[0], scoredRow.body.results[0]]);
    expect(await server.get("/v1/scores/0190a000-0000-7000-8000-000000000000")).toMatchObject({
      status: 404,
      body: { error: { code: "runtime.unknown_score" } },
    });
    expect(await server.stop()).toBe(0);
    const replayed = await program.run(["replay", ...ids, ...on(project)], keyed(project));
    expect(replayed.code).toBe(0);
    expect(replayed.json<{ replays: object[] }>().replays).toMatchObject(
      ids.map((id) => ({ score_id: id, equal: true, differs: [] })),
    );
  });

  /** A stored flight asked in time, with all of its features known: its result. */
  async function fullyKnown(server: Server) {
    for (const flight of flightsOf("2013-12", 50)) {
      const { status, body } = await server.post(`/v1/score/${MODEL}`, {
        at: askedAnHourBefore(flight),
        entities: [flight],
      });
      expect(status).toBe(200);
      if (!Object.values(body.results[0].features).includes(null)) return body.results[0];
    }
    throw new Error("none of 50 flights has all of its features");
  }

  test("rows are pushed, fused and scored on schedule; labels, an alert and lineage reach their receivers", async () => {
    const { placed, finishedAt } = await house.demo();
    const webhook = receiver();
    const lineagePort = await freePort();
    const project = place(house.room("live"), await liveConfig(webhook.port, lineagePort), placed);
    const judge = await lineageJudge();
    const server = await program.serve(project);
    const before = parseMetrics((await server.get("/metrics")).text);
    const scores = `mlpe_scores_total{model="${MODEL}"}`;
    expect(before.get(scores)).toBeGreaterThan(160_000);
    expect(before.get("mlpe_ready")).toBe(1);

    // Rows asked for (T) in this minute, or the next where the demo was only now.
    const thisMinute = Math.floor(Date.now() / MINUTE_MS) * MINUTE_MS;
    const asOf = thisMinute < finishedAt - 15_000 ? thisMinute + MINUTE_MS : thisMinute;
    const scheduled = new Date(Math.max(asOf, thisMinute) + HOUR_MS).toISOString();
    const pushed = [1, 2, 3].map((n) => pushRow(scheduled, 9_000 + n, null));
    const push = (rows: unknown, key: string) => server.post("/v1/sources/live/rows", rows, { "idempotency-key": key });
    const first = await push(pushed, "push-1");
    expect(first).toMatchObject({ status: 200, body: { repeated: false } });
    expect(await push(pushed, "push-1")).toMatchObject({ status: 200, body: { repeated: true } });
    expect(await push(pushed.slice(1), "push-1")).toMatchObject({
      status: 409,
      body: { error: { code: "connectors.key_conflict" } },
    });
    expect((await push([{ ...pushed[0], flight: "seven" }], "push-2")).status).toBe(200);

    await until("the alert is told", 30_000, () =>
      webhook.received.find(({ body }) => body.commonLabels.alertname === "pushed"),
    );
    const drifted = await until("the drift is told", 30_000, () =>
      webhook.received.find(({ body }) => body.commonLabels.alertname === "drifted"),
    );
    expect(drifted.body).toMatchObject({
      version: "4",
      status: "firing",
      alerts: [{ labels: { severity: "warn", site: "ewr-01" } }],
    });

    await labelsChange(server);
    await until("lineage is refused", 30_000, () =>
      server.log.some((line) => line.includes("lineage not delivered")) ? true : undefined,
    );
    const lineage = receiver(lineagePort);
    await until("the pushed rows are scored on schedule", 200_000, async () => {
      const metrics = parseMetrics((await server.get("/metrics")).text);
      return metrics.get(scores)! >= before.get(scores)! + 1 + pushed.length ? true : undefined;
    });
    const after = parseMetrics((await server.get("/metrics")).text);
    expect(after.get('mlpe_ingested_rows_total{source="live",dataset="schedule",outcome="curated"}')).toBe(3);
    expect(after.get('mlpe_ingested_rows_total{source="live",dataset="schedule",outcome="quarantined"}')).toBe(1);
    await until("the lineage of those scores arrived", 60_000, () =>
      lineage.received.filter(({ body }) => body.job.name === `score.${MODEL}` && body.eventType === "COMPLETE")
        .length >= 2 && lineage.received.some(({ body }) => body.job.name === "ingest.live")
        ? true
        : undefined,
    );
    expect(await server.stop()).toBe(0);
    await Promise.all([webhook.stop(), lineage.stop()]);
    expect(lineage.received.flatMap(({ body }) => judge(body))).toEqual([]);
    expect(new Set(lineage.received.map(({ path }) => path))).toEqual(new Set(["/api/v1/lineage"]));
    const query = async (sql: string) =>
      (await program.run(["query", sql, ...on(project)], keyed(project))).json<{ rows: string[][] }>().rows;
    const stored = await query("select event from lineage_versions order by _sequence");
    const posted = lineage.received.map(({ body }) => body);
    expect(posted.length).toBeGreaterThan(130);
    expect(posted).toEqual(stored.slice(0, posted.length).map(([event]) => JSON.parse(event!)));
    const scored = await query(
      `select key_flight, mode, blocked from "scores/${MODEL}" where key_flight > 9000 and mode = 'batch' order by key_flight`,
    );
    expect(scored.map(([flight]) => Number(flight))).toEqual([9_001, 9_002, 9_003]);

    const restarted = await program.serve(project);
    const repeated = await restarted.post("/v1/sources/live/rows", pushed, { "idempotency-key": "push-1" });
    expect(repeated).toMatchObject({ status: 200, body: { ...first.body, repeated: true } });
    expect(await restarted.stop()).toBe(0);
  });

  /** Labels by score id and by keys, and that realised performance counts them. */
  async function labelsChange(server: Server): Promise<void> {
    const labelled = async () => (await server.get(`/v1/models/${MODEL}/performance`)).body.overall.labelled as number;
    const was = await labelled();
    const cancelled = tableOf("flights").find((row) => row.time_hour!.startsWith("2013-11") && row.dep_time === "NA")!;
    const scheduled = new Date(Date.parse(cancelled.time_hour!) + Number(cancelled.minute) * MINUTE_MS).toISOString();
    const keys = { carrier: cancelled.carrier, flight: Number(cancelled.flight), scheduled };
    // A flight that the airport knows nothing of: the score of one that has departed is hindsight, and not counted.
    const online = await server.post(`/v1/score/${MODEL}`, { rows: [spineRow("2013-12-05T11:30:00Z", 9_998)] });
    const scoreId = online.body.results[0].score_id;
    const sent = await server.post(`/v1/labels/${MODEL}`, {
      labels: [{ score_id: scoreId, label: true }, { label: 1 }],
    });
    expect(sent.body).toMatchObject({ accepted: 1, problems: [{ place: "labels[1]" }] });
    const one = await labelled();
    expect(one).toBe(was + 1);
    expect(
      (await server.post(`/v1/labels/${MODEL}`, [{ keys, label: true, time: "2013-11-09T00:00:00Z" }])).body,
    ).toMatchObject({ accepted: 1 });
    // It never left: nobody but the API could say. Of the packages that scored it, the live one's score counts.
    expect(await labelled()).toBe(one + 1);
  }

  // Resident memory rises with the first thousands of requests, which are remembered, and swings by 100 to 150 MiB afterwards,
  // with flips and without: heaps are collected when they have grown. So stretches of flips are compared, after the rise.
  const WARM_REQUESTS = 5_000;
  const FLIPS = 20;
  const COMPARED_FLIPS = 7;

  test("rollback and rollforward under load fail no request", async () => {
    const project = await copyOf((await house.demo()).placed, house.room("flip"));
    const server = await program.serve(project);
    const running = load(server, 8);
    await until("the load is warm", 180_000, () => running.acknowledged.length > WARM_REQUESTS || undefined);
    const resident = async () => parseMetrics((await server.get("/metrics")).text).get("mlpe_resident_memory_bytes")!;
    const seen: number[] = [];
    for (let flip = 0; flip < FLIPS; flip++) {
      const ran = await program.run(
        [flip % 2 === 0 ? "rollback" : "rollforward", MODEL, ...on(project)],
        keyed(project),
      );
      expect({ flip, code: ran.code, errors: ran.errors }).toEqual({ flip, code: 0, errors: "" });
      seen.push(await resident());
    }
    await running.stop();
    expect(running.failures).toEqual([]);
    const digests = new Map<string, number>();
    for (const { digest } of running.acknowledged) digests.set(digest, (digests.get(digest) ?? 0) + 1);
    expect(digests.size).toBe(2);
    expect(Math.min(...digests.values())).toBeGreaterThan(20);
    const [first, last] = [seen.slice(0, COMPARED_FLIPS), seen.slice(-COMPARED_FLIPS)].map(median);
    expect(last! - first!).toBeLessThan(300 << 20);
    expect((await server.get("/v1/models")).body).toMatchObject([
      { name: MODEL, live: { version: "2.0.0" }, rollback: { version: "1.0.0" } },
    ]);
    expect(await server.stop()).toBe(0);
  });

  test("an entity is erased and keys are rotated while a server takes rows: none is lost, and nothing of it is left", async () => {
    const { directory } = makeNewcomerHome(new Uint8Array());
    try {
      const [pump, other] = ["0016", "0017"];
      const config = join(directory, "mlpe.yaml");
      const [text] = readFileSync(config, "utf8").split("trust:") as [string]; // without the model, which is not made here
      const pushed = "sources:\n  pushed: { connector: http_push, dataset: readings }\n";
      writeFileSync(config, text.replace("sources:\n", pushed));
      const project = { config, data: join(directory, "data"), key: join(directory, "e2e.key") };
      for (const [name, rows] of [
        ["readings", "160"],
        ["failures", "100"],
      ]) {
        const words = ["contract", "infer", `${name}.csv`, "--out", `${name}.avsc`, "--rows", rows!];
        expect((await program.run(words, { from: directory })).errors).toBe("");
      }
      const server = await program.serve(project);
      const rows = async () => (await fetch(`${server.url}/v1/streams/curated/readings/rows?limit=all`)).text();
      await until("the file is ingested", MINUTE_MS, async () => (await rows()).includes(`"${pump}"`) || undefined);
      const values = { site: "Quarry", "flow (l/s)": 1, heat: 1, noise: 1, wear: 1 };
      let [stop, taken] = [false, 0];
      const pushing = (async () => {
        for (let i = 0; !stop; i++) {
          const at = new Date(Date.UTC(2024, 5, 1) + i * 1_000).toISOString();
          const sent = [pump, other].map((name) => ({ ...values, "Pump No.": name, "read at": at }));
          const answer = await server.post("/v1/sources/pushed/rows", sent, { "idempotency-key": `push-${i}` });
          expect([answer.status, answer.text]).toEqual([200, answer.text]);
          taken++;
        }
      })();
      const command = async (...words: string[]) => {
        const ran = await program.run([...words, ...on(project)], keyed(project));
        expect(ran.errors).toBe("");
        return ran.json<Record<string, unknown>>();
      };
      const receipt = await command("erase", "--entity", `Pump_No=${pump}`);
      expect(receipt.streams).toMatchObject({ "curated/readings": {}, "landing/readings": {} });
      const before = taken;
      expect(await command("keys", "rotate")).toMatchObject({ key_id: 2, retired: [1] });
      stop = true;
      await pushing;
      expect(taken).toBeGreaterThan(before);
      const left = (await rows()).trim().split("\n");
      const stored = left.filter((line) => line.includes('"2024-06-') && line.includes('"_tombstone":false'));
      expect([left.filter((line) => line.includes(`"${pump}"`)), stored.length]).toEqual([[], taken]);
      expect(await server.stop()).toBe(0);
      expect(await command("audit", "verify")).toMatchObject({ verified: true, problems: [] });
      expect(await command("ledger", "verify")).toMatchObject({ ok: true });
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });

  test("a replay names the feature that was altered", async () => {
    const project = await copyOf((await house.demo()).placed, house.room("replay"));
    const { unchanged, altered } = await alterOneFeature(project);
    const replay = (id: string) => program.run(["replay", id, ...on(project)], keyed(project));
    const fine = await replay(unchanged);
    expect(fine.json()).toMatchObject({ equal: true });
    expect(fine.code).toBe(0);
    const found = await replay(altered);
    expect(found.code).toBe(1);
    const { replays } = found.json<{ replays: { equal: boolean; differs: { factor: string; name: string }[] }[] }>();
    expect(replays[0]!.equal).toBe(false);
    expect(replays[0]!.differs.filter(({ factor }) => factor === "feature")).toMatchObject([
      { name: "origin_delay_3h" },
    ]);
  });
}

/**
 * Does what no command can: with the key, appends another version of a stored feature row, one value of which differs,
 * and after it the score that was made of the true one, under a new id.
 */
async function alterOneFeature(project: {
  data: string;
  key: string;
}): Promise<{ unchanged: string; altered: string }> {
  const store = await openStore({
    directory: project.data,
    keys: { provider: "file", path: project.key },
    clock: systemClock,
    random: systemRandom,
  });
  try {
    const scores = `scores/${MODEL}`;
    const features = `features/${MODEL}`;
    for await (const { batch } of store.scan(scores)) {
      for (let i = 0; i < batch.length; i++) {
        const score = rowAt(batch, i);
        if (score.mode !== "batch" || score.origin_delay_3h === null) continue;
        const at = score.as_of as number;
        const keys = ["key_carrier", "key_flight", "key_scheduled", "position"];
        for await (const stored of store.scan(features, { from: at, to: at })) {
          const rows = Array.from({ length: stored.batch.length }, (_, index) => rowAt(stored.batch, index));
          const row = rows.find((one) => keys.every((name) => one[name] === score[name]));
          if (!row) continue;
          const other: Row = { ...row, origin_delay_3h: (row.origin_delay_3h as number) + 0.5 };
          await store.commit({ appends: [{ stream: features, batch: batchOf(stored.batch.contract, [other]) }] });
          const altered = "0190a000-0000-7000-8000-00000000a17e";
          await store.commit({
            appends: [{ stream: scores, batch: batchOf(batch.contract, [{ ...score, score_id: altered }]) }],
          });
          return { unchanged: score.score_id as string, altered };
        }
      }
    }
    throw new Error("there is no score made in batch");
  } finally {
    await store.close();
  }
}

/** The example with a source to push to, fast schedules, and receivers for alerts and lineage. */
async function liveConfig(webhookPort: number, lineagePort: number): Promise<ConfigText> {
  const config = await exampleConfig();
  config.sources.live = {
    connector: "http_push",
    idle_after: "1s",
    routes: { schedule: {}, departures: { where: "dep_delay is not null", otherwise: "drop: not_departed" } },
  };
  config.schedules = { often: { cron: "* * * * *", score: MODEL } };
  config.alerts = {
    drifted: { when: "drift_verdict = 'drift'", for: "1s", severity: "warn", to: "ops" },
    pushed: { when: "mlpe_ingested_rows_total__source_live > 0", for: "0s", severity: "info", to: "ops" },
  };
  config.notify = { ops: { webhook: `http://127.0.0.1:${webhookPort}/hook` } };
  config.lineage = { openlineage: `http://127.0.0.1:${lineagePort}` };
  return config;
}

/** A flight as its source sends it. */
function pushRow(scheduled: string, flight: number, delay: number | null): Readonly<Record<string, unknown>> {
  const at = new Date(scheduled);
  const hour = new Date(Math.floor(at.getTime() / HOUR_MS) * HOUR_MS).toISOString();
  const route = { carrier: "UA", flight, tailnum: "N14228", origin: "EWR", dest: "IAH", distance: 1400 };
  return { ...route, time_hour: hour, minute: at.getUTCMinutes(), dep_delay: delay };
}

/** A flight as a row of the view's spine. */
function spineRow(scheduled: string, flight: number): Readonly<Record<string, unknown>> {
  const { dep_delay: _, ...row } = pushRow(scheduled, flight, null);
  return { ...row, scheduled };
}
