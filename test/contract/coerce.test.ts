import { expect, test } from "bun:test";
import fc from "fast-check";
import { coercer, isReject } from "../../src/contract/coerce.ts";
import type { Field, FieldType } from "../../src/contract/contract.ts";
import { exactJsonText, parseExactJson } from "../../src/contract/json.ts";

const field = (type: FieldType, symbols?: readonly string[]): Field => ({
  name: "f",
  type,
  nullable: true,
  classification: "internal",
  ...(symbols ? { symbols } : {}),
});

/** Raw values of one type and what becomes of each: a value, or the rule that refuses it. */
const TABLE: readonly [FieldType, unknown, unknown][] = [
  ["int", "12", 12],
  ["int", " 12 ", 12],
  ["int", "+12", 12],
  ["int", "-0", 0],
  ["int", "12.0", 12],
  ["int", 12, 12],
  ["int", 12n, 12],
  ["int", "2147483647", 2147483647],
  ["int", "-2147483648", -2147483648],
  ["int", "2147483648", "!int_range"],
  ["int", "12.7", "!whole"],
  ["int", 12.7, "!whole"],
  ["int", "1e3", "!whole"],
  ["int", "", "!number"],
  ["int", "0x10", "!number"],
  ["int", "1_000", "!number"],
  ["int", true, "!number"],
  ["int", Number.NaN, "!finite"],
  ["long", "9007199254740993", 9007199254740993n],
  ["long", 9007199254740993n, 9007199254740993n],
  ["long", "9007199254740991", 9007199254740991],
  ["long", 2 ** 53, "!exact"],
  ["long", "9223372036854775807", 9223372036854775807n],
  ["long", "9223372036854775808", "!long_range"],
  ["long", "-9223372036854775808", -9223372036854775808n],
  ["double", "1.5", 1.5],
  ["double", ".5", 0.5],
  ["double", "1e3", 1000],
  ["double", "1e400", "!finite"],
  ["double", "NaN", "!finite"],
  ["double", "-inf", "!finite"],
  ["double", Number.POSITIVE_INFINITY, "!finite"],
  ["double", "9007199254740993", "!exact"],
  ["double", 9007199254740993n, "!exact"],
  ["double", "9007199254740992", 9007199254740992],
  ["double", "1,5", "!number"],
  ["double", "", "!number"],
  ["float", "0.1", Math.fround(0.1)],
  ["float", "1e40", "!float_range"],
  ["float", 1e40, "!float_range"],
  ["float", "1e-60", "!float_range"],
  ["boolean", "TRUE", true],
  ["boolean", false, false],
  ["boolean", "1", "!boolean"],
  ["boolean", 1, "!boolean"],
  ["string", "", ""],
  ["string", 12, "!string"],
  ["string", "\ud800", "!string"],
  ["bytes", "AQID", new Uint8Array([1, 2, 3])],
  ["bytes", "AQI", "!base64"],
  ["bytes", "AQJ=", "!base64"],
  ["timestamp", "2013-01-01T10:00:00Z", 1357034400000000],
  ["timestamp", "2013-01-01 05:00:00.000001-05:00", 1357034400000001],
  ["timestamp", "2013-01-01T10:00:00", "!offset"],
  ["timestamp", "2013-01-01", "!timestamp"],
  ["timestamp", "2013-01-01T10:00:00+19:00", "!timestamp"],
  ["timestamp", 1357034400000000, "!timestamp"],
  ["date", "2013-01-02", 15707],
  ["date", "2013-02-30", "!date"],
  ["date", "2013-01-02T00:00:00Z", "!date"],
  ["date", 15707, "!date"],
];

for (const [type, raw, wanted] of TABLE) {
  const shown = typeof raw === "bigint" ? `${raw}n` : raw instanceof Uint8Array ? "bytes" : JSON.stringify(raw);
  test(`${type} from ${shown} (${typeof raw})`, () => {
    const value = coercer(field(type))(raw);
    if (typeof wanted === "string" && wanted.startsWith("!")) {
      expect(isReject(value)).toBe(true);
      expect(value).toMatchObject({ rule: wanted.slice(1) });
    } else expect(value).toEqual(wanted as never);
  });
}

test("an enum takes its symbols only, and null and missing are null everywhere", () => {
  const read = coercer(field("enum", ["A", "B"]));
  expect(read("A")).toBe("A");
  expect(read("a")).toMatchObject({ rule: "enum" });
  for (const type of ["int", "string", "timestamp", "bytes"] as const) {
    expect(coercer(field(type))(null)).toBeNull();
    expect(coercer(field(type))(undefined)).toBeNull();
  }
});

test("whole numbers and doubles survive text and JSON unchanged, whatever they are", () => {
  const long = coercer(field("long"));
  const double = coercer(field("double"));
  fc.assert(
    fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), (whole) => {
      expect(BigInt(long(whole.toString()) as bigint)).toBe(whole);
      const back = parseExactJson(exactJsonText({ whole })) as { whole: unknown };
      expect(BigInt(long(back.whole) as bigint)).toBe(whole);
    }),
  );
  fc.assert(
    fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (number) => {
      // What a double prints may be a whole number beyond 2^53 that is not its exact value: it is refused, never changed.
      const value = double(String(number));
      expect(isReject(value) || value === number).toBe(true);
      if (!Number.isInteger(number)) expect(value).toBe(number);
    }),
  );
});
