import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cpSync } from "node:fs";
import { openLog } from "../src/runtime/engine.ts";
import type { Case } from "./bad_input/case.ts";
import { configCases } from "./bad_input/config_cases.ts";
import { contractCases } from "./bad_input/contract_cases.ts";
import { expressionCases } from "./bad_input/expression_cases.ts";
import { expectNothingInside } from "./bad_input/inside.ts";
import { createDelivered, createProject, edited, must, READINGS_CSV } from "./bad_input/project.ts";
import { sourceCases } from "./bad_input/source_cases.ts";
import { storedCases } from "./bad_input/stored_cases.ts";
import type { Desk, Ran } from "./support/world.ts";

/**
 * Every case takes a good project, spoils one thing, and runs one command line as a user would. It must end with the exit
 * code and the stable code of the table, name the place, say the next step, and show nothing of the inside.
 */

function expectAnswer({ exit, code, says }: Case, ran: Ran): void {
  const printed = `${ran.errors}\n${ran.output}`;
  expectNothingInside(printed);
  expect(printed).toContain(`${code}: `);
  expect(printed).toMatch(/\n {2}fix: \S.{8,}/);
  for (const piece of says) expect(printed).toContain(piece);
  expect(ran.exit).toBe(exit);
}

let delivered: Desk;
beforeAll(async () => {
  delivered = await createDelivered();
});
afterAll(() => delivered.remove());

/** A copy of the project that has run. */
function copyDelivered(): Desk {
  const desk = createProject();
  cpSync(delivered.home, desk.home, { recursive: true });
  return desk;
}

async function withDesk(desk: Desk, act: (desk: Desk) => Promise<void>): Promise<void> {
  try {
    await act(desk);
  } finally {
    desk.remove();
  }
}

function tableOf(title: string, cases: readonly Case[], make: () => Desk): void {
  describe(title, () => {
    for (const one of cases) {
      test(one.name, () =>
        withDesk(make(), async (desk) => {
          await one.spoil?.(desk);
          expectAnswer(one, await desk.run(...one.run));
        }),
      );
    }
  });
}

tableOf("the config", configCases, createProject);
tableOf("contracts", contractCases, createProject);
tableOf("expressions", expressionCases, createProject);
tableOf("sources, keys and data", sourceCases, createProject);
tableOf("a project that has run", storedCases, copyDelivered);

test("the table has enough cases, each of its own name", () => {
  const names = [configCases, contractCases, expressionCases, sourceCases, storedCases].flat().map(({ name }) => name);
  expect(names.length).toBeGreaterThanOrEqual(150);
  expect(new Set(names).size).toBe(names.length);
});

test("the good project has nothing wrong with it", () =>
  withDesk(copyDelivered(), async (desk) => {
    for (const args of [["validate"], ["ingest"], ["ledger", "verify"], ["audit", "verify"]]) {
      expect(await desk.run(...args)).toMatchObject({ exit: 0, errors: "" });
    }
  }));

test("with --json an error is one object with the same facts", () =>
  withDesk(createProject(), async (desk) => {
    desk.write("mlpe.yaml", edited("port: 0", "prot: 0"));
    const { exit, output, errors } = await desk.run("validate", "--json");
    expect({ exit, output }).toEqual({ exit: 78, output: "" });
    const { error } = JSON.parse(errors) as { error: Record<string, string> };
    expect(error).toMatchObject({ code: "config.unknown_key", fix: expect.stringContaining('"port"') });
    expect(error.place).toStartWith("mlpe.yaml:4:");
  }));

test("problems of one file are told together", () =>
  withDesk(createProject(), async (desk) => {
    desk.write("mlpe.yaml", edited("port: 0, max_body: 262144", "port: x, max_body: y, z: 1"));
    const { errors } = await desk.run("validate");
    expect(errors.match(/^error config\.\w+: mlpe\.yaml:4:/gm)).toHaveLength(3);
  }));

test("a second writer is refused and names the first", () =>
  withDesk(createProject(), async (desk) => {
    await must(desk, "ingest");
    const { clock, random } = desk.world;
    const keys = { provider: "file", path: desk.path("key") };
    const held = await openLog({ directory: desk.path("data"), keys, clock, random });
    try {
      const ran = await desk.run("ingest");
      expectAnswer({ name: "", run: [], exit: 69, code: "store.locked", says: [desk.path("data"), "process"] }, ran);
      expect(await desk.run("streams")).toMatchObject({ exit: 0 });
    } finally {
      await held.close();
    }
  }));

describe("a broken source", () => {
  const broken = edited("path: readings.csv", "path: nowhere.csv");

  test("does not stop the others, and is told at the end", () =>
    withDesk(createProject(), async (desk) => {
      desk.write("mlpe.yaml", broken);
      const { exit, output, errors } = await desk.run("ingest", "--json");
      expect(exit).toBe(66);
      const answer = JSON.parse(output) as { rows: Record<string, number>; failed: Record<string, string>[] };
      expect(answer.rows["curated/places"]).toBe(2);
      expect(answer.rows["curated/readings"]).toBeUndefined();
      expect(answer.failed).toMatchObject([{ step: "ingest.readings", code: "connectors.file_missing" }]);
      expect(JSON.parse(errors)).toMatchObject({
        error: { code: "connectors.file_missing", place: "sources.readings" },
      });
    }));

  test("two of them are both told", () =>
    withDesk(createProject(), async (desk) => {
      desk.write("mlpe.yaml", broken.replace("path: places.csv", "path: absent.csv"));
      const { exit, errors } = await desk.run("ingest");
      expect(exit).toBe(66);
      expect(errors.match(/^error connectors\.file_missing: sources\.(readings|places): /gm)).toHaveLength(2);
    }));

  test("goes on where it stopped once it is mended", () =>
    withDesk(createProject(), async (desk) => {
      desk.write("mlpe.yaml", broken);
      await desk.run("ingest");
      desk.write("nowhere.csv", READINGS_CSV);
      const { exit, output } = await desk.run("ingest", "--json");
      expect(exit).toBe(0);
      expect((JSON.parse(output) as { rows: object }).rows).toMatchObject({
        "curated/readings": 3,
        "features/load": 3,
      });
    }));
});
