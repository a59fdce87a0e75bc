/**
 * The house rules, run over the whole repository. Each rule is first shown a small tree that breaks it, so that none
 * can pass by finding nothing.
 */
import { expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import {
  bannedCalls,
  deadFiles,
  dependencyPins,
  dockerfile,
  errorCodes,
  freeLicense,
  type InstalledPackage,
  inputOutputImports,
  licences,
  machinePaths,
  type Ratchet,
  type Rule,
  ranks,
  registriesComplete,
  sizes,
  sloppiness,
} from "./support/house.ts";
import { functionsOf, importsOf, mask } from "./support/source.ts";

/** Exceptions to the sizes, exactly as they are: they may only shrink. */
const RATCHET: Ratchet = { files: {}, functions: {} };

const root = join(import.meta.dir, "..");

/** Every file that git tracks or would track. Bytes are read as Latin-1, so that no binary file is skipped. */
function repository(): Map<string, string> {
  const listed = Bun.spawnSync(["git", "ls-files", "-co", "--exclude-standard", "-z"], { cwd: root });
  const paths = listed.stdout
    .toString()
    .split("\0")
    .filter((path) => path !== "" && existsSync(join(root, path)));
  return new Map(paths.map((path) => [path, readFileSync(join(root, path), /\.ts$/.test(path) ? "utf8" : "latin1")]));
}

const tree = repository();
const treeOf = (files: Record<string, string>) => new Map(Object.entries(files));
const lines = (count: number) => "x;\n".repeat(count);
const entry = (name: string) => `  ${name}: { kind: "invalid", meaning: "m", fix: "f" },\n`;
const errorsFile = `export const aErrors = errorTable("a", {\n${entry("used")}${entry("unused")}});\n`;
const container = 'FROM a:1 AS build\nFROM b:2\nVOLUME /data\nUSER 10001\nHEALTHCHECK CMD x\nENTRYPOINT ["x"]\n';

const rules: readonly (readonly [string, Rule, Record<string, string>, string])[] = [
  [
    "a lower room imports a higher one",
    ranks,
    { "src/base/a.ts": 'import { b } from "../store/b.ts";' },
    "src/base/a.ts: imports src/store/b.ts",
  ],
  [
    "siblings import each other",
    ranks,
    { "src/quality/a.ts": 'import type { B } from "../feedback/b.ts";' },
    "src/quality/a.ts: imports src/feedback/b.ts",
  ],
  [
    "the agreed exception holds one way only",
    ranks,
    {
      "src/views/a.ts": 'import { b } from "../fusion/b.ts";',
      "src/fusion/b.ts": 'import { a } from "../views/a.ts";',
    },
    "src/fusion/b.ts: imports src/views/a.ts",
  ],
  ["sources import tests", ranks, { "src/cli/a.ts": 'import "../../test/b.ts";' }, "outside src/"],
  ["an unknown room", ranks, { "src/misc/a.ts": "" }, '"misc" is no room'],
  ["the clock is read", bannedCalls, { "src/views/a.ts": "\nconst t = Date.now();" }, "src/views/a.ts:2: Date.now"],
  ["a date of now", bannedCalls, { "src/views/a.ts": "new Date( )" }, "new Date( )"],
  ["chance", bannedCalls, { "src/views/a.ts": `\`\${Math.random()}\`` }, "Math.random"],
  ["the environment", bannedCalls, { "src/cli/a.ts": "process.env.HOME" }, "process.env"],
  ["the command line", bannedCalls, { "src/cli/a.ts": "process.argv" }, "process.argv"],
  ["printing", bannedCalls, { "src/cli/a.ts": "console.log(1)" }, "console.log"],
  ["a file is read in a pure room", bannedCalls, { "src/fusion/a.ts": 'Bun.file("x")' }, "Bun.file"],
  ["a request from a pure room", bannedCalls, { "src/fusion/a.ts": "await fetch(url)" }, "fetch("],
  ["I/O is imported", inputOutputImports, { "src/scoring/a.ts": 'import { x } from "node:fs";' }, "imports node:fs"],
  ["a database", inputOutputImports, { "src/views/a.ts": 'import { x } from "bun:sqlite";' }, "imports bun:sqlite"],
  ["a long file", sizes({ files: {}, functions: {} }), { "src/base/a.ts": lines(401) }, "has 401 lines"],
  [
    "a long function",
    sizes({ files: {}, functions: {} }),
    { "src/base/a.ts": `export function f(a: { b: string }): { c: number } {\n${lines(70)}}\n` },
    "the function at line 1 has 72 lines",
  ],
  [
    "a file over its ratchet",
    sizes({ files: { "src/base/a.ts": 410 }, functions: {} }),
    { "src/base/a.ts": lines(411) },
    "grew to 411 lines",
  ],
  [
    "a ratchet that was not lowered",
    sizes({ files: { "src/base/a.ts": 410 }, functions: {} }),
    { "src/base/a.ts": lines(405) },
    "set the ratchet to that",
  ],
  ["a ratchet of nothing", sizes({ files: { "src/b.ts": 500 }, functions: {} }), {}, "does not exist"],
  [
    "a dead file",
    deadFiles,
    { "src/main.ts": 'import "./a.ts";', "src/a.ts": "", "src/b.ts": 'import "./a.ts";' },
    "src/b.ts: nothing imports it",
  ],
  ["a loose type", sloppiness, { "src/a.ts": "const x: any = 1" }, "src/a.ts:1: the type any"],
  ["a loose cast", sloppiness, { "test/a.ts": "\n(x as any).y" }, "test/a.ts:2: the type any"],
  ["a loose list", sloppiness, { "src/a.ts": "type X = Map<string, any[]>" }, "the type any"],
  ["a silenced type error", sloppiness, { "src/a.ts": `// @ts${"-ignore"}` }, "src/a.ts:1: @ts"],
  ["work left for later", sloppiness, { "scripts/a.ts": `// ${"TO"}DO: more` }, "scripts/a.ts:1"],
  [
    "a registry forgets a file",
    registriesComplete,
    {
      "src/cli/commands.ts": 'import { a } from "./a.ts";',
      "src/cli/a.ts": "export const a: Command = {",
      "src/cli/b.ts": "export const b: Command = {",
    },
    "src/cli/b.ts: src/cli/commands.ts does not import it",
  ],
  [
    "a registry of nothing",
    registriesComplete,
    { "src/keys/registry.ts": "", "src/keys/a.ts": "" },
    "src/keys/registry.ts: no file of src/keys/",
  ],
  [
    "an error that nothing throws",
    errorCodes,
    { "src/a/errors.ts": errorsFile, "src/a/b.ts": 'aErrors.error("used", "")' },
    "nothing throws a.unused",
  ],
  [
    "an error table without documentation",
    errorCodes,
    { "src/a/errors.ts": errorsFile, "src/cli/error_tables.ts": "export const tables = [bErrors];" },
    "src/cli/error_tables.ts lacks aErrors",
  ],
  [
    "a range of versions",
    dependencyPins,
    { "package.json": '{"dependencies":{"a":"^1.0.0"}}' },
    "a is not pinned: ^1.0.0",
  ],
  ["a mirror in the lock file", dependencyPins, { "bun.lock": '"https://mirror.example/a.tgz"' }, "names the registry"],
  ["a path of some machine", machinePaths, { "models/a.onnx": `\0\x01${"/ho"}me/someone/x` }, "models/a.onnx:1"],
  ["no container", dockerfile, {}, "does not exist"],
  ["a container as root", dockerfile, { Dockerfile: container.replace("10001", "root") }, "runs as root"],
  ["a container without a check", dockerfile, { Dockerfile: container.replace("HEALTHCHECK", "#") }, "no HEALTHCHECK"],
  ["a container of one stage", dockerfile, { Dockerfile: container.replace("FROM a:1 AS build\n", "") }, "final stage"],
  ["a floating base image", dockerfile, { Dockerfile: container.replace("b:2", "b:latest") }, "names no version"],
  ["a secret in a container", dockerfile, { Dockerfile: `${container}ENV API_TOKEN=x\n` }, "API_TOKEN"],
];

test.each(rules)("a violation is seen: %s", (_, rule, files, message) => {
  expect(rule(treeOf(files)).join("\n")).toContain(message);
});

test("what is fine is not taken for a violation", () => {
  const fine = treeOf({
    "src/main.ts": 'import "./views/a.ts"; process.env; Date.now(); console.log(process.argv);',
    "src/views/a.ts": [
      'import { plan } from "../fusion/plan.ts";',
      'import { createHash } from "node:crypto";',
      '/* Date.now() in a comment */ const text = "Math.random() and console.log in a text"; // any',
      "const pattern = /console\\.log\\(any\\)/; const half = total / 2 / Date.parse(text);",
      "const any = new Date(micros); const found = list.any(1);",
      "import.meta.dir;",
    ].join("\n"),
    "src/fusion/plan.ts": "",
    Dockerfile: container,
    "package.json": '{"dependencies":{"a":"1.0.0"}}',
  });
  for (const rule of [ranks, bannedCalls, inputOutputImports, sloppiness, deadFiles, dependencyPins, dockerfile]) {
    expect(rule(fine)).toEqual([]);
  }
});

test("imports, masks and functions are read rightly", () => {
  const text = [
    'import type { A } from "./a.ts";',
    "import {",
    "  b,",
    '} from "./b.ts";',
    '// import { c } from "./c.ts";',
    'export * from "./d.ts";',
    'const worker = new Worker(new URL("./e.ts", import.meta.url));',
    "const note = 'import { f } from \"./f.ts\"';",
  ].join("\n");
  expect(importsOf(text).sort()).toEqual(["./a.ts", "./b.ts", "./d.ts", "./e.ts"]);
  expect(mask("a / b / `x${c /* d */ + `y`}z` // e").bare.replaceAll(" ", "")).toBe("a/b/`c+```");
  const functions = [
    "export async function one<T>(a: Map<string, { b: T }>): Promise<{ c: T } | undefined> {",
    "}",
    "class Two {",
    "  async three({ a }: { a: number }): Promise<void> {",
    "",
    "  }",
    "  if (a) { }",
    "}",
    "const four = (a: number) => {",
    "};",
    "function five(a: string): void;",
    "  call(a, b);",
  ].join("\n");
  const spans = functionsOf(functions).map(({ line, lines: count }) => [line, count]);
  expect(spans).toEqual([
    [1, 2],
    [4, 3],
    [9, 2],
  ]);
});

test("a licence that does not fit is seen, through dependencies too", () => {
  const installed: Record<string, InstalledPackage> = {
    a: { name: "a", license: "MIT", dependencies: { b: "1", c: "1" } },
    b: { name: "b", license: "AGPL-3.0-only" },
    c: { name: "c", license: "(MIT OR GPL-3.0-or-later)", dependencies: { d: "1" } },
    d: { name: "d" },
  };
  const found = licences(["a", "e"], (name) => installed[name]);
  expect(found).toEqual(["e: is not installed", "b: is under AGPL-3.0-only", "d: states no licence"]);
  expect(["LGPL-3.0", "MIT AND GPL-2.0-only", "GPL-3.0", "SEE LICENSE"].map(freeLicense)).toEqual([
    false,
    false,
    false,
    false,
  ]);
  expect(["MIT", "(Apache-2.0 AND BSD-3-Clause)", "GPL-2.0 OR ISC"].map(freeLicense)).toEqual([true, true, true]);
});

const house: readonly (readonly [string, Rule])[] = [
  ["rooms import lower ranks only", ranks],
  ["the clock, chance, the environment and the terminal are passed in", bannedCalls],
  ["I/O is imported in the rooms for it", inputOutputImports],
  ["files and functions are short", sizes(RATCHET)],
  ["no dead files", deadFiles],
  ["no loose types, nothing silenced, nothing left for later", sloppiness],
  ["registries are complete", registriesComplete],
  ["error codes are used and documented", errorCodes],
  ["dependencies are pinned", dependencyPins],
  ["no path of a machine in any file", machinePaths],
  ["the container is not root, is checked, and holds no secret", dockerfile],
];

test.each(house)("the house: %s", (_, rule) => {
  expect(rule(tree)).toEqual([]);
});

test("the house: everything that ships is permissively licensed", () => {
  const { dependencies } = JSON.parse(tree.get("package.json")!) as { dependencies: Record<string, string> };
  const read = (name: string): InstalledPackage | undefined => {
    const path = join(root, "node_modules", name, "package.json");
    return existsSync(path) ? (JSON.parse(readFileSync(path, "utf8")) as InstalledPackage) : undefined;
  };
  expect(licences(Object.keys(dependencies), read)).toEqual([]);
});

test("the house: the licence is Apache-2.0", () => {
  expect(tree.get("LICENSE")).toContain("Apache License\n                           Version 2.0, January 2004");
  expect(JSON.parse(tree.get("package.json")!).license).toBe("Apache-2.0");
});
