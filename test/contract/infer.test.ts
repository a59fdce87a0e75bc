import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { coercer, isReject } from "../../src/contract/coerce.ts";
import { contractOf } from "../../src/contract/contract.ts";
import { inferContract } from "../../src/contract/infer.ts";

const HEADER = ["id", "at", "day", "n", "big", "x", "ok", "city", "zip", "local", "void"];
const SAMPLE = [
  [
    "7",
    "2024-01-01T10:00:00Z",
    "2024-01-01",
    "1",
    "5000000000",
    "1.5",
    "true",
    "Rome",
    "00118",
    "2024-01-01 10:00",
    "NA",
  ],
  ["8", "2024-01-01T11:00:00+01:00", "2024-01-02", "NA", "6", "2", "FALSE", "Oslo", "00255", "2024-01-01 11:00", ""],
  ["9", "2024-01-02T10:00:00Z", "", "-3", "7", "1e-3", "", "Rome", "10115", "2024-01-02 10:00", ""],
];

describe("a contract from a sample", () => {
  const { schema, notes } = inferContract("my trips", HEADER, SAMPLE);
  const contract = contractOf(schema, "inferred");

  test("has the narrowest types, and null wherever a row is not identified by the field", () => {
    expect(
      Object.fromEntries(contract.fields.map((field) => [field.name, field.type + (field.nullable ? "?" : "")])),
    ).toEqual({
      id: "int",
      at: "timestamp",
      day: "date?",
      n: "int?",
      big: "long?",
      x: "double?",
      ok: "boolean?",
      city: "string?",
      zip: "string?",
      local: "string?",
      void: "string?",
    });
  });

  test("proposes what a row is about, and says what it assumed", () => {
    expect(contract).toMatchObject({ name: "my_trips", eventTime: "at", recordId: ["id"], entity: ["id"] });
    const said = notes.join("\n");
    for (const word of [
      "3 sampled rows",
      'eventTime is "at"',
      "recordId is [id]",
      '"zip" has digits',
      '"local" looks like',
      '"void" has no value',
    ])
      expect(said).toContain(word);
  });

  test("falls back to content, to a pair, and to no event time", () => {
    const same = inferContract(
      "t",
      ["a", "b"],
      [
        ["1", "x"],
        ["1", "x"],
      ],
    );
    expect(same.schema).toMatchObject({ recordId: "content", entity: [] });
    expect(same.schema.eventTime).toBeUndefined();
    const pair = inferContract(
      "t",
      ["city", "at", "v"],
      [
        ["Rome", "2024-01-01T00:00:00Z", "1.5"],
        ["Oslo", "2024-01-01T00:00:00Z", "2.5"],
        ["Rome", "2024-01-02T00:00:00Z", "2.5"],
      ],
    );
    expect(pair.schema).toMatchObject({ recordId: ["city", "at"], entity: ["city"], eventTime: "at" });
    expect(inferContract("t", ["a"], []).schema.recordId).toBe("content");
    const legs = [
      ["7", "AA", "2024-01-01T00:00:00Z"],
      ["7", "BB", "2024-01-01T00:00:00Z"],
      ["8", "AA", "2024-01-01T00:00:00Z"],
      ["7", "AA", "2024-01-02T00:00:00Z"],
    ];
    // A text and a number, at a time: no two of them are enough.
    const triple = inferContract("t", ["leg", "line", "at"], legs).schema;
    expect(triple).toMatchObject({ recordId: ["line", "leg", "at"], entity: ["line", "leg"] });
  });

  test("makes names that Avro takes, all different, and says so", () => {
    const { schema: named, notes: said } = inferContract(
      "1",
      ["Größe (m)", "a", "A", "", "2x"],
      [["1", "2", "3", "4", "5"]],
    );
    expect(named.fields.map((field) => field.name)).toEqual(["Gro_e_m", "a", "A_2", "column_4", "_2x"]);
    expect(said.join("\n")).toContain('rename: { Gro_e_m: "Größe (m)", A_2: "A", column_4: "", _2x: "2x" }');
    expect(contractOf(named, "x").name).toBe("_1");
  });

  test("names a word that may mean null", () => {
    const { notes: said } = inferContract("t", ["v"], [["1"], ["2"], ["-"], ["3"]]);
    expect(said.join("\n")).toContain('numeric but for "-"');
  });
});

test("every text of the sample is read by the type that was inferred from it", () => {
  const text = fc.oneof(
    fc.constantFrom(
      "",
      "NA",
      "true",
      "False",
      "007",
      "-0",
      "1.",
      ".5",
      "1e400",
      "2024-02-30",
      "2024-02-29",
      "2024-01-01T00:00:00.1234567Z",
    ),
    fc.integer().map(String),
    fc.bigInt({ min: -(2n ** 65n), max: 2n ** 65n }).map(String),
    fc.double({ noNaN: true, noDefaultInfinity: true }).map(String),
    fc.date({ noInvalidDate: true, min: new Date(0), max: new Date(4e12) }).map((date) => date.toISOString()),
    fc.string(),
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(text, text), { maxLength: 6 }), (rows) => {
      const contract = contractOf(inferContract("t", ["a", "b"], rows).schema, "x");
      contract.fields.forEach((field, index) => {
        const read = coercer(field);
        for (const row of rows) {
          if (row[index] === "" || row[index] === "NA") continue;
          const value = read(row[index]);
          expect([row[index], field.type, isReject(value)]).toEqual([row[index], field.type, false]);
        }
      });
    }),
    { numRuns: 500 },
  );
});
