import { functionsOf, importsOf, lineOf, mask, resolveImport, type Tree } from "./source.ts";

/** The house rules over a tree of sources. Each gives its violations as `path:line: what`; none is an empty list. */
export type Rule = (tree: Tree) => string[];

const ROOM_RANKS: Readonly<Record<string, number>> = {
  ...{ base: 0, contract: 1, expression: 1, config: 1, store: 2, keys: 2 },
  ...{ connectors: 3, ingestion: 3, fusion: 3, views: 3, scoring: 3, quality: 3, lineage: 3, audit: 3 },
  ...{ monitoring: 3, feedback: 3, delivery: 3, sync: 3, runtime: 4, server: 5, cli: 6 },
};
const TOP_RANK = 7; // files directly in src/
/** Imports between rooms of one rank that were agreed, with the reason. */
const SIBLINGS: Readonly<Record<string, string>> = {
  "views -> fusion": "a view is a fusion plan with a name, versions and exports",
  "store -> keys": "the log seals what it writes",
  "config -> contract": "the config names contracts",
  "expression -> contract": "expressions are typed against contracts",
};

const roomOf = (path: string) => (path.split("/").length > 2 ? path.split("/")[1]! : "");
const rankOf = (path: string) => (roomOf(path) === "" ? TOP_RANK : ROOM_RANKS[roomOf(path)]);
const sources = (tree: Tree, folder = "src/") =>
  [...tree].filter(([path]) => path.startsWith(folder) && path.endsWith(".ts"));

export const ranks: Rule = (tree) => {
  const wrong: string[] = [];
  for (const [path, text] of sources(tree)) {
    const rank = rankOf(path);
    if (rank === undefined) {
      wrong.push(`${path}: "${roomOf(path)}" is no room of the house`);
      continue;
    }
    for (const specifier of importsOf(text)) {
      const target = resolveImport(path, specifier);
      if (target === undefined) continue;
      if (!target.startsWith("src/")) {
        if (target.endsWith(".ts")) wrong.push(`${path}: imports ${target}, which is outside src/`);
        continue;
      }
      const [from, to] = [roomOf(path), roomOf(target)];
      const targetRank = rankOf(target) ?? TOP_RANK;
      if (from === to || targetRank < rank || `${from} -> ${to}` in SIBLINGS) continue;
      wrong.push(`${path}: imports ${target} (rank ${rank} may not import rank ${targetRank} of another room)`);
    }
  }
  return wrong;
};

interface Ban {
  readonly what: RegExp;
  readonly instead: string;
  readonly allowed: (path: string) => boolean;
}

const atRoot = (path: string) => roomOf(path) === "" || roomOf(path) === "base";
const IO_ROOMS = new Set(["connectors", "store", "keys", "server", "sync"]);
const inputOutput = (path: string) =>
  atRoot(path) || IO_ROOMS.has(roomOf(path)) || path.startsWith("src/scoring/session") || IO_FILES.has(path);
/** Files outside the I/O rooms that talk to the outside; each names what. */
const IO_FILES: ReadonlySet<string> = new Set([
  "src/lineage/post_http.ts", // posts lineage events
  "src/monitoring/webhook_http.ts", // posts alerts
  "src/audit/verify.ts", // reads segment files again, byte for byte
  "src/runtime/running.ts", // asks the server that has the store open
]);

