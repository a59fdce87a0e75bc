import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { verifyAudit } from "../../../src/audit/verify.ts";
import { seededRandom } from "../../../src/base/random.ts";
import type { CommitRequest } from "../../../src/store/port.ts";
import { type LogStore, openStore } from "../../../src/store/store.ts";
import { drawFrom } from "../draw.ts";
import { diskOf } from "./disk.ts";
import { after, differences, type Folded, folded } from "./history.ts";
import { falseAlarms, quickPlace } from "./life.ts";
import { requestsFrom } from "./requests.ts";
import { strangeFolds } from "./saved.ts";
import { type Op, type Recording, record } from "./trace.ts";

export interface PowerReport {
  readonly seed: number;
  readonly points: number;
  /** One sentence for each thing that a power cut broke. */
  readonly findings: readonly string[];
  /** What the cuts met, and a digest of all that was found: two runs of one odd seed agree in it. */
  readonly seen: { readonly lostUnacknowledged: number; readonly keptUnacknowledged: number; readonly empty: number };
  readonly digest: string;
  /** What the recorded life did, how often. */
  readonly acts: Recording["acts"];
}

/** Changes what the disk is told, to show that a broken promise is noticed. */
export type Tamper = (ops: readonly Op[]) => readonly Op[];

/** One crash in so many is also gone on with: a commit, a compaction, a reopening. */
const GONE_ON_WITH = 12;
/** One in so many is also looked at by the audit as it was left. */
const LOOKED_AT = 3;
const FINDINGS_MAX = 5;

export const powerCommand = (seed: number, points: number) =>
  `bun scripts/sim.ts --kind store --seed ${seed} --crash-points ${points}`;

/** Every other seed has the log and its compaction in threads of their own, as the program has. */
const inThreads = (seed: number) => seed % 2 === 0;
/** Every third is on a slow disk. */
export const onSlowDisk = (seed: number) => seed % 3 === 0;

/** Records one seeded life of a store, and cuts its power at so many moments, spread over all that it did. */
export async function cutPower(
  seed: number,
  points: number,
  tampers: readonly Tamper[] = [(ops) => ops],
): Promise<PowerReport[]> {
  const home = mkdtempSync(join(quickPlace(), "mlpe-power-"));
  try {
    mkdirSync(join(home, "life"));
    const { ops, ...told } = await record(seed, join(home, "life"), {
      thread: inThreads(seed),
      slow: onSlowDisk(seed),
    });
    const reports: PowerReport[] = [];
    for (const tamper of tampers) reports.push(await cutRecording({ ops: tamper(ops), ...told }, seed, points, home));
    return reports;
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
}

async function cutRecording(
  { ops, ...told }: Recording,
  seed: number,
  points: number,
  home: string,
): Promise<PowerReport> {
  const { history } = told;
  const draw = drawFrom(seed ^ 0x5eed);
  const moments = Array.from({ length: points }, () => draw.integer(0, ops.length)).sort((a, b) => a - b);
  const disk = diskOf();
  const request = requestsFrom(seed + 1, draw);
  const findings: string[] = [];
  const seen = { lostUnacknowledged: 0, keptUnacknowledged: 0, empty: 0 };
  let digest = "";
  let acknowledged = 0;
  let done = 0;
  for (const [point, moment] of moments.entries()) {
    for (; done < moment; done++) {
      const op = ops[done]!;
      disk.apply(op);
      if (op.kind === "acknowledged") acknowledged = Math.max(acknowledged, op.commitNo);
    }
    const image = join(home, "image");
    disk.cut(draw, image);
    const where = `cut ${point} before act ${moment}`;
    try {
      const head = await openImage(
        image,
        told,
        acknowledged,
        point % GONE_ON_WITH === 0 ? request : undefined,
        seed + point,
      );
      digest = Bun.hash(`${digest} ${head}`).toString(36);
      if (head === 0) seen.empty++;
      if (head > acknowledged) seen.keptUnacknowledged++;
      if (head === acknowledged && head < history.length - 1) seen.lostUnacknowledged++;
    } catch (cause) {
      findings.push(`${where}, ${acknowledged} acknowledged: ${(cause as Error).message}`);
    }
    rmSync(image, { recursive: true, force: true });
    if (findings.length >= FINDINGS_MAX) break;
  }
  return { seed, points, findings, seen, digest, acts: told.acts };
}

/** Opens what is left, and throws where it is not a whole beginning of the history with all that was acknowledged. */
async function openImage(
  image: string,
  { history, folds }: Omit<Recording, "ops">,
  acknowledged: number,
  more: (() => CommitRequest) | undefined,
  seed: number,
): Promise<number> {
  let now = 1_800_000_000_000_000;
  const options = {
    directory: join(image, "data"),
    keys: { provider: "file", path: join(image, "key") },
    clock: { now: () => (now += 1_000) },
    random: seededRandom(0x1a6e + seed * 7_919), // another one than that of the life
  };
  const alarms = seed % LOOKED_AT === 0 ? await falseAlarms(options) : [];
  if (alarms.length > 0) throw new Error(alarms.join("; "));
  let store = await openStore(options);
  try {
    const found = await folded(store);
    if (found.commitNo < acknowledged) throw new Error(`only ${found.commitNo} commits are left`);
    const wanted = history[found.commitNo];
    if (!wanted) throw new Error(`there are ${found.commitNo} commits, more than were made`);
    await holds(store, wanted, found);
    const strange = await strangeFolds(store, folds);
    if (strange.length > 0) throw new Error(strange.join("; "));
    if (more) {
      const request = more();
      const next = after(wanted, [], { request, receipt: await store.commit(request) });
      if (seed % 2 === 0) await store.compact();
      await holds(store, next);
      await store.close();
      store = await openStore(options);
      await holds(store, next);
    }
    return found.commitNo;
  } finally {
    await store.close();
  }
}

async function holds(store: LogStore, wanted: Folded, known?: Folded): Promise<void> {
  const found = known ?? (await folded(store));
  const wrong = differences(found, wanted);
  if (wrong.length > 0) throw new Error(`after commit ${found.commitNo} ${wrong.slice(0, 3).join("; ")}`);
  const { problems, size } = await verifyAudit(store);
  if (size !== found.commitNo) throw new Error(`the audit tree has ${size} commits, the log ${found.commitNo}`);
  for (const { place, message } of problems) throw new Error(`audit: ${place}: ${message}`);
}
