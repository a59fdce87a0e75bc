import { expect, test } from "bun:test";
import { expectNothingInside } from "./inside.ts";
import { createProject, READINGS_CSV } from "./project.ts";

/** Records of the CSV file that are wrong, and what the quarantine says: code, rule, field, and the line in the message. */
const BAD: readonly (readonly [record: string, code: string, rule: string, field: string | null])[] = [
  ['s3,"north,2024-01-01T10:00:00Z,1', "ingestion.undecodable", "quote", null],
  ['"s3"x,north,2024-01-01T10:00:00Z,1', "ingestion.undecodable", "quote", null],
  ["s3,north,2024-01-01T10:00:00Z", "ingestion.undecodable", "columns", null],
  ["s3,north,2024-01-01T10:00:00Z,1,2", "ingestion.undecodable", "columns", null],
  ["\u00ff\u00fe,north,2024-01-01T10:00:00Z,1", "ingestion.undecodable", "utf8", null],
  ["s3,north,2024-01-01T10:00:00,1", "ingestion.wrong_type", "offset", "at"],
  ["s3,north,2024-13-01T10:00:00Z,1", "ingestion.wrong_type", "timestamp", "at"],
  ["s3,north,2024-01-01T10:00:00Z,warm", "ingestion.wrong_type", "number", "temperature"],
  ["s3,north,2024-01-01T10:00:00Z,1e999", "ingestion.wrong_type", "finite", "temperature"],
  ["s3,north,2024-01-01T10:00:00Z,NaN", "ingestion.wrong_type", "finite", "temperature"],
  [",north,2024-01-01T10:00:00Z,1", "ingestion.required", "not_null", "sensor"],
  ["s3,north,NA,1", "ingestion.required", "not_null", "at"],
];

test("each bad record is quarantined with its reason, and the good ones around it go on", async () => {
  const desk = createProject();
  try {
    const lines = [
      READINGS_CSV.trimEnd(),
      ...BAD.flatMap(([record], i) => [record, `g${i},south,2024-01-02T00:00:00Z,1`]),
    ];
    desk.write("readings.csv", Buffer.from(`${lines.join("\n")}\n`, "latin1")); // so that ÿ is a byte that is not UTF-8
    expect(await desk.run("ingest")).toMatchObject({ exit: 0, errors: "" });
    const good = await desk.run("query", "select count(*) as n from readings", "--json");
    expect(JSON.parse(good.output)).toMatchObject({ rows: [[3 + BAD.length]] });
    const asked = 'select code, rule, field, message from quarantine_readings order by "index"';
    const { output } = await desk.run("query", asked, "--json");
    const { rows } = JSON.parse(output) as { rows: (string | null)[][] };
    expect(rows.map((row) => row.slice(0, 3))).toEqual(BAD.map(([, ...reason]) => reason));
    rows.forEach((row, i) => {
      if (row[2] === null) expect(row[3]).toContain(`line ${5 + 2 * i}`);
    });
    expectNothingInside(rows.map((row) => row[3]).join("\n"));
    expect(await desk.run("ledger", "verify")).toMatchObject({ exit: 0 });
  } finally {
    desk.remove();
  }
});
