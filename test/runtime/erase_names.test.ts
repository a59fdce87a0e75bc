import { afterEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Value } from "../../src/base/row.ts";
import { idNames } from "../../src/ingestion/erased.ts";
import { commandsIn } from "../cli/support.ts";

/*
 * Entities whose fields are no texts, and names that are odd or words of the project: the right rows go, from the raw pages
 * too, they stay away when they are sent again, and what the project is made of keeps its names.
 */
const homes: string[] = [];
afterEach(() => {
  for (const home of homes.splice(0)) rmSync(home, { recursive: true, force: true });
});

const CONTRACT = {
  type: "record",
  name: "trips",
  fields: [
    { name: "id", type: "string" },
    { name: "driver", type: ["null", "string"] },
    { name: "number", type: "long" },
    { name: "planned", type: { type: "long", logicalType: "timestamp-micros" } },
    { name: "day", type: ["null", { type: "int", logicalType: "date" }] },
    { name: "sure", type: ["null", "boolean"] },
  ],
  entity: ["number", "planned"],
  eventTime: "planned",
  recordId: ["id"],
};

const NAMES = ["Zoë", "名前", 'O"Brien', "trips", "START", "Zo"];

const row = (i: number) =>
  JSON.stringify({
    id: `t${i}`,
    driver: i < NAMES.length ? NAMES[i] : null,
    number: i % 3,
    planned: `2024-01-01T0${i}:00:00+01:00`,
    day: `2024-01-${i % 2 === 0 ? "01" : "02"}`,
    sure: i === 9,
  });
const ROWS = Array.from({ length: 10 }, (_, i) => row(i));

const config = (sources: string) => `
site: here
keys: { provider: file, path: key }
data: data
sources:
${sources}
datasets:
  trips: { contract: trips.avsc }
checks:
  trips:
    - { expect_column_values_to_be_in_set: { column: driver, value_set: [nobody] } }
`;
const source = (name: string) => `  ${name}: { connector: file, path: ${name}.jsonl, dataset: trips }`;

async function project() {
  const home = mkdtempSync(join(tmpdir(), "mlpe-erase-"));
  homes.push(home);
  writeFileSync(join(home, "mlpe.yaml"), config(source("trips")));
  writeFileSync(join(home, "trips.avsc"), JSON.stringify(CONTRACT));
  writeFileSync(join(home, "trips.jsonl"), `${ROWS.join("\n")}\n`);
  const commands = commandsIn(home);
  await commands.json(["ingest"]);
  const erase = (...entity: string[]) =>
    commands.json<{ streams: Record<string, { emptied: number; replaced: number }> }>([
      "erase",
      ...entity.flatMap((one) => ["--entity", one]),
    ]);
  const ids = async () => {
    const { rows } = await commands.json<{ rows: string[][] }>(["query", "select id from trips order by id"]);
    return rows.map(([id]) => id);
  };
  const stream = async (name: string) => (await commands.run(["tap", name])).output;
  const pages = async (name: string) => {
    const lines = (await stream(`landing/${name}`)).split("\n").filter((line) => line !== "");
    return lines.map((line) => Buffer.from(JSON.parse(line).payload, "base64").toString()).join("");
  };
  return { home, ...commands, erase, ids, stream, pages };
}

