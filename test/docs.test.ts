/**
 * The documents against the code: what they name must exist and what they state in tables must be so. Each judge is first
 * shown a text that is wrong, so that none can pass by finding nothing.
 */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { COMMON_FLAGS } from "../src/cli/command.ts";
import { COMMANDS } from "../src/cli/commands.ts";
import { errorCodes } from "../src/cli/error_tables.ts";
import { configKeys } from "../src/config/docs.ts";
import * as streams from "../src/contract/streams.ts";
import { requestErrors } from "../src/runtime/requests.ts";
import { migrations } from "../src/store/migrations.ts";
import { importsOf, resolveImport } from "./support/source.ts";

const root = join(import.meta.dir, "..");
const read = (path: string): string => readFileSync(join(root, path), "utf8");
const DOCUMENTS = [
  "ARCHITECTURE.md",
  "README.md",
  "CHANGELOG.md",
  "examples/nycflights/README.md",
  "examples/nycflights/data/README.md",
  "examples/nycflights/bad/README.md",
].filter((path) => existsSync(join(root, path)));
const architecture = read("ARCHITECTURE.md");
const sources = new Map(
  readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
    .filter((path) => path.endsWith(".ts"))
    .map((path) => [`src/${path}`, read(`src/${path}`)]),
);

const FENCE = /^```[^\n]*\n([\s\S]*?)^```$/gm;
/** What stands in backticks, outside fenced blocks. */
const spansOf = (text: string): string[] =>
  [...text.replace(FENCE, "").matchAll(/`([^`]+)`/g)].map((match) => match[1]!.replace(/\s+/g, " "));
const blocksOf = (text: string): string[] => [...text.matchAll(FENCE)].map((match) => match[1]!);

/** The rows of the first table after a heading, as cells. */
function tableUnder(text: string, ...marks: readonly string[]): string[][] {
  let at = 0;
  for (const mark of marks) {
    at = text.indexOf(mark, at);
    if (at < 0) throw new Error(`the document has no "${mark}"`);
  }
  const rows = /^\|[\s\S]*?(?=\n(?!\|))/m.exec(`${text.slice(at)}\n\n`)![0].split("\n");
  return rows.slice(2).map((row) =>
    row
      .split(/(?<!\\)\|/)
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}
const plain = (cell: string): string => cell.replaceAll("`", "");
const inTicks = (cell: string): string[] => [...cell.matchAll(/`([^`]+)`/g)].map((match) => match[1]!);

// Files and folders

const TOP = readdirSync(root, { withFileTypes: true });
const FOLDERS = new Set(TOP.filter((entry) => entry.isDirectory()).map((entry) => entry.name));

/** Paths from the root, and links, that lead nowhere. A path with `<name>` or `*` stands for many. */
function deadPaths(document: string, text: string): string[] {
  const named = spansOf(text).filter((span) => {
    const first = span.split("/")[0]!;
    return span.includes("/") && FOLDERS.has(first) && !/[<>*{}\s]/.test(span);
  });
  const links = [...text.matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)].map((match) => match[1]!);
  const here = links.filter((link) => !/^[a-z]+:/.test(link)).map((link) => join(dirname(document), link));
  return [...named, ...here].filter((path) => !existsSync(join(root, path)));
}

test("a path that leads nowhere is seen", () => {
  const text =
    "`src/base/time.ts` `src/no/such.ts` `curated/weather` `segments/<32 hex>` [a](../b.md) [c](https://d.e/f)";
  expect(deadPaths("examples/x.md", text)).toEqual(["src/no/such.ts", "b.md"]);
});

test.each(DOCUMENTS)("%s names files and folders that exist", (document) => {
  expect(deadPaths(document, read(document))).toEqual([]);
});

// Commands

/** Command lines of MLPE in a text, each as its words: from backticks, and from the lines of fenced blocks. */
function commandLines(text: string): string[][] {
  const lines = blocksOf(text).flatMap((block) => block.replace(/\\\n\s*/g, " ").split("\n"));
  return [...spansOf(text), ...lines].flatMap((line) => {
    const match = /^\s*(?:\$ )?(?:[A-Z_]+=\S+ )*(?:\S*\/)?(?:mlpe|main\.ts)\s+([a-z<-][^|#;&>]*)/.exec(
      line.replace(/^\s*(?:\$ )?bun (?=\S*main\.ts)/, ""),
    );
    return match ? [match[1]!.trim().split(/\s+/)] : [];
  });
}

/** Command lines that the program would refuse. */
function wrongCommands(text: string): string[] {
  const wrong: string[] = [];
  for (const words of commandLines(text)) {
    if (words[0] === "help" || words[0]!.startsWith("<") || words[0]!.startsWith("-")) continue;
    const command =
      COMMANDS.find(({ name }) => name === `${words[0]} ${words[1]}`) ?? COMMANDS.find(({ name }) => name === words[0]);
    const said = `mlpe ${words.join(" ")}`;
    if (!command) wrong.push(`${said}: no such command`);
    const flags = { ...COMMON_FLAGS, ...command?.flags };
    for (const word of words) {
      const flag = /^\[?--([a-z-]+)/.exec(word)?.[1];
      if (command && flag !== undefined && !Object.hasOwn(flags, flag)) wrong.push(`${said}: no flag --${flag}`);
    }
  }
  return wrong;
}

test("a wrong command or flag is seen", () => {
  const block =
    "```sh\n./mlpe views export v \\\n  --out a.parquet --from 2013-01-01 # why\nbun src/main.ts views exprt v\n```\n";
  const text = `\`mlpe replay <score-id>\` \`mlpe fly\` \`mlpe validate --hard\` \`mlpe help\` \`mlpe.yaml\`\n\n${block}`;
  expect(wrongCommands(text)).toEqual([
    "mlpe fly: no such command",
    "mlpe validate --hard: no flag --hard",
    "mlpe views exprt v: no such command",
  ]);
});

