/**
 * What a process asks of a file system is read from its trace, and what a power cut may leave of it: from lines as strace
 * writes them, and from a real process.
 */
import { expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { drawFrom } from "../draw.ts";
import { diskOf } from "./disk.ts";
import { quickPlace } from "./life.ts";
import { canRecord, type Op, opsOf, traced } from "./trace.ts";

const hex = (text: string) => `"${[...Buffer.from(text)].map((byte) => `\\x${byte.toString(16)}`).join("")}"`;
const OPENED = `1 openat(AT_FDCWD, ${hex("/store/file")}, O_RDWR|O_CREAT|O_CLOEXEC, 0600) = 5`;
const SYNCED = "1 fdatasync(5) = 0";
const FOLDER = [`1 openat(AT_FDCWD, ${hex("/store")}, O_RDONLY|O_CLOEXEC) = 6`, "1 fsync(6) = 0"];
const opsIn = (...lines: string[]): Op[] => opsOf([OPENED, ...FOLDER, ...lines].join("\n"), "/store");

/** Contents that the file has after some power cuts. */
function leftBy(ops: readonly Op[]): Set<string> {
  const disk = diskOf();
  for (const op of ops) disk.apply(op);
  const home = mkdtempSync(join(quickPlace(), "mlpe-cut-"));
  try {
    const left = Array.from({ length: 40 }, (_, seed) => {
      const image = join(home, String(seed));
      disk.cut(drawFrom(seed), image);
      return readFileSync(join(image, "file"), "latin1");
    });
    return new Set(left);
  } finally {
    rmSync(home, { recursive: true });
  }
}

const zeros = (count: number) => "\0".repeat(count);

test("room that is allocated makes a file longer by zeros, for good once the file is synced", () => {
  const allocated = "1 fallocate(5, 0, 2, 3) = 0";
  expect(leftBy(opsIn(allocated))).toEqual(new Set(["", zeros(5)]));
  expect(leftBy(opsIn(allocated, SYNCED))).toEqual(new Set([zeros(5)]));
  const written = `1 pwrite64(5, ${hex("abcdefg")}, 7, 0) = 7`;
  expect(leftBy(opsIn(written, SYNCED, allocated, SYNCED))).toEqual(new Set(["abcdefg"]));
  expect(leftBy(opsIn(allocated, SYNCED, `1 pwrite64(5, ${hex("ab")}, 2, 0) = 2`, SYNCED))).toEqual(
    new Set([`ab${zeros(3)}`]),
  );
});

test("room that keeps the size, room that is refused and room of files elsewhere change nothing; other kinds are told", () => {
  const written = `1 pwrite64(5, ${hex("ab")}, 2, 0) = 2`;
  for (const line of [
    "1 fallocate(5, FALLOC_FL_KEEP_SIZE, 0, 9) = 0",
    "1 fallocate(5, 0, 0, 9) = -1 ENOSPC (No space left on device)",
    "1 fallocate(9, 0, 0, 9) = 0",
  ])
    expect(leftBy(opsIn(written, line, SYNCED))).toEqual(new Set(["ab"]));
  expect(() => opsIn("1 fallocate(5, FALLOC_FL_KEEP_SIZE|FALLOC_FL_PUNCH_HOLE, 0, 9) = 0")).toThrow("PUNCH_HOLE");
});

test.skipIf(!canRecord())(
  "a life is recorded where Bun has translated nothing yet, and what Bun allocates is not in it",
  async () => {
    const home = mkdtempSync(join(tmpdir(), "mlpe-traced-"));
    try {
      mkdirSync(join(home, "life"));
      const script = join(import.meta.dir, "recorded.ts");
      const trace = await traced([script, "1", join(home, "life")], join(home, "trace"), {
        environment: { BUN_RUNTIME_TRANSPILER_CACHE_PATH: join(home, "cache") },
      });
      expect(trace).toContain("fallocate(");
      expect(opsOf(trace, join(home, "life")).filter(({ kind }) => kind === "allocate")).toEqual([]);
      expect(readdirSync(join(home, "cache")).length).toBeGreaterThan(0);
    } finally {
      rmSync(home, { recursive: true });
    }
  },
  60_000,
);

test.skipIf(!canRecord())(
  "what a process allocates itself is in its trace",
  async () => {
    const home = mkdtempSync(join(tmpdir(), "mlpe-traced-"));
    try {
      const script = `require("node:fs").writeFileSync(${JSON.stringify(join(home, "large"))}, new Uint8Array(3 << 20).fill(1))`;
      const ops = opsOf(await traced(["-e", script], `${home}-trace`), home);
      const disk = diskOf();
      for (const op of ops) disk.apply(op);
      expect(ops.flatMap((op) => (op.kind === "allocate" ? [[op.path, op.at, op.end]] : []))).toEqual([
        ["large", 0, 3 << 20],
      ]);
    } finally {
      rmSync(home, { recursive: true });
      rmSync(`${home}-trace`, { force: true });
    }
  },
  60_000,
);
