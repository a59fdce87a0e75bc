import { mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

/** One figure of ours beside one of a rival, of the same run on the same work. */
export interface Result {
  readonly name: string;
  readonly ours: number;
  readonly rival: number;
  readonly rival_name: string;
  readonly unit: string;
  /** Above 1: ours is better, whether more or less of the unit is good. */
  readonly ratio: number;
}

/** What the command line asks of a bench that can be scaled. */
export interface Flags {
  /** Rows of the main work. */
  readonly rows?: number;
  /** Also what takes many minutes. */
  readonly far: boolean;
}

/** Runs a bench; `tell` hears what it is doing. */
export type Bench = (tell: (line: string) => void, flags: Flags) => Promise<Result[]>;

export const ROOT = resolve(import.meta.dir, "../..");

const rounded = (value: number) => Number(value.toPrecision(4));

/** A result where less of the unit is better. */
export const less = (name: string, unit: string, ours: number, rival: number, rivalName: string): Result => ({
  name,
  ours: rounded(ours),
  rival: rounded(rival),
  rival_name: rivalName,
  unit,
  ratio: rounded(rival / ours),
});

/** A result where more of the unit is better. */
export const more = (name: string, unit: string, ours: number, rival: number, rivalName: string): Result => ({
  ...less(name, unit, ours, rival, rivalName),
  ratio: rounded(ours / rival),
});

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)]!;
}

/** The example's project on its first flights, in a new temporary directory: the config, and where data and key go. */
export interface SmallProject {
  readonly directory: string;
  readonly config: string;
  readonly environment: Readonly<Record<string, string>>;
  /** The flights as CSV, with their header. */
  readonly flights: Uint8Array;
}

export async function smallProject(flights: number): Promise<SmallProject> {
  const directory = mkdtempSync(join(tmpdir(), "mlpe-bench-"));
  const example = join(ROOT, "examples/nycflights");
  const data = join(directory, "examples/nycflights/data");
  mkdirSync(data, { recursive: true });
  for (const folder of ["schemas", "models"]) symlinkSync(join(ROOT, folder), join(directory, folder));
  for (const name of ["weather", "planes", "airports"]) {
    symlinkSync(join(example, `data/${name}.csv.zst`), join(data, `${name}.csv.zst`));
  }
  const whole = Bun.zstdDecompressSync(await Bun.file(join(example, "data/flights.csv.zst")).bytes());
  let end = 0;
  for (let line = 0; line <= flights && end < whole.length; line++) end = whole.indexOf(10, end) + 1 || whole.length;
  const kept = whole.subarray(0, end);
  writeFileSync(join(data, "flights.csv.zst"), Bun.zstdCompressSync(kept));
  const config = join(directory, "examples/nycflights/mlpe.yaml");
  writeFileSync(config, await Bun.file(join(example, "mlpe.yaml")).bytes());
  return { directory, config, environment: { MLPE_KEY_FILE: join(directory, "key") }, flights: kept };
}
