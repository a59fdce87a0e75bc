/**
 * `mlpe query` as a process of its own: what SQLite takes to sort, group, join and make large values stays near the bound,
 * though what it was asked for is far past it, and a query that would never end does. A child's largest resident memory is
 * compared with that of a child that answers at once.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { batchOf } from "../../src/contract/batch.ts";
import { streamContract } from "../../src/contract/contract.ts";
import { openEngine } from "../../src/runtime/engine.ts";
import { createDesk, type Desk } from "../support/world.ts";

const MAIN = join(import.meta.dir, "../../src/main.ts");
const ROWS = 40_000;
const notes = streamContract({
  name: "notes",
  fields: { id: "int", text: "string" },
  entity: ["id"],
  recordId: ["id"],
});
let desk: Desk;

beforeAll(async () => {
  desk = createDesk();
  desk.write("mlpe.yaml", "site: here\nkeys: { path: key }\ndata: data\n");
  const engine = await openEngine(desk.world, { config: desk.path("mlpe.yaml") }, "write");
  const rows = Array.from({ length: ROWS }, (_, id) => ({ id, text: `${(id * 7919) % ROWS}`.padStart(80, "-") }));
  await engine.store.commit({ appends: [{ stream: "curated/notes", batch: batchOf(notes, rows) }] });
  await engine.close();
}, 30_000);
afterAll(() => desk.remove());

interface Ended {
  readonly code: number;
  readonly output: string;
  readonly error: { readonly code: string; readonly message: string; readonly fix: string } | undefined;
  /** Bytes. */
  readonly resident: number;
}

async function ran(before: readonly string[], sql: string, ...flags: readonly string[]): Promise<Ended> {
  const child = Bun.spawn([...before, process.execPath, MAIN, "query", sql, "--json", ...flags], {
    cwd: desk.home,
    env: { HOME: desk.home, BUN_RUNTIME_TRANSPILER_CACHE_PATH: "0" },
    stdout: "pipe",
    stderr: "pipe",
  });
  try {
    const [output, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    const said = errors.startsWith("{") ? (JSON.parse(errors) as { error: Ended["error"] }).error : undefined;
    return { code, output, error: said, resident: child.resourceUsage()!.maxRSS };
  } finally {
    child.kill("SIGKILL");
  }
}
const MEMORY = 32;
/** What is taken between two looks, which a busy machine makes longer. */
const LATE = 96 << 20;
let idle: number | undefined;

test.each([
  ["sorts", "select count(*) from (select a.text from notes a, notes b order by a.text || b.id limit -1 offset 1)"],
  ["groups", "select a.text || b.id, count(*) from notes a, notes b group by 1"],
  ["tells apart", "select count(distinct a.id || b.text) from notes a, notes b"],
  ["makes one large value", "select length(group_concat(a.text || b.id)) from notes a, notes b"],
  ["gives a large answer", "select a.text, b.id from notes a, notes b"],
])(
  "a query that %s past its bound ends with an error that says so, near the bound",
  async (_what, sql) => {
    idle ??= (await ran([], "select count(*) from notes")).resident;
    const bound = ["--memory", `${MEMORY}`, "--timeout", "40", "--rows", "100000000"];
    const { code, output, error, resident } = await ran([], sql, ...bound);
    expect([code, output, error?.code]).toEqual([65, "", "store.query_too_large"]);
    expect(error?.message).toContain(`(${MEMORY} MiB)`);
    expect(error?.fix).toContain("--memory");
    expect(resident).toBeLessThan(idle + (MEMORY << 20) + LATE);
  },
  90_000,
);

test("a query that would go on for days ends at its bound of time", async () => {
  const sql = "select count(*) from notes a, notes b, notes c where a.id + b.id < c.id - 39990";
  const { code, output, error } = await ran([], sql, "--timeout", "1");
  expect([code, output, error?.code]).toEqual([65, "", "store.query_too_long"]);
  expect(error?.fix).toContain("--timeout");
});

test("sorting more than SQLite's cache holds is answered within the bound, and writes no file", async () => {
  const sql = "select text, group_concat(id) g from (select * from notes order by text || id) group by text || id";
  const trace = desk.path("trace");
  const traced = Bun.which("strace") === null ? [] : ["strace", "-f", "-qq", "-e", CREATING, "-o", trace];
  const { code, output } = await ran(traced, sql, "--rows", "100000");
  expect([code, JSON.parse(output).rows.length]).toEqual([0, ROWS]);
  if (traced.length === 0) return;
  const lines = readFileSync(trace, "utf8").split("\n");
  const made = lines.filter((line) => /O_CREAT|O_TMPFILE|creat\(|memfd_create/.test(line));
  expect(lines.length).toBeGreaterThan(50);
  expect(made.filter((line) => !line.includes(`${desk.home}/data/log.db`))).toEqual([]);
}, 90_000);
const CREATING = "trace=open,openat,creat,memfd_create";
