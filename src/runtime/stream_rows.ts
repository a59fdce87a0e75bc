import { type ArrowField, arrowStream } from "../contract/arrow.ts";
import { batchOfValues, type Column, concatBatches, sliceRows, valueAt } from "../contract/batch.ts";
import type { Contract, FieldType } from "../contract/contract.ts";
import { valueCsv, valueJson } from "../contract/row_text.ts";
import { type FeedRow, positionText } from "../store/feed.ts";
import type { RowsFormat } from "./faces.ts";

/** Makes the bytes of an answer part by part: all rows of one contract. */
export interface RowsWriter {
  begin(): Uint8Array;
  rows(rows: readonly FeedRow[]): Uint8Array;
  end(): Uint8Array;
}

export interface RowsForm {
  readonly type: string;
  /** Whether an answer has one header, so that it ends where the contract of the rows changes. */
  readonly headed: boolean;
  open(contract: Contract): Promise<RowsWriter>;
}

/** What every row of a feed says of itself beside its fields. */
const OWN = [
  ["_position", "string"],
  ["_sequence", "long"],
  ["_commit_no", "long"],
  ["_known_time", "timestamp"],
  ["_tombstone", "boolean"],
] as const satisfies readonly (readonly [string, FieldType])[];

const ownValues = ({ stored, index, position }: FeedRow) => [
  positionText(position),
  stored.sequences[index]!,
  stored.commitNos[index]!,
  stored.knownTimes[index]!,
  stored.tombstones[index] === 1,
];

/** A stored row as one JSON object in one line. */
export function feedLine(row: FeedRow): string {
  const { batch } = row.stored;
  const own = ownValues(row).map((value, i) => `"${OWN[i]![0]}":${valueJson(value, OWN[i]![1])}`);
  const fields = batch.contract.fields.map(
    ({ name, type }, c) => `${JSON.stringify(name)}:${valueJson(valueAt(batch.columns[c]!, type, row.index), type)}`,
  );
  return `{${[...own, ...fields].join(",")}}`;
}

function feedRecord(row: FeedRow): string {
  const { batch } = row.stored;
  const own = ownValues(row).map((value, i) => valueCsv(value, OWN[i]![1]));
  const fields = batch.contract.fields.map(({ type }, c) =>
    valueCsv(valueAt(batch.columns[c]!, type, row.index), type),
  );
  return [...own, ...fields].join(",");
}

const encoder = new TextEncoder();
const lines = (texts: readonly string[], ending: string): Uint8Array =>
  encoder.encode(texts.map((text) => text + ending).join(""));
const NOTHING = new Uint8Array(0);

export const ROWS_FORMS: Readonly<Record<RowsFormat, RowsForm>> = {
  json: {
    type: "application/x-ndjson",
    headed: false,
    open: async () => ({ begin: () => NOTHING, rows: (rows) => lines(rows.map(feedLine), "\n"), end: () => NOTHING }),
  },
  csv: {
    type: "text/csv; charset=utf-8; header=present",
    headed: true,
    open: async ({ fields }) => ({
      begin: () =>
        lines(
          [[...OWN.map(([name]) => name), ...fields.map(({ name }) => valueCsv(name, "string"))].join(",")],
          "\r\n",
        ),
      rows: (rows) => lines(rows.map(feedRecord), "\r\n"),
      end: () => NOTHING,
    }),
  },
  arrow: { type: "application/vnd.apache.arrow.stream", headed: true, open: arrowWriter },
};

async function arrowWriter(contract: Contract): Promise<RowsWriter> {
  const own = OWN.map(([name, type]): ArrowField => ({ name, type, nullable: false }));
  const stream = await arrowStream([...own, ...contract.fields], { "mlpe.contract": contract.fingerprint });
  return {
    begin: stream.begin,
    rows(rows) {
      const known = batchOfValues({ ...contract, fields: OWN_FIELDS }, rows.map(ownValues));
      const columns: Column[] = [...known.columns, ...together(rows)];
      return stream.batch(columns, rows.length);
    },
    end: stream.end,
  };
}

const OWN_FIELDS = OWN.map(([name, type]) => ({ name, type, nullable: false, classification: "internal" as const }));

/** The fields of rows of one contract, as columns: neighbours in one stored part are taken at once. */
function together(rows: readonly FeedRow[]): readonly Column[] {
  const parts = [];
  for (let from = 0; from < rows.length; ) {
    const { stored, index } = rows[from]!;
    let to = from + 1;
    while (to < rows.length && rows[to]!.stored === stored && rows[to]!.index === index + to - from) to++;
    parts.push(sliceRows(stored.batch, index, index + to - from));
    from = to;
  }
  return concatBatches(parts).columns;
}
