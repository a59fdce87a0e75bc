import { type AvroRecord, parseContract } from "../../contract/contract.ts";
import { sampleCsv } from "../../contract/csv_sample.ts";
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
    const [delimiter, rowsMax] = [delimiterOf(input, path), input.number("rows")!];
    const sample = await sampleCsv(path, await world.files.read(path), { delimiter, rowsMax });
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
