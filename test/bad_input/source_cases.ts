import type { Row } from "../../src/base/row.ts";
import { batchOf } from "../../src/contract/batch.ts";
import { contractOf } from "../../src/contract/contract.ts";
import { writeParquet } from "../../src/contract/parquet_write.ts";
import type { Desk } from "../support/world.ts";
import type { Case } from "./case.ts";
import { edited, must, READINGS, READINGS_CSV } from "./project.ts";

const sourceCase = (
  name: string,
  exit: number,
  code: string,
  says: readonly string[],
  spoil: (desk: Desk) => void | Promise<void>,
): Case => ({
  name,
  spoil,
  run: ["ingest"],
  exit,
  code,
  says: ["readings", ...says],
});

/** The source `readings` reads another file. */
function useFile(desk: Desk, path: string, bytes: string | Uint8Array): void {
  desk.write("mlpe.yaml", edited("path: readings.csv", `path: ${path}`));
  desk.write(path, bytes);
}

const text = new TextEncoder();

/** A Parquet file of the readings under another contract. */
function parquet(change: (fields: { name: string; type: unknown }[]) => void, row: Row): Uint8Array {
  const draft = structuredClone(READINGS) as unknown as {
    fields: { name: string; type: unknown }[];
    recordId: unknown;
    entity: unknown;
    eventTime?: unknown;
  };
  change(draft.fields);
  draft.recordId = "content";
  draft.entity = [];
  delete draft.eventTime;
  return writeParquet([batchOf(contractOf(draft, "test"), [row])]);
}

const ROW = { sensor: "s1", place: "north", at: 1_700_000_000_000_000, temperature: 1.5 };

