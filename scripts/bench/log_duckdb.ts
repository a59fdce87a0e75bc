import { closeSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { Batch, Column } from "../../src/contract/batch.ts";

/** What DuckDB needed for the same rows in an encrypted database file; sums in cents, to be compared exactly. */
export interface DuckDb {
  readonly version: string;
  /** Of several, the median: summing the two columns, by all the cores it takes. */
  readonly scanSeconds: number;
  readonly bytes: number;
  readonly rows: number;
  readonly readingCents: number;
  readonly amountCents: number;
}

const DUCKDB = "duckdb==2.0.0";
const SCRIPT = `
import json, os, statistics, sys, time
import duckdb
rows, path = sys.argv[1], sys.argv[2]
def connect():
    con = duckdb.connect()
    con.execute("SET enable_progress_bar = false")
    con.execute("SET force_mbedtls_unsafe = 'true'")  # writing encrypted files without the httpfs extension
    con.execute(f"ATTACH '{path}' AS e (ENCRYPTION_KEY 'a key of the bench')")
    return con
con = connect()
con.execute(f"""CREATE TABLE e.rows AS SELECT * FROM read_csv('{rows}', header = false, columns = {{
  'place': 'VARCHAR', 'at': 'BIGINT', 'reading': 'DOUBLE', 'count': 'BIGINT', 'amount': 'DOUBLE', 'kind': 'VARCHAR'}})""")
con.execute("CHECKPOINT e")
con.close()
times = []
for _ in range(3):
    con = connect()
    start = time.perf_counter()
    con.execute("SELECT sum(reading), sum(amount) FROM e.rows").fetchall()
    times.append(time.perf_counter() - start)
    count, reading, amount = con.execute("""SELECT count(*), sum(round(reading * 100)::BIGINT)::BIGINT,
      sum(round(amount * 100)::BIGINT)::BIGINT FROM e.rows""").fetchone()
    con.close()
print(json.dumps({"version": duckdb.__version__, "scanSeconds": statistics.median(times), "bytes": os.path.getsize(path),
  "rows": count, "readingCents": reading, "amountCents": amount}))
`;

/** Undefined, and `tell` hears why, where there is no Python with DuckDB and none can be made. */
export async function duckDb(
  tell: (line: string) => void,
  directory: string,
  batches: readonly Batch[],
): Promise<DuckDb | undefined> {
  const csv = join(directory, "rows.csv");
  try {
    const python = await pythonWithDuckDb(directory);
    writeCsv(csv, batches);
    const run = Bun.spawn([python, "-c", SCRIPT, csv, join(directory, "rows.duckdb")], {
      stdout: "pipe",
      stderr: "pipe",
    });
    const [out, err] = await Promise.all([new Response(run.stdout).text(), new Response(run.stderr).text()]);
    if ((await run.exited) !== 0) throw new Error(err.trim().split("\n").at(-1));
    return JSON.parse(out.trim().split("\n").at(-1)!) as DuckDb;
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    tell(`DuckDB was not measured (MLPE_BENCH_PYTHON can name a Python that has it): ${why}`);
    return undefined;
  }
}

/** The interpreter that is named, or `python3`; where it has no DuckDB, one that is made for this run. */
async function pythonWithDuckDb(directory: string): Promise<string> {
  const there = process.env.MLPE_BENCH_PYTHON ?? "python3";
  if (await succeeds(there, "-c", "import duckdb")) return there;
  const made = join(directory, "python");
  const installed =
    (await succeeds("python3", "-m", "venv", made)) &&
    (await succeeds(join(made, "bin", "pip"), "install", "--quiet", "--disable-pip-version-check", DUCKDB));
  if (!installed) throw new Error(`${there} has no module duckdb, and it can't be installed`);
  return join(made, "bin", "python");
}

const succeeds = async (...command: readonly string[]): Promise<boolean> =>
  (await Bun.spawn([...command], { stdout: "ignore", stderr: "ignore" }).exited) === 0;

function writeCsv(path: string, batches: readonly Batch[]): void {
  const out = openSync(path, "w");
  try {
    for (const batch of batches) {
      const [place, at, reading, count, amount, kind] = batch.columns.map(texts);
      let lines = "";
      for (let i = 0; i < batch.length; i++) {
        lines += `${place!(i)},${at!(i)},${reading!(i)},${count!(i)},${amount!(i)},${kind!(i)}\n`;
      }
      writeSync(out, lines);
    }
  } finally {
    closeSync(out);
  }
}

function texts(column: Column): (row: number) => string | number {
  if (column.kind === "text") return (row) => column.dictionary[column.codes[row]!]!;
  if (column.kind === "number") return (row) => column.values[row]!;
  throw new Error("other columns");
}
