import type { World } from "../../base/world.ts";
import { type AvroRecord, parseContract } from "../../contract/contract.ts";
import { recordEnd, splitFields, trimBreak } from "../../contract/csv.ts";
import { inferContract } from "../../contract/infer.ts";
import { absolute } from "../../runtime/project.ts";
import { type Command, type Input, requireWord } from "../command.ts";
import { cliErrors } from "../errors.ts";
import { grouped } from "../project.ts";

const ROWS_DEFAULT = 100_000;

export const contractInfer: Command = {
  name: "contract infer",
  words: "<file.csv>",
  summary: "propose a contract for a CSV file: types, event time, record id and entity, with what to check",
  flags: {
    name: { kind: "text", describe: "the record's name; default the file's" },
    out: { kind: "text", describe: "write the contract there instead of to standard output" },
    delimiter: { kind: "text", describe: "between fields; default a comma, a tab in .tsv files" },
    nulls: { kind: "list", describe: 'a text that means null (repeatable); default "" and NA' },
    rows: { kind: "number", describe: "rows of the file that are looked at", default: ROWS_DEFAULT },
  },
  async run(world, input) {
    const path = absolute(world, requireWord(contractInfer, input, 0, "the CSV file"));
    const sample = readSample(await readPlain(world, path), delimiterOf(input, path), input.number("rows")!, path);
    const name = input.text("name") ?? baseName(path);
    const nulls = input.list("nulls");
    const inferred = inferContract(name, sample.header, sample.rows, nulls.length === 0 ? {} : { nulls });
    const notes = [...inferred.notes, ...sample.notes];
    const text = schemaText(inferred.schema);
    parseContract(text, "the proposed contract"); // what is proposed must be accepted
    const out = input.text("out") === undefined ? undefined : absolute(world, input.text("out")!);
    const said = notes.map((note) => `- ${note}`).join("\n");
    const config = starterConfig({
      path: input.words[0]!,
      contract: input.text("out") ?? `${name}.avsc`,
      name,
      header: sample.header,
      schema: inferred.schema,
    });
    if (out === undefined) {
      if (!input.on("json")) world.warn(said); // beside the contract, which may be going into a file
      return { json: { schema: inferred.schema, notes, config }, text: text.trimEnd() };
    }
    if (await world.files.exists(out)) throw cliErrors.error("output_exists", `${out} exists`, { place: out });
    await world.files.write(out, text);
    const told = `${out}: ${inferred.schema.fields.length} fields of ${grouped(sample.rows.length)} rows`;
    return {
      json: { file: out, schema: inferred.schema, notes, config },
      text: `${told}\n${said}\n\nFor mlpe.yaml:\n${config}`,
    };
  },
};

/** A field a line: it is read and edited by people. */
function schemaText({ fields, ...head }: AvroRecord): string {
  const facts = Object.entries(head).map(([key, value]) => `  ${JSON.stringify(key)}: ${JSON.stringify(value)},\n`);
  const lines = fields.map((field) => `    ${JSON.stringify(field)}`);
  return `{\n${facts.join("")}  "fields": [\n${lines.join(",\n")}\n  ]\n}\n`;
}

interface Starter {
  /** As written on the command line; the config's paths are relative to its own file. */
  readonly path: string;
  readonly contract: string;
  readonly name: string;
  readonly header: readonly string[];
  readonly schema: AvroRecord;
}

/** The lines of the config that read such a file. */
function starterConfig({ path, contract, name, header, schema }: Starter): string {
  const dataset =
    name
      .toLowerCase()
      .replace(/[^a-z0-9]+/g, "_")
      .replace(/^[_0-9]+|_+$/g, "") || "rows";
  const renames = schema.fields.flatMap((field, i) =>
    field.name === header[i] ? [] : [`      ${field.name}: ${JSON.stringify(header[i])}`],
  );
  return [
    "sources:",
    `  ${dataset}: { connector: file, path: ${JSON.stringify(path)}, dataset: ${dataset} }`,
    "datasets:",
    `  ${dataset}:`,
    `    contract: ${JSON.stringify(contract)}`,
    ...(schema.eventTime === undefined ? ["    static: true"] : []),
    ...(renames.length === 0 ? [] : ["    rename:", ...renames]),
  ].join("\n");
}

