/** What `mlpe ingest` says of sources that had nothing for it. */
import { expect, test } from "bun:test";
import { createSmallDesk } from "../support/world.ts";

test("a source moved to a file of the same content ingests nothing, and says so", async () => {
  const desk = createSmallDesk();
  try {
    expect((await desk.run("ingest")).errors).toBe("");
    expect((await desk.run("ingest")).errors).toBe("");
    desk.write("later/b.csv", "id\n1\n2\n");
    const moved = ["--set", "sources.s.path=later/b.csv"];
    const told = "later/b.csv has the size and the first 64 KiB of a.csv, which was read before: nothing is ingested";
    const ran = await desk.run("ingest", ...moved);
    expect([ran.exit, ran.errors]).toEqual([0, told]);
    expect(JSON.parse((await desk.run("ingest", ...moved, "--json")).output).notes).toEqual([told]);
    expect(JSON.parse((await desk.run("query", "select count(*) from d", "--json")).output).rows).toEqual([[2]]);
  } finally {
    desk.remove();
  }
});
