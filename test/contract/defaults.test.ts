import { expect, test } from "bun:test";
import { contractOf, fieldOf } from "../../src/contract/contract.ts";

/* Avro writes defaults as JSON in the schema's own units; rows hold them as their fields do. */
const contract = (type: unknown, value: unknown) =>
  contractOf({ type: "record", name: "c", recordId: ["f"], fields: [{ name: "f", type, default: value }] }, "c.avsc");

const MILLIS = { type: "long", logicalType: "timestamp-millis" };

test.each([
  [MILLIS, 1_704_067_200_000, 1_704_067_200_000_000],
  [["null", MILLIS], 1_704_067_200_000, 1_704_067_200_000_000],
  [["null", MILLIS], null, null],
  [{ type: "long", logicalType: "timestamp-micros" }, 1_704_067_200_000_000, 1_704_067_200_000_000],
  ["bytes", "\u00ffA", Uint8Array.of(255, 65)],
  ["bytes", "", new Uint8Array(0)],
  ["float", 0.1, Math.fround(0.1)],
  ["double", 0.1, 0.1],
  ["int", -2_147_483_648, -2_147_483_648],
  [{ type: "int", logicalType: "date" }, 19_723, 19_723],
])("a default of %p written as %p is the value that is meant", (type, written, meant) => {
  expect(fieldOf(contract(type, written), "f")!.default).toEqual(meant);
});

test.each([
  ["int", 2_147_483_648],
  ["int", 0.5],
  ["float", 1e39],
  ["bytes", "\u0100"],
])("a default of %p written as %p is refused", (type, written) => {
  expect(() => contract(type, written)).toThrow(`of "f" is no ${type}`);
});