function baseName(path: string): string {
  const file = path.slice(path.lastIndexOf("/") + 1);
  return file.replace(/\.(gz|zst)$/, "").replace(/\.(csv|tsv|txt)$/, "");
}

function delimiterOf(input: Input, path: string): string {
  const given = input.text("delimiter") ?? (/\.tsv(\.|$)/.test(path) ? "\t" : ",");
  const delimiter = given === "\\t" || given === "tab" ? "\t" : given;
  if (delimiter.length === 1 && delimiter.charCodeAt(0) < 128 && !'"\r\n'.includes(delimiter)) return delimiter;
  throw cliErrors.error("bad_usage", `--delimiter is ${JSON.stringify(given)}; it is one character, or tab`, {
    place: `mlpe ${contractInfer.name}`,
  });
}

/** The file's bytes, decompressed. */
async function readPlain(world: World, path: string): Promise<Uint8Array> {
  const bytes = await world.files.read(path);
  try {
    if (path.endsWith(".gz")) return Bun.gunzipSync(new Uint8Array(bytes));
    if (path.endsWith(".zst")) return new Uint8Array(Bun.zstdDecompressSync(new Uint8Array(bytes)));
  } catch (cause) {
    throw cliErrors.error("unreadable_csv", `${path} can't be decompressed: ${(cause as Error).message}`, {
      place: path,
      cause,
    });
  }
  return bytes;
}

interface Sample {
  readonly header: readonly string[];
  readonly rows: readonly (readonly string[])[];
  readonly notes: readonly string[];
}

/** The header and the first records. Those that are no records of the header's width are left out and counted in a note. */
function readSample(bytes: Uint8Array, delimiter: string, rowsMax: number, path: string): Sample {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  const rows: string[][] = [];
  let header: string[] | undefined;
  let misfits = 0;
  let at = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0;
  while (at < bytes.length && rows.length < rowsMax) {
    const { next, broken } = recordEnd(bytes, at, bytes.length, delimiter.charCodeAt(0), true)!;
    const end = trimBreak(bytes, at, next);
    const fields = end === at || broken ? undefined : decoded(decoder, bytes.subarray(at, end), delimiter);
    const blank = end === at;
    at = next;
    if (blank) continue;
    if (!header) header = headerOf(fields, delimiter, path);
    else if (fields?.length === header.length) rows.push(fields);
    else misfits++;
  }
  if (!header) throw cliErrors.error("unreadable_csv", `${path} is empty`, { place: path });
  if (rows.length === 0) {
    const message =
      misfits === 0 ? `${path} has a header and no rows` : `no row of ${path} has the header's ${header.length} fields`;
    throw cliErrors.error("unreadable_csv", message, { place: path });
  }
  const notes = misfits === 0 ? [] : [misfitNote(misfits, header.length)];
  if (at < bytes.length)
    notes.push(`Only the first ${grouped(rows.length)} rows were looked at; --rows looks at more.`);
  return { header, rows, notes };
}

function misfitNote(count: number, width: number): string {
  const left = count === 1 ? "1 record was left out" : `${grouped(count)} records were left out`;
  return `${left}: a quote is not closed, the text is not UTF-8, or there are not ${width} fields. Ingestion would quarantine such records.`;
}

function decoded(decoder: TextDecoder, bytes: Uint8Array, delimiter: string): string[] | undefined {
  try {
    return splitFields(decoder.decode(bytes), delimiter);
  } catch {
    return undefined; // not UTF-8: counted with the records that don't fit
  }
}

function headerOf(fields: string[] | undefined, delimiter: string, path: string): string[] {
  const place = `${path}:1`;
  if (!fields)
    throw cliErrors.error("unreadable_csv", "the header has a quote that is not closed, or is not UTF-8", { place });
  const other = [";", "\t", "|", ","].find((candidate) => candidate !== delimiter && fields[0]!.includes(candidate));
  if (fields.length === 1 && other !== undefined) {
    const fix = `Say --delimiter ${other === "\t" ? "tab" : `'${other}'`}.`;
    throw cliErrors.error("unreadable_csv", "the header is one field with another delimiter in it", { place, fix });
  }
  const twin = fields.find((name, i) => fields.indexOf(name) !== i);
  if (twin === undefined) return fields;
  throw cliErrors.error("unreadable_csv", `the header has two columns "${twin}"`, {
    place,
    fix: "Rename one of them in the file.",
  });
}
