import {
  closeSync,
  existsSync,
  fdatasyncSync,
  openSync,
  readFileSync,
  realpathSync,
  statSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { sha256 } from "../base/digest.ts";
import { storeErrors } from "./errors.ts";

/** What stands between a write and the disk, as far as the operating system tells. */
export interface Device {
  /** The type of file system: `ext4`, `tmpfs`, `overlay`, ... */
  readonly fileSystem: string;
  readonly mountOptions: string;
  /** The block device, where there is one: `nvme0n1`. */
  readonly device?: string;
  readonly rotating?: boolean;
  /** `write back` means that the device has a cache that a flush must empty. */
  readonly writeCache?: string;
  /** Whether it takes writes that pass the cache. */
  readonly forcedUnitAccess?: boolean;
}

/** Times of small synced writes, in microseconds. */
export interface SyncTimes {
  readonly writes: number;
  readonly least: number;
  readonly median: number;
  readonly p99: number;
}

/** How far `fsync` can be believed, and why. */
export interface PowerLossVerdict {
  readonly verdict: "no reason for doubt" | "doubtful" | "not kept";
  readonly reasons: readonly string[];
}

const PROBE = "power-loss.probe";
const PROBE_WRITES = 200;
const PROBE_BYTES = 4_096;
/** A flush of flash takes tens of microseconds at the least, one of a turning disk some milliseconds. */
const FLASH_LEAST_MICROS = 15;
const ROTATING_LEAST_MICROS = 1_000;

/** File systems that keep nothing on a power cut, and those where another machine or layer decides. */
const KEEPS_NOTHING = new Set(["tmpfs", "ramfs", "devtmpfs"]);
const DECIDES_ELSEWHERE: Readonly<Record<string, string>> = {
  overlay: "an overlay (a container's own layer): put the data directory on a volume",
  nfs: "a network file system: its server decides, and SQLite's locks may not hold",
  nfs4: "a network file system: its server decides, and SQLite's locks may not hold",
  cifs: "a network file system: its server decides, and SQLite's locks may not hold",
  "9p": "a file system of the host of this virtual machine, which decides",
  virtiofs: "a file system of the host of this virtual machine, which decides",
  fuse: "a program in place of a file system, which decides",
};

/** The mount that holds the directory, and its block device. */
export function deviceOf(directory: string): Device {
  const real = realpathSync(directory);
  const number = statSync(real).dev;
  const mounts = readText("/proc/self/mountinfo").split("\n").flatMap(parseMount);
  const holding = mounts.filter(({ point }) => real === point || real.startsWith(point === "/" ? "/" : `${point}/`));
  const mount = holding.sort((a, b) => a.point.length - b.point.length).at(-1);
  const block = mount && blockDevice(mount.device || `${number >> 8}:${number & 0xff}`);
  return { fileSystem: mount?.type ?? "unknown", mountOptions: mount?.options ?? "unknown", ...block };
}

/** Fields of proc_pid_mountinfo(5): id, parent, major:minor, root, mount point, options, ... - type, source, super options. */
function parseMount(line: string): { device: string; point: string; type: string; options: string }[] {
  const [before, after] = line.split(" - ");
  const fields = before?.split(" ") ?? [];
  const rest = after?.split(" ") ?? [];
  if (fields.length < 6 || rest.length < 3) return [];
  const point = fields[4]!.replace(/\\(\d{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
  return [{ device: fields[2]!, point, type: rest[0]!, options: `${fields[5]},${rest[2]}` }];
}

/** A partition has no queue of its own: its disk has. */
function blockDevice(number: string): Partial<Device> {
  const link = `/sys/dev/block/${number}`;
  if (!existsSync(link)) return {};
  const real = realpathSync(link);
  const disk = existsSync(join(real, "queue")) ? real : dirname(real);
  const queue = (name: string) => readText(join(disk, "queue", name)).trim();
  return {
    device: basename(disk),
    rotating: queue("rotational") === "1",
    writeCache: queue("write_cache") || "unknown",
    forcedUnitAccess: queue("fua") === "1",
  };
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** Writes and syncs small blocks into a file that is removed again. `now` is a clock in microseconds that only goes forward. */
export function syncTimes(directory: string, now: () => number): SyncTimes {
  const path = join(directory, PROBE);
  const out = open(path, "w");
  const times: number[] = [];
  const block = new Uint8Array(PROBE_BYTES).fill(1);
  try {
    for (let i = 0; i < PROBE_WRITES; i++) {
      writeSync(out, block, 0, block.length, (i % 64) * block.length);
      const from = now();
      fdatasyncSync(out);
      times.push(now() - from);
    }
  } catch (cause) {
    throw storeErrors.error("failed_write", `${path} can't be written and synced`, { place: directory, cause });
  } finally {
    closeSync(out);
    unlinkSync(path);
  }
  times.sort((a, b) => a - b);
  const at = (part: number) => times[Math.min(times.length - 1, Math.floor(times.length * part))]!;
  return { writes: times.length, least: times[0]!, median: at(0.5), p99: at(0.99) };
}

/** What the facts say together. Only a power cut can say more: `power-loss write` and `check`. */
export function judgePowerLoss(device: Device, times: SyncTimes): PowerLossVerdict {
  const reasons: string[] = [];
  const { fileSystem, mountOptions } = device;
  if (KEEPS_NOTHING.has(fileSystem)) {
    return { verdict: "not kept", reasons: [`${fileSystem} is memory: nothing in it outlives a power cut`] };
  }
  const elsewhere =
    DECIDES_ELSEWHERE[fileSystem] ?? (fileSystem.startsWith("fuse") ? DECIDES_ELSEWHERE.fuse : undefined);
  if (elsewhere) reasons.push(`the file system is ${elsewhere}`);
  const options = mountOptions.split(",");
  if (options.includes("nobarrier") || options.includes("barrier=0")) {
    reasons.push("the mount option nobarrier: the device is never told to empty its cache");
  }
  if (options.includes("data=writeback")) {
    reasons.push(
      "the mount option data=writeback: after a cut a file may hold blocks of other files (its own fsync still counts)",
    );
  }
  const virtual = /^x?vd/.test(device.device ?? "");
  if (virtual) reasons.push("the disk is one of a virtual machine: its host decides what a flush does");
  const least = device.rotating && !virtual ? ROTATING_LEAST_MICROS : FLASH_LEAST_MICROS;
  if (times.median < least) {
    const kind = device.rotating ? "a turning disk" : "flash";
    reasons.push(`half of the syncs took less than ${least} microseconds, which ${kind} can't do: they don't reach it`);
  }
  return { verdict: reasons.length === 0 ? "no reason for doubt" : "doubtful", reasons };
}

/** Records of the test that ends with a power cut: a number and a digest of it, synced one by one. */
const TEST_FILE = "power-loss.records";
const RECORD_BYTES = 64;
export const RECORDS_MAX = 1_000_000;

function recordOf(number: number): Uint8Array {
  const record = new Uint8Array(RECORD_BYTES);
  new DataView(record.buffer).setFloat64(0, number, true);
  record.set(sha256(record.subarray(0, 8)), 8);
  return record;
}

/** Begins the file anew. `write` writes and syncs the next record and answers its number; undefined at RECORDS_MAX. */
export function beginPowerLossTest(directory: string): { write(): number | undefined; close(): void } {
  const path = join(directory, TEST_FILE);
  const out = open(path, "w");
  syncFolder(directory);
  let last = 0;
  return {
    write() {
      if (last >= RECORDS_MAX) return undefined;
      writeSync(out, recordOf(last + 1), 0, RECORD_BYTES, last * RECORD_BYTES);
      fdatasyncSync(out);
      return ++last;
    },
    close: () => closeSync(out),
  };
}

/** How many records from the first on are whole; undefined where there is no file of the test. */
export function checkPowerLossTest(directory: string): number | undefined {
  const path = join(directory, TEST_FILE);
  if (!existsSync(path)) return undefined;
  const bytes = readFileSync(path);
  let whole = 0;
  while (whole < RECORDS_MAX) {
    const record = bytes.subarray(whole * RECORD_BYTES, (whole + 1) * RECORD_BYTES);
    if (record.length < RECORD_BYTES || Buffer.compare(record, recordOf(whole + 1)) !== 0) break;
    whole++;
  }
  return whole;
}

function open(path: string, flags: string): number {
  try {
    return openSync(path, flags, 0o600);
  } catch (cause) {
    throw storeErrors.error("failed_write", `${path} can't be written`, { place: path, cause });
  }
}

function syncFolder(directory: string): void {
  const handle = openSync(directory, "r");
  try {
    fdatasyncSync(handle);
  } finally {
    closeSync(handle);
  }
}