const BANS: readonly Ban[] = [
  { what: /\bDate\.now\b/g, instead: "take a Clock", allowed: atRoot },
  { what: /\bnew Date\(\s*\)/g, instead: "take a Clock", allowed: atRoot },
  { what: /\bperformance\.now\b/g, instead: "take a Clock", allowed: atRoot },
  { what: /\bMath\.random\b/g, instead: "take a Random", allowed: atRoot },
  { what: /\b(?:randomUUID|getRandomValues|randomBytes)\b/g, instead: "take a Random", allowed: atRoot },
  { what: /\b(?:process|Bun|import\.meta)\.env\b/g, instead: "take the World", allowed: atRoot },
  { what: /\b(?:process|Bun)\.argv\b/g, instead: "take the Input of a command", allowed: atRoot },
  { what: /\bprocess\.(?:exit|stdout|stderr|stdin)\b/g, instead: "return an Outcome", allowed: atRoot },
  { what: /\bconsole\.\w+/g, instead: "return an Outcome or take a World", allowed: atRoot },
  {
    what: /\bBun\.(?:file|write|serve|spawn|spawnSync|connect|listen)\b/g,
    instead: "take Files or a port",
    allowed: inputOutput,
  },
  { what: /(?<![\w.$])fetch\(/g, instead: "take a function that posts", allowed: inputOutput },
];

export const bannedCalls: Rule = (tree) => {
  const wrong: string[] = [];
  for (const [path, text] of sources(tree)) {
    const { bare } = mask(text);
    for (const { what, instead, allowed } of BANS) {
      if (allowed(path)) continue;
      for (const match of bare.matchAll(what))
        wrong.push(`${path}:${lineOf(bare, match.index)}: ${match[0]}; ${instead}`);
    }
  }
  return wrong;
};

/** Modules that touch nothing outside the process. */
const PURE_MODULES = new Set(["node:crypto", "node:util", "node:buffer", "node:zlib", "node:path"]);

export const inputOutputImports: Rule = (tree) => {
  const wrong: string[] = [];
  for (const [path, text] of sources(tree)) {
    if (inputOutput(path)) continue;
    for (const specifier of importsOf(text)) {
      if (!/^(?:bun|node):|^bun$/.test(specifier) || PURE_MODULES.has(specifier)) continue;
      if (roomOf(path) === "expression" && specifier === "bun:sqlite") continue; // in memory, as a calculator
      wrong.push(`${path}: imports ${specifier}; I/O belongs in ${[...IO_ROOMS].join(", ")} or src/system.ts`);
    }
  }
  return wrong;
};

const FILE_LINES_MAX = 400;
const FUNCTION_LINES_MAX = 70;

/** What is over a limit today, exactly: growing fails, and so does shrinking without lowering the figure here. */
export interface Ratchet {
  /** path -> lines */
  readonly files: Readonly<Record<string, number>>;
  /** path -> lines of its longest function */
  readonly functions: Readonly<Record<string, number>>;
}

export const sizes =
  (ratchet: Ratchet): Rule =>
  (tree) => {
    const wrong: string[] = [];
    const judge = (
      path: string,
      what: string,
      found: number,
      limit: number,
      table: Readonly<Record<string, number>>,
    ) => {
      const recorded = table[path];
      if (recorded === undefined && found > limit)
        wrong.push(`${path}: ${what} has ${found} lines, more than ${limit}`);
      if (recorded === undefined || recorded === found) return;
      if (found > recorded) wrong.push(`${path}: ${what} grew to ${found} lines, from ${recorded}`);
      else
        wrong.push(`${path}: ${what} has ${found} lines now: set the ratchet to that, or drop it at ${limit} or less`);
    };
    for (const folder of ["src/", "test/", "scripts/"]) {
      for (const [path, text] of sources(tree, folder)) {
        judge(path, "the file", text.split("\n").length - 1, FILE_LINES_MAX, ratchet.files);
        if (folder === "test/") continue; // a describe block is a function, and may be as long as its file
        const longest = functionsOf(text).reduce((most, span) => (span.lines > most.lines ? span : most), {
          line: 0,
          lines: 0,
        });
        judge(path, `the function at line ${longest.line}`, longest.lines, FUNCTION_LINES_MAX, ratchet.functions);
      }
    }
    for (const path of [...Object.keys(ratchet.files), ...Object.keys(ratchet.functions)]) {
      if (!tree.has(path)) wrong.push(`${path}: is in the ratchet, and does not exist`);
    }
    return wrong;
  };

/** Files of src/ that no chain of imports from main.ts, or from an entry that the build script names, reaches. */
export const deadFiles: Rule = (tree) => {
  if (!tree.has("src/main.ts")) return [];
  const reached = new Set<string>(["src/main.ts"]);
  for (const [, text] of sources(tree, "scripts/")) {
    for (const [, path] of text.matchAll(/"(src\/[\w./]+\.ts)"/g)) reached.add(path!);
  }
  for (const path of reached) {
    for (const specifier of importsOf(tree.get(path) ?? "")) {
      const target = resolveImport(path, specifier);
      if (target !== undefined) reached.add(target);
    }
  }
  // Where the chain breaks off, what lies behind is unknown; the type check names the missing file.
  if ([...reached].some((path) => path.startsWith("src/") && !tree.has(path))) return [];
  return sources(tree)
    .filter(([path]) => !reached.has(path) && !path.endsWith(".d.ts"))
    .map(([path]) => `${path}: nothing imports it`);
};

const SLOPPY: readonly (readonly [RegExp, string])[] = [
  [/(?:[:<|&,(]\s*|\bas\s+)any\b(?!\s*[:(.?])/g, "the type any"],
  [/\bany\[\]/g, "the type any"],
];
/** Split so that this file does not violate what it states. */
const WORDS = new RegExp(
  ["@ts-" + "(?:ignore|nocheck|expect-error)", "\\bTO" + "DO\\b", "\\bFIX" + "ME\\b"].join("|"),
  "g",
);

export const sloppiness: Rule = (tree) => {
  const wrong: string[] = [];
  for (const folder of ["src/", "test/", "scripts/"]) {
    for (const [path, text] of sources(tree, folder)) {
      const { bare } = mask(text);
      for (const [pattern, what] of SLOPPY) {
        for (const match of bare.matchAll(pattern)) wrong.push(`${path}:${lineOf(bare, match.index)}: ${what}`);
      }
      for (const match of text.matchAll(WORDS)) wrong.push(`${path}:${lineOf(text, match.index)}: ${match[0]}`);
    }
  }
  return wrong;
};

interface Registry {
  readonly file: string;
  readonly folder: string;
  /** What marks a file of the folder as something the registry must list. */
  readonly member: RegExp;
}

/** One file and one line each: a file that the registry forgets is a feature that does not exist. */
const REGISTRIES: readonly Registry[] = [
  {
    file: "src/connectors/registry.ts",
    folder: "src/connectors/",
    member: /\bexport const \w+: ConnectorKind\b/,
  },
  { file: "src/keys/registry.ts", folder: "src/keys/", member: /\bexport function \w+KeyProvider\(/ },
  {
    file: "src/quality/registry.ts",
    folder: "src/quality/",
    member: /\bexport const \w+: Readonly<Record<string, Expectation>>/,
  },
  { file: "src/cli/commands.ts", folder: "src/cli/", member: /\bexport const \w+: Command\b/ },
];

export const registriesComplete: Rule = (tree) => {
  const wrong: string[] = [];
  for (const { file, folder, member } of REGISTRIES) {
    const members = sources(tree, folder).filter(([path, text]) => path !== file && member.test(mask(text).bare));
    const registry = tree.get(file);
    if (registry === undefined) {
      if (members.length > 0) wrong.push(`${file}: does not exist, and ${folder} has ${members.length} members`);
      continue;
    }
    if (members.length === 0) wrong.push(`${file}: no file of ${folder} looks like ${member}`);
    const listed = new Set(importsOf(registry).map((specifier) => resolveImport(file, specifier)));
    for (const [path] of members) if (!listed.has(path)) wrong.push(`${path}: ${file} does not import it`);
  }
  return wrong;
};

const ERROR_DOCS = "src/cli/error_tables.ts";

/** Every code that can be documented can be met, and every table is documented. */
export const errorCodes: Rule = (tree) => {
  const wrong: string[] = [];
  const all = sources(tree).map(([path, text]) => ({ path, ...mask(text) }));
  const docs = tree.get(ERROR_DOCS);
  for (const { path, bare, withoutComments } of all) {
    const table = /\bexport const (\w+) = errorTable\(\s*"(\w+)"/.exec(withoutComments);
    if (!table) continue;
    const [, name, prefix] = table;
    if (docs !== undefined && !new RegExp(`\\b${name}\\b`).test(docs))
      wrong.push(`${path}: ${ERROR_DOCS} lacks ${name}`);
    for (const entry of bare.slice(table.index).matchAll(/\n {2}(\w+): \{/g)) {
      const quoted = new RegExp(`"(?:${prefix}\\.)?${entry[1]}"`);
      if (!all.some((file) => quoted.test(file.withoutComments))) {
        wrong.push(`${path}: nothing throws ${prefix}.${entry[1]}`);
      }
    }
  }
  return wrong;
};

export interface InstalledPackage {
  readonly name: string;
  readonly license?: unknown;
  readonly dependencies?: Readonly<Record<string, string>>;
}

const FREE =
  /^(?:MIT|MIT-0|ISC|0BSD|Apache-2\.0|BSD-2-Clause|BSD-3-Clause|BlueOak-1\.0\.0|CC0-1\.0|Unlicense|Zlib|Python-2\.0)$/;

/** Whether an SPDX expression lets us ship the package: with OR one free choice is enough, with AND all must be free. */
export function freeLicense(expression: string): boolean {
  const plain = expression.replace(/[()]/g, " ").trim();
  if (/\sOR\s/.test(plain)) return plain.split(/\s+OR\s+/).some(freeLicense);
  return plain.split(/\s+AND\s+/).every((part) => FREE.test(part.trim()));
}

/** What ships, transitively, and is not under a permissive licence. `read` gives an installed package, or undefined. */
export function licences(roots: readonly string[], read: (name: string) => InstalledPackage | undefined): string[] {
  const wrong: string[] = [];
  const seen = new Set(roots);
  for (const name of seen) {
    const installed = read(name);
    if (!installed) {
      wrong.push(`${name}: is not installed`);
      continue;
    }
    if (typeof installed.license !== "string") wrong.push(`${name}: states no licence`);
    else if (!freeLicense(installed.license)) wrong.push(`${name}: is under ${installed.license}`);
    for (const dependency of Object.keys(installed.dependencies ?? {})) seen.add(dependency);
  }
  return wrong;
}

interface PackageJson {
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
}

/** Exact versions, from the lock file, from no particular mirror. */
export const dependencyPins: Rule = (tree) => {
  const wrong: string[] = [];
  const { dependencies, devDependencies } = JSON.parse(tree.get("package.json") ?? "{}") as PackageJson;
  for (const [name, version] of Object.entries({ ...dependencies, ...devDependencies })) {
    if (!/^\d+\.\d+\.\d+(?:-[\w.]+)?$/.test(version)) wrong.push(`package.json: ${name} is not pinned: ${version}`);
  }
  for (const match of (tree.get("bun.lock") ?? "").matchAll(/\bhttps?:\/\/[^"\s]*/g)) {
    wrong.push(`bun.lock: names the registry ${match[0]}`);
  }
  return wrong;
};

/** Split so that this file does not hold what it looks for. */
const MACHINE_PATH = new RegExp(
  `(?<![\\w.~-])/(?:${["ro" + "ot", "wo" + "rk", "ho" + "me", "Us" + "ers"].join("|")})/\\w+`,
  "g",
);

/** Any file at all, binary ones too: paths of somebody's machine leak into models and lock files. */
export const machinePaths: Rule = (tree) => {
  const wrong: string[] = [];
  for (const [path, text] of tree) {
    for (const match of text.matchAll(MACHINE_PATH)) wrong.push(`${path}:${lineOf(text, match.index)}: ${match[0]}`);
  }
  return wrong;
};

/** What can be said of the container without building it. */
export const dockerfile: Rule = (tree) => {
  const text = tree.get("Dockerfile");
  if (text === undefined) return ["Dockerfile: does not exist"];
  const lines = text.replace(/\\\n/g, " ").split("\n");
  const wrong: string[] = [];
  const stages = lines.filter((line) => /^FROM\s/.test(line));
  if (stages.length < 2) wrong.push("Dockerfile: has no separate final stage");
  for (const stage of stages) if (!/^FROM\s+\S+:\S*\d/.test(stage)) wrong.push(`Dockerfile: ${stage} names no version`);
  const final = lines.slice(lines.lastIndexOf(stages.at(-1) ?? ""));
  const user = final.findLast((line) => /^USER\s/.test(line))?.split(/\s+/)[1];
  if (user === undefined || /^(?:root|0)(?::|$)/.test(user)) wrong.push("Dockerfile: the final stage runs as root");
  for (const instruction of ["HEALTHCHECK", "VOLUME", "ENTRYPOINT"]) {
    if (!final.some((line) => line.startsWith(`${instruction} `)))
      wrong.push(`Dockerfile: the final stage has no ${instruction}`);
  }
  for (const line of lines) {
    if (/^\s*(?:ARG|ENV)\b.*(?:SECRET|TOKEN|PASSWORD|PRIVATE|_KEY)\b/i.test(line))
      wrong.push(`Dockerfile: ${line.trim()}`);
    if (/^\s*(?:COPY|ADD)\b.*(?:\.key|\.pem|\.env)\b/.test(line))
      wrong.push(`Dockerfile: copies a secret: ${line.trim()}`);
  }
  return wrong;
};
