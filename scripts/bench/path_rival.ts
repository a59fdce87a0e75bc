import { Database } from "bun:sqlite";
import { join } from "node:path";
import type { SmallProject } from "./bench.ts";

/** Milliseconds of the two steps, and how many rows came of them. */
export interface RivalRun {
  readonly ingest: number;
  readonly fuse: number;
  readonly features: number;
  readonly departures: number;
}

const TRANSACTION_ROWS = 5_000;
const HOUR = 3_600_000_000;

const TABLES = `
  CREATE TABLE schedule (carrier TEXT, flight INTEGER, scheduled INTEGER, tailnum TEXT, origin TEXT, dest TEXT,
    distance INTEGER, PRIMARY KEY (carrier, flight, scheduled)) WITHOUT ROWID;
  CREATE TABLE departures (carrier TEXT, flight INTEGER, scheduled INTEGER, departed INTEGER, tailnum TEXT, origin TEXT,
    dest TEXT, dep_delay INTEGER, PRIMARY KEY (carrier, flight, scheduled)) WITHOUT ROWID;
  CREATE TABLE weather (origin TEXT, time_hour INTEGER, wind_speed REAL, visib REAL, precip REAL,
    PRIMARY KEY (origin, time_hour)) WITHOUT ROWID;
  CREATE TABLE planes (tailnum TEXT PRIMARY KEY, year INTEGER, seats INTEGER) WITHOUT ROWID;
  CREATE TABLE airports (faa TEXT PRIMARY KEY, alt REAL) WITHOUT ROWID;
  CREATE TABLE features (carrier TEXT, flight INTEGER, scheduled INTEGER, distance INTEGER, wind REAL, visib REAL,
    precip REAL, weather_age_h REAL, plane_year INTEGER, seats INTEGER, dest_alt REAL, delay_1h REAL, count_1h INTEGER,
    delay_3h REAL, delay_6h REAL, late INTEGER)`;

/** The as-of joins and windows of the example's view, as one question. The calendar features are left out. */
const FUSE = `
  INSERT INTO features
  SELECT carrier, flight, scheduled, distance, w.wind_speed, w.visib, w.precip, (t - w.time_hour) / ${HOUR}.0, p.year,
    p.seats, a.alt,
    (SELECT avg(dep_delay) FROM departures d WHERE d.origin = s.origin AND departed > t - ${HOUR} AND departed <= t),
    (SELECT count(*) FROM departures d WHERE d.origin = s.origin AND departed > t - ${HOUR} AND departed <= t),
    (SELECT avg(dep_delay) FROM departures d WHERE d.origin = s.origin AND departed > t - 3 * ${HOUR} AND departed <= t),
    (SELECT avg(dep_delay) FROM departures d WHERE d.carrier = s.carrier AND departed > t - 6 * ${HOUR} AND departed <= t),
    (SELECT dep_delay > 15 FROM departures d WHERE d.carrier = s.carrier AND d.flight = s.flight AND d.scheduled = s.scheduled)
  FROM (SELECT *, scheduled - ${HOUR} AS t FROM schedule) s
  LEFT JOIN planes p ON p.tailnum = s.tailnum
  LEFT JOIN airports a ON a.faa = s.dest
  LEFT JOIN weather w ON w.origin = s.origin AND w.time_hour = (SELECT max(time_hour) FROM weather v
    WHERE v.origin = s.origin AND v.time_hour >= t - 3 * ${HOUR} AND v.time_hour <= t - 51 * 60000000)`;