test("an entity is found by instants, days, numbers and truths as they are written, and stays away", async () => {
  const { home, json, failure, erase, ids, pages } = await project();
  const left = new Set(ROWS.map((_, i) => `t${i}`));
  // t4 at 03:00 UTC, in another spelling than it came; only both fields together name it.
  const one = await erase("number=01", "planned=2024-01-01 03:00:00Z");
  expect(one.streams).toMatchObject({ "curated/trips": { emptied: 1 }, "landing/trips": { replaced: 1 } });
  left.delete("t4");
  expect(await ids()).toEqual([...left]);
  await erase("sure=true");
  left.delete("t9");
  await erase("day=2024-01-02");
  for (const i of [1, 3, 5, 7]) left.delete(`t${i}`);
  expect(await ids()).toEqual([...left]);
  const landed = await pages("trips");
  for (let i = 0; i < 10; i++) expect([i, landed.includes(`"t${i}"`)]).toEqual([i, left.has(`t${i}`)]);

  writeFileSync(join(home, "again.jsonl"), `${ROWS.join("\n")}\n`);
  writeFileSync(join(home, "mlpe.yaml"), config(`${source("trips")}\n${source("again")}`));
  await json(["ingest"]);
  expect(await ids()).toEqual([...left]);
  const again = await pages("again");
  for (let i = 0; i < 10; i++) expect([i, again.includes(`"t${i}"`)]).toEqual([i, left.has(`t${i}`)]);
  expect(await json(["ledger", "verify"])).toMatchObject({ ok: true });
  expect(await json(["audit", "verify"])).toMatchObject({ verified: true, problems: [] });

  // Two values of one field are no entity: the later must not be erased alone.
  const twice = await failure(["erase", "--entity", "id=t0", "--entity", "id=t2"]);
  expect(twice).toMatchObject({ code: "cli.bad_usage", message: expect.stringContaining("id twice") });
  const nothing = await failure(["erase", "--entity", "planned=2025-01-01T00:00:00Z"]);
  expect(nothing.message).toContain("planned=2025-01-01T00:00:00Z");
  expect(await ids()).toEqual([...left]);
}, 30_000);

test("odd names leave verdicts, and words of the project stay what they are", async () => {
  const { json, erase, stream } = await project();
  const verdicts = await stream("verdicts");
  for (const name of ["Zoë", "名前", 'O\\\\\\"Brien', "START"]) expect(verdicts).toContain(name);
  const before = await stream("lineage");
  const control = await stream("control");
  for (const name of NAMES) await erase(`driver=${name}`);
  const after = await stream("verdicts");
  for (const name of ["Zoë", "名前", "Brien"]) expect([name, after.includes(name)]).toEqual([name, false]);
  expect(after).toContain("[erased]");
  expect(after).not.toContain("[erased]ë");
  // The dataset and the source are called as one driver was, and every run has a START.
  const columns = (text: string) =>
    text
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, string>)
      .map(({ job, event_type, event }) => [job, event_type, JSON.parse(event!).job.name]);
  expect(columns(await stream("lineage"))).toEqual(columns(before));
  expect(await stream("lineage")).toContain("curated/trips");
  expect(await stream("control")).toEqual(control);
  expect(await json(["audit", "verify"])).toMatchObject({ verified: true, problems: [] });
}, 30_000);

test("a value that two datasets read differently is refused", async () => {
  const { home, failure } = await project();
  const others = { ...CONTRACT, name: "notes", fields: CONTRACT.fields.map((f) => ({ ...f })) };
  others.fields[2] = { name: "number", type: "string" };
  writeFileSync(join(home, "notes.avsc"), JSON.stringify({ ...others, entity: ["id"] }));
  const both = config(source("trips")).replace("datasets:", "datasets:\n  notes: { contract: notes.avsc }");
  writeFileSync(join(home, "mlpe.yaml"), both);
  const refused = await failure(["erase", "--entity", "number=01"]);
  expect(refused).toMatchObject({ code: "runtime.not_an_entity", message: expect.stringContaining("differ") });
  expect((await failure(["erase", "--entity", "number=77"])).code).toBe("store.nothing_to_erase");
}, 30_000);

test("an id that somebody made up names an entity by any of its words, as they stand between signs", () => {
  const gone = {
    fieldSets: [["tailnum"]],
    has: (_: readonly string[], [value]: readonly Value[]) => value === "N14228" || value === "St.-Anne",
  };
  for (const id of ["N14228", "req-N14228-a", "a/N14228_7", "St.-Anne", "x St.-Anne"])
    expect(idNames(id, gone)).toBe(true);
  for (const id of ["", "N142280", "reqN14228", "St Anne", "7"]) expect(idNames(id, gone)).toBe(false);
  expect(idNames("N14228", { ...gone, fieldSets: [["tailnum", "at"]] })).toBe(false); // one word is not all of it
});
