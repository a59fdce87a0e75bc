/**
 * Run by test/runtime/space.test.ts on a small disk of its own: a server is asked for an erasure and for new keys while there
 * is room for noting that, but not for doing it; then the disk is freed.
 */
import { unlinkSync } from "node:fs";
import { join } from "node:path";
import { verifyAudit } from "../../src/audit/verify.ts";
import { seededRandom } from "../../src/base/random.ts";
import { rowsOf } from "../../src/contract/batch.ts";
import { openEngine } from "../../src/runtime/engine.ts";
import { listKeys } from "../../src/store/key_list.ts";
import { fillDisk } from "./fill_disk.ts";
import { locationIn, ONE_OF_EACH, toldServer } from "./told_server.ts";
import { createDesk } from "./world.ts";

const place = process.argv[2]!;
process.env.TMPDIR = place; // where the desk is made
const filler = join(place, "filler");
const LEFT = 300 << 10;

const desk = createDesk();
const type = (name: string) => ({ name, type: name === "n" ? "double" : "string" });
const at = { name: "at", type: { type: "long", logicalType: "timestamp-micros" } };
const fields = [...["id", "who", "n", "note"].map(type), at];
desk.write("mlpe.yaml", `space: { soft: 0B, hard: 0B, ballast: 0B }\n${ONE_OF_EACH}`);
desk.write(
  "d.avsc",
  JSON.stringify({ type: "record", name: "d", recordId: ["id"], entity: ["who"], eventTime: "at", fields }),
);
const random = seededRandom(1);
const note = () => Buffer.from(random.bytes(270)).toString("base64"); // nothing that could be packed
const rows = Array.from({ length: 5_000 }, (_, i) => `r${i},who-${i % 10},${i},${note()},2024-01-01T00:00:00Z`);
desk.write("rows.csv", `id,who,n,note,at\n${rows.join("\n")}\n`);
await desk.run("ingest");

async function look() {
  const { store, close } = await openEngine(desk.world, locationIn(desk), "read");
  let left = 0;
  for await (const { batch } of store.scan("curated/d", { columns: ["who"] })) {
    left += rowsOf(batch).filter(({ who }) => who === "who-3").length;
  }
  const { pending } = store;
  const keys = listKeys(store).store_keys.map(({ key_id }) => key_id);
  const findings = verifyAudit(store).problems.length;
  const seen = { rows: left, pending: pending.erasures().length, rotating: pending.isRotating(), keys, findings };
  await close();
  return seen;
}

const server = toldServer(desk);
await server.said("ready");
fillDisk(filler, LEFT);
const asked = await desk.run("erase", "--entity", "who=who-3");
const refused = { exit: asked.exit, full: asked.errors.includes("store.full"), ...(await look()) };
unlinkSync(filler);
await server.said("the erasure is done");
const erased = await look();
fillDisk(filler, LEFT);
const turned = await desk.run("keys", "rotate");
const cut = { exit: turned.exit, full: turned.errors.includes("store.full"), ...(await look()) };
unlinkSync(filler);
await server.said("the rotation of keys is done");
const rotated = await look();
await server.stop();
console.log(JSON.stringify({ refused, erased, cut, rotated }));
process.exit(0);