export async function runRival(project: SmallProject, file: string): Promise<RivalRun> {
  const database = new Database(file, { create: true });
  try {
    for (const pragma of ["journal_mode = WAL", "synchronous = FULL", "temp_store = memory"]) {
      database.run(`PRAGMA ${pragma}`);
    }
    database.run(TABLES);
    await load(database, project, "weather", 5, (row) => [
      row.origin,
      micros(row.time_hour),
      number(row.wind_speed),
      number(row.visib),
      number(row.precip),
    ]);
    await load(database, project, "planes", 3, (row) => [row.tailnum, number(row.year), number(row.seats)]);
    await load(database, project, "airports", 2, (row) => [row.faa, number(row.alt)]);
    const ingest = await timed(async () => loadFlights(database, await contentOf(project, "flights")));
    // The indexes that the windows need are part of the step that needs them.
    const fuse = await timed(() => {
      database.run("CREATE INDEX by_origin ON departures (origin, departed, dep_delay)");
      database.run("CREATE INDEX by_carrier ON departures (carrier, departed, dep_delay)");
      database.run(FUSE);
    });
    const count = (table: string) =>
      database.query<{ rows: number }, []>(`SELECT count(*) AS rows FROM ${table}`).get()!.rows;
    return { ingest, fuse, features: count("features"), departures: count("departures") };
  } finally {
    database.close();
  }
}

async function timed(work: () => void | Promise<void>): Promise<number> {
  const from = performance.now();
  await work();
  return performance.now() - from;
}

const contentOf = async ({ config }: SmallProject, name: string): Promise<string> => {
  const packed = await Bun.file(join(config, `../data/${name}.csv.zst`)).bytes();
  return new TextDecoder().decode(Bun.zstdDecompressSync(packed));
};

const number = (text: string | undefined) => (text === undefined || text === "" || text === "NA" ? null : Number(text));
const micros = (text: string | undefined) => Date.parse(text!) * 1000;

/** The lines as lists of fields; the example's flights and weather have no quotes. */
function* recordsOf(content: string): Iterable<readonly string[]> {
  for (let from = 0; from < content.length; ) {
    const end = content.indexOf("\n", from);
    const line = content.slice(from, end < 0 ? content.length : end);
    if (line !== "") yield line.endsWith("\r") ? line.slice(0, -1).split(",") : line.split(",");
    from = end < 0 ? content.length : end + 1;
  }
}

type Cell = string | number | null | undefined;

async function load(
  database: Database,
  project: SmallProject,
  table: string,
  width: number,
  cells: (row: Readonly<Record<string, string>>) => Cell[],
): Promise<void> {
  const insert = database.prepare(`INSERT OR REPLACE INTO ${table} VALUES (${Array(width).fill("?").join(", ")})`);
  const [header, ...records] = recordsOf(await contentOf(project, table));
  database.transaction(() => {
    for (const fields of records) {
      const row = Object.fromEntries(header!.map((name, i) => [name, (fields[i] ?? "").replace(/^"|"$/g, "")]));
      insert.run(...(cells(row) as string[]));
    }
  })();
}

function loadFlights(database: Database, content: string): void {
  const schedule = database.prepare("INSERT OR REPLACE INTO schedule VALUES (?, ?, ?, ?, ?, ?, ?)");
  const departures = database.prepare("INSERT OR REPLACE INTO departures VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
  const records = recordsOf(content)[Symbol.iterator]();
  const header = records.next().value as readonly string[];
  const at = (name: string) => header.indexOf(name);
  const [carrier, flight, tailnum, origin, dest] = [
    at("carrier"),
    at("flight"),
    at("tailnum"),
    at("origin"),
    at("dest"),
  ];
  const [distance, delay, hour, minute] = [at("distance"), at("dep_delay"), at("time_hour"), at("minute")];
  const insert = database.transaction((rows: readonly (readonly string[])[]) => {
    for (const row of rows) {
      const scheduled = micros(row[hour]) + Number(row[minute]) * 60_000_000;
      const late = number(row[delay]);
      const tail = row[tailnum] === "NA" ? null : row[tailnum]!;
      const key = [row[carrier]!, Number(row[flight]), scheduled] as const;
      schedule.run(...key, tail, row[origin]!, row[dest]!, Number(row[distance]));
      if (late !== null) departures.run(...key, scheduled + late * 60_000_000, tail, row[origin]!, row[dest]!, late);
    }
  });
  let rows: (readonly string[])[] = [];
  for (let next = records.next(); !next.done; next = records.next()) {
    rows.push(next.value);
    if (rows.length < TRANSACTION_ROWS) continue;
    insert(rows);
    rows = [];
  }
  insert(rows);
}
