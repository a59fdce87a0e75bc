/** The example's own tables, as texts: what must not be readable at rest, and whom to ask scores of. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "./program.ts";

export const EXAMPLE = join(ROOT, "examples/nycflights");

export interface Flight {
  readonly carrier: string;
  readonly flight: number;
  readonly scheduled: string;
}

/** The rows of one of the example's tables; cells as texts. None of their fields holds a line break. */
export function tableOf(name: string): Record<string, string>[] {
  const text = new TextDecoder().decode(Bun.zstdDecompressSync(readFileSync(`${EXAMPLE}/data/${name}.csv.zst`)));
  const [header, ...lines] = text.trimEnd().split(/\r?\n/);
  const names = cellsOf(header!);
  return lines.map((line) => Object.fromEntries(cellsOf(line).map((cell, i) => [names[i]!, cell])));
}

function cellsOf(line: string): string[] {
  return [...line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g)].map(
    ([, quoted, plain]) => quoted?.replaceAll('""', '"') ?? plain ?? "",
  );
}

/** The keys of flights scheduled in a month such as `2013-12`, in the order of the table. */
export function flightsOf(month: string, count: number): Flight[] {
  const found: Flight[] = [];
  for (const row of tableOf("flights")) {
    if (!row.time_hour!.startsWith(month)) continue;
    const scheduled = new Date(Date.parse(row.time_hour!) + Number(row.minute) * 60_000).toISOString();
    found.push({ carrier: row.carrier!, flight: Number(row.flight), scheduled });
    if (found.length === count) return found;
  }
  throw new Error(`there are only ${found.length} flights in ${month}`);
}
