import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const UNSHARE = ["unshare", "-rm", "--propagation", "private"];

/** Whether this user may mount a file system of its own size in a namespace of its own. */
export function canMountSmallDisk(): boolean {
  const tried = spawnSync(UNSHARE[0]!, [...UNSHARE.slice(1), "mount", "-t", "tmpfs", "tmpfs", "/mnt"]);
  return tried.status === 0;
}

/** The command that runs another one with a file system of so many MiB at `place`; it goes with the process. */
const withSmallDisk = (place: string, mebibytes: number, command: readonly string[]): string[] => [
  ...UNSHARE,
  "sh",
  "-c",
  `mount -t tmpfs -o size=${mebibytes}m,mode=0700 tmpfs "$0" && exec "$@"`,
  place,
  ...command,
];

/** Runs a script of this repository with the place of a small disk as its first argument; answers the JSON of its last line. */
export async function onSmallDisk(script: string, mebibytes: number, ...words: readonly string[]): Promise<unknown> {
  const place = mkdtempSync(join(tmpdir(), "mlpe-disk-"));
  try {
    const file = join(import.meta.dir, "../..", script);
    const child = Bun.spawn(withSmallDisk(place, mebibytes, [process.execPath, file, place, ...words]), {
      stdout: "pipe",
      stderr: "pipe",
    });
    const [output, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    if (code !== 0) throw new Error(`${script} ended with ${code}: ${errors}`);
    return JSON.parse(output.trim().split("\n").at(-1)!);
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}