/** Sources that can't be read as a whole. */
export const sourceCases: readonly Case[] = [
  sourceCase("a source file that is absent", 66, "connectors.file_missing", ["nowhere.csv"], (desk) =>
    desk.write("mlpe.yaml", edited("path: readings.csv", "path: nowhere.csv")),
  ),
  sourceCase("a source that is a directory", 66, "connectors.file_missing", ["readings.csv"], async (desk) => {
    await desk.world.files.removeDirectory(desk.path("readings.csv"));
    await desk.world.files.makeDirectory(desk.path("readings.csv"));
  }),
  sourceCase("a file whose format is not known", 78, "config.missing", ["sources.readings.path"], (desk) =>
    useFile(desk, "readings.txt", READINGS_CSV),
  ),
  sourceCase("a delimiter that is a quote", 65, "connectors.bad_delimiter", [], (desk) =>
    desk.write("mlpe.yaml", edited("path: readings.csv", "path: readings.csv, csv: { delimiter: '\"' }")),
  ),
  sourceCase("a header without a needed column", 65, "ingestion.missing_column", ["place"], (desk) =>
    desk.write("readings.csv", READINGS_CSV.replace("place", "site")),
  ),
  sourceCase("a header with a column twice", 65, "connectors.bad_header", ["sensor", "line 1"], (desk) =>
    desk.write("readings.csv", READINGS_CSV.replace("temperature", "sensor")),
  ),
  sourceCase("a header that is not UTF-8", 65, "connectors.bad_header", ["UTF-8", "line 1"], (desk) =>
    desk.write("readings.csv", Uint8Array.of(0xff, 0xfe, 0x2c, 0x41, 0x0a)),
  ),
  sourceCase("a header with a quote never closed", 65, "connectors.bad_header", ["readings.csv"], (desk) =>
    desk.write("readings.csv", `"${READINGS_CSV}`),
  ),
  sourceCase("a gzip file that is none", 74, "connectors.file_damaged", ["readings.csv.gz"], (desk) =>
    useFile(desk, "readings.csv.gz", "no gzip at all"),
  ),
  sourceCase("a gzip file cut short", 74, "connectors.file_damaged", ["readings.csv.gz"], (desk) =>
    useFile(desk, "readings.csv.gz", Bun.gzipSync(text.encode(READINGS_CSV)).slice(0, -12)),
  ),
  sourceCase("a zstd file that is none", 74, "connectors.file_damaged", ["readings.csv.zst"], (desk) =>
    useFile(desk, "readings.csv.zst", "no zstd at all"),
  ),
  sourceCase("a zstd file cut short", 74, "connectors.file_damaged", ["readings.csv.zst"], (desk) =>
    useFile(desk, "readings.csv.zst", Bun.zstdCompressSync(READINGS_CSV.repeat(50)).slice(0, -8)),
  ),
  sourceCase("a file that changed after it was read", 73, "connectors.file_changed", ["readings.csv"], async (desk) => {
    await must(desk, "ingest");
    desk.write("readings.csv", `${READINGS_CSV}s3,north,2024-01-01T12:00:00Z,3.5\n`);
  }),
  sourceCase("a Parquet file that is none", 65, "contract.bad_parquet", ["readings.parquet"], (desk) =>
    useFile(desk, "readings.parquet", "PAR1 not really PAR1"),
  ),
  sourceCase(
    "a Parquet file without a column of the contract",
    65,
    "contract.structure_mismatch",
    ["place"],
    (desk) => {
      const { place: _, ...row } = ROW;
      useFile(
        desk,
        "readings.parquet",
        parquet((fields) => fields.splice(1, 1), row),
      );
    },
  ),
  sourceCase("a Parquet file with a text for a number", 65, "contract.structure_mismatch", ["temperature"], (desk) =>
    useFile(
      desk,
      "readings.parquet",
      parquet((fields) => (fields[3]!.type = "string"), { ...ROW, temperature: "warm" }),
    ),
  ),
  sourceCase(
    "a Parquet file whose type would have to be narrowed",
    65,
    "contract.structure_mismatch",
    ["temperature"],
    (desk) => {
      desk.write("readings.avsc", JSON.stringify(READINGS).replace('"double"', '"float"'));
      useFile(
        desk,
        "readings.parquet",
        parquet(() => {}, ROW),
      );
    },
  ),
  sourceCase(
    "a Parquet file without the logical type of an instant",
    65,
    "contract.structure_mismatch",
    ["at"],
    (desk) =>
      useFile(
        desk,
        "readings.parquet",
        parquet((fields) => (fields[2]!.type = "long"), ROW),
      ),
  ),
  sourceCase("a Parquet file with nulls where none may be", 65, "contract.structure_mismatch", ["sensor"], (desk) =>
    useFile(
      desk,
      "readings.parquet",
      parquet((fields) => (fields[0]!.type = ["null", "string"]), { ...ROW, sensor: null }),
    ),
  ),
  sourceCase("a Parquet file inside gzip", 65, "connectors.unknown_format", ["readings.parquet.gz"], (desk) =>
    useFile(desk, "readings.parquet.gz", "x"),
  ),
  {
    name: "a key file that others can read",
    spoil: (desk) => desk.write("key", new Uint8Array(32), 0o644),
    run: ["ingest"],
    exit: 65,
    code: "keys.bad_key_file",
    says: ["key", "0644", "chmod 600"],
  },
  {
    name: "a key file of another length",
    spoil: (desk) => desk.write("key", new Uint8Array(31), 0o600),
    run: ["ingest"],
    exit: 65,
    code: "keys.bad_key_file",
    says: ["key", "31 bytes"],
  },
  {
    name: "a key inside the data directory",
    spoil: (desk) => desk.write("mlpe.yaml", edited("path: key", "path: data/key")),
    run: ["ingest"],
    exit: 78,
    code: "config.conflict",
    says: ["mlpe.yaml:2", "keys.path"],
  },
  {
    name: "a data directory around the key",
    run: ["ingest", "--data", "."],
    exit: 77,
    code: "keys.key_inside_data",
    says: ["key"],
  },
  {
    name: "a key that is a directory",
    spoil: (desk) => desk.world.files.makeDirectory(desk.path("key")),
    run: ["ingest"],
    exit: 65,
    code: "keys.bad_key_file",
    says: ["key"],
  },
  {
    name: "a data directory that is a file",
    spoil: (desk) => desk.write("data", "text"),
    run: ["ingest"],
    exit: 69,
    code: "runtime.unusable_data",
    says: ["data", "it is a file"],
  },
  {
    name: "a data directory with something else in it",
    spoil: (desk) =>
      desk.write(
        "data/log.db",
        "no database at all, but a text that is longer than one header of SQLite would be..........",
      ),
    run: ["streams"],
    exit: 69,
    code: "runtime.unusable_data",
    says: ["data", "no log of MLPE"],
  },
  {
    name: "a data directory that is absent",
    run: ["streams"],
    exit: 66,
    code: "store.not_a_store",
    says: ["data"],
  },
];