test.each(DOCUMENTS)("%s names commands and flags that exist", (document) => {
  expect(wrongCommands(read(document))).toEqual([]);
});

// Config keys and error codes

const CONFIG_KEYS = new Set(configKeys().map(({ key }) => key));
const TOP_KEYS = new Set([...CONFIG_KEYS].map((key) => key.split(/[.[]/)[0]!));
const CODES = new Set([
  ...errorCodes().map(({ code }) => code),
  ...Object.keys(requestErrors.entries).map((name) => `${requestErrors.prefix}.${name}`),
]);
const PREFIXES = new Set([...CODES].map((code) => code.split(".")[0]!));

/** Dotted names that are neither a key of the config, nor an error code, nor written so in the code (a step's name). */
function unknownNames(text: string): string[] {
  return spansOf(text).filter((span) => {
    if (!/^[a-z_]+(?:\.(?:<name>|[a-z_]+))+$/.test(span)) return false;
    const first = span.split(".")[0]!;
    if (!TOP_KEYS.has(first) && !PREFIXES.has(first)) return false;
    if (CONFIG_KEYS.has(span) || CODES.has(span)) return false;
    const literal = new RegExp(`["/]${span.replaceAll(".", "\\.")}["\`]`);
    return ![...sources.values()].some((source) => literal.test(source));
  });
}

test("an unknown config key or error code is seen", () => {
  const text =
    "`listen.port` `listen.prt` `sources.<name>.max_rows` `store.locked` `store.lokced` `lineage.post` `a.b`";
  expect(unknownNames(text)).toEqual(["listen.prt", "store.lokced"]);
});

test.each(DOCUMENTS)("%s names config keys and error codes that exist", (document) => {
  expect(unknownNames(read(document))).toEqual([]);
});

test("the example's README explains every section of its config, and no other", () => {
  const sections = Object.keys(Bun.YAML.parse(read("examples/nycflights/mlpe.yaml")) as object);
  const explained = tableUnder(read("examples/nycflights/README.md"), "## The config").flatMap(([keys]) =>
    inTicks(keys!),
  );
  expect(explained.sort()).toEqual(sections.sort());
});

// Bounds

const UNITS: Readonly<Record<string, number>> = { KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 };

function numberOf(expression: string): number {
  const shifted = expression
    .replaceAll("_", "")
    .replace(/n$/, "")
    .split("<<")
    .map((part) => part.split("*").reduce((product, factor) => product * Number(factor), 1));
  return shifted.length === 1 ? shifted[0]! : shifted[0]! * 2 ** shifted[1]!;
}

/** The value of a constant as the file writes it: `NAME`, or `NAME.key` of a constant object. */
function constantIn(text: string, name: string): string | undefined {
  const [constant, key] = name.split(".") as [string, string | undefined];
  const value = new RegExp(`^(?:export )?const ${constant}(?:: [^=]+)? = ([^;]+);`, "m").exec(text)?.[1];
  return key === undefined ? value : new RegExp(`\\b${key}: ([^,}]+?)\\s*[,}]`).exec(value ?? "")?.[1];
}

function wrongBounds(rows: readonly (readonly string[])[], textOf: (path: string) => string | undefined): string[] {
  return rows.flatMap(([name, file, value, behaviour]) => {
    const place = `${plain(name!)} in ${plain(file!)}`;
    const actual = constantIn(textOf(plain(file!)) ?? "", plain(name!));
    const [stated] = inTicks(value!);
    if (actual === undefined) return [`${place}: there is no such constant`];
    if (stated !== actual) return [`${place}: is ${actual}, not ${stated}`];
    const said = /\((\d+) (KiB|MiB|GiB)\)/.exec(value!);
    if (said && Number(said[1]) * UNITS[said[2]!]! !== numberOf(actual))
      return [`${place}: ${actual} is not ${said[0]}`];
    return behaviour === "" ? [`${place}: what happens there is not said`] : [];
  });
}

const bounds = () => tableUnder(architecture, "## 13. Bounds");

test("a wrong bound is seen", () => {
  const text = "const A = 4 << 20;\nexport const B: Many = { x: 1 << 10, y: 7 };\nconst C_MAX = 3;\n";
  const row = (name: string, value: string, behaviour = "waits") => [`\`${name}\``, "`f`", value, behaviour];
  const rows = [
    row("A", "`4 << 20` (4 MiB)"),
    row("A", "`4 << 20` (5 MiB)"),
    row("A", "`8 << 20`"),
    row("B.x", "`1 << 10` (1 KiB)"),
    row("B.y", "`8`"),
    row("D", "`1`"),
    row("C_MAX", "`3`", ""),
  ];
  expect(wrongBounds(rows, () => text)).toEqual([
    "A in f: 4 << 20 is not (5 MiB)",
    "A in f: is 4 << 20, not 8 << 20",
    "B.y in f: is 7, not 8",
    "D in f: there is no such constant",
    "C_MAX in f: what happens there is not said",
  ]);
});

test("the bounds are the code's", () => {
  expect(bounds().length).toBeGreaterThan(50);
  expect(wrongBounds(bounds(), (path) => sources.get(path))).toEqual([]);
});

/** What is named like a bound. The limits of a type are none. */
const BOUND = /^(?:export )?const ((?:MAX|MOST)_[A-Z_]+|[A-Z_]+_(?:MAX|LIMITS|KEPT|CACHES))\b/gm;
const TYPE_LIMITS = new Set(["INT_MAX", "LONG_MAX", "MAX_SAFE"]);

test("every constant that is named like a bound is in the table", () => {
  const stated = new Set(bounds().map(([name, file]) => `${plain(file!)} ${plain(name!).split(".")[0]}`));
  const found = [...sources].flatMap(([path, text]) =>
    [...text.matchAll(BOUND)].filter((match) => !TYPE_LIMITS.has(match[1]!)).map((match) => `${path} ${match[1]}`),
  );
  expect(found.length).toBeGreaterThan(20);
  expect(found.filter((bound) => !stated.has(bound))).toEqual([]);
});

// Streams, tables and ranks

test("the streams are those of the code", () => {
  const declared = Object.entries(streams).flatMap(([name, value]) => {
    if (typeof value === "string" && /^[A-Z]+$/.test(name)) return [value];
    if (typeof value === "function" && name.endsWith("Stream")) return [(value as (of: string) => string)("")];
    return [];
  });
  const stated = tableUnder(architecture, "The streams, all declared in").map(([name]) => plain(name!));
  expect(stated.map((name) => name.replace(/<\w+>$/, "")).sort()).toEqual(declared.sort());
});

test("the steps read and write streams that exist", () => {
  const names = new Set(tableUnder(architecture, "The streams, all declared in").map(([name]) => plain(name!)));
  const steps = tableUnder(architecture, "## 2.");
  const named = steps.flatMap(([, , reads, writes]) => [...inTicks(reads!), ...inTicks(writes!)]);
  expect(named.length).toBeGreaterThan(10);
  expect(named.filter((name) => !names.has(name))).toEqual([]);
});

test("the tables of the log and their columns are those of the migrations", () => {
  const database = new Database(":memory:");
  database.run("CREATE TABLE migrations (number INTEGER PRIMARY KEY, name TEXT NOT NULL, digest TEXT NOT NULL) STRICT");
  for (const { sql } of migrations) database.run(sql);
  const actual = database
    .query<{ name: string; columns: string }, []>(
      `SELECT m.name, group_concat(c.name, ', ' ORDER BY c.cid) AS columns
       FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table' GROUP BY m.name ORDER BY m.name`,
    )
    .all()
    .map(({ name, columns }) => `${name}: ${columns}`);
  const stated = tableUnder(architecture, "### Tables").map(([name, columns]) => `${plain(name!)}: ${plain(columns!)}`);
  expect(stated.sort()).toEqual(actual);
  expect(read("src/store/migrations.ts")).toContain(
    "number INTEGER PRIMARY KEY, name TEXT NOT NULL, digest TEXT NOT NULL",
  );
});

test("the ranks and the exceptions are those of the imports", () => {
  const ranks = new Map(
    tableUnder(architecture, "## 4. Ranks").flatMap(([rank, rooms]) =>
      inTicks(rooms!).map((room): [string, number] => [room, Number(rank)]),
    ),
  );
  const rooms = readdirSync(join(root, "src"), { withFileTypes: true }).filter((entry) => entry.isDirectory());
  expect([...ranks.keys()].sort()).toEqual(rooms.map(({ name }) => name).sort());
  const found = new Set<string>();
  for (const [path, text] of sources) {
    for (const specifier of importsOf(text)) {
      const [from, to] = [path, resolveImport(path, specifier) ?? ""].map((file) => file.split("/")[1]!);
      if (!ranks.has(from!) || !ranks.has(to!) || from === to) continue;
      if (ranks.get(to!)! >= ranks.get(from!)!) found.add(`${from} -> ${to}`);
    }
  }
  const stated = tableUnder(architecture, "Imports that go sideways or up").map(([name]) => plain(name!));
  expect(stated.sort()).toEqual([...found].sort());
});

test("every room has its row, with what keeps it so", () => {
  const rows = tableUnder(architecture, "## 5. The rooms");
  const rooms = readdirSync(join(root, "src"), { withFileTypes: true }).filter((entry) => entry.isDirectory());
  expect(rows.map(([room]) => plain(room!)).sort()).toEqual(rooms.map(({ name }) => `src/${name}/`).sort());
  expect(rows.filter((row) => inTicks(row[3]!).length === 0)).toEqual([]);
});

// The change log

test("the change log has the version of package.json, newest first", () => {
  const { version } = JSON.parse(read("package.json")) as { version: string };
  const versions = [...read("CHANGELOG.md").matchAll(/^## \[([^\]]+)\]/gm)].map((match) => match[1]!);
  expect(versions.find((name) => name !== "Unreleased")).toBe(version);
});
