import type { Case } from "./case.ts";
import { edited, READINGS } from "./project.ts";

type Draft = Record<string, unknown> & { fields: Record<string, unknown>[] };

const contractCase = (
  name: string,
  change: (draft: Draft) => void,
  code: string,
  ...says: readonly string[]
): Case => ({
  name: `a contract with ${name}`,
  spoil(desk) {
    const draft = structuredClone(READINGS) as unknown as Draft;
    change(draft);
    desk.write("readings.avsc", JSON.stringify(draft));
  },
  run: ["validate"],
  exit: 65,
  code,
  says: ["readings", ...says],
});

const written = (name: string, text: string, code: string): Case => ({
  name,
  spoil: (desk) => desk.write("readings.avsc", text),
  run: ["validate"],
  exit: 65,
  code,
  says: ["readings.avsc"],
});

/** What is wrong with a contract. */
export const contractCases: readonly Case[] = [
  written("a contract that is no JSON", "{ type: record", "contract.not_json"),
  written("a contract that is a primitive", '"string"', "contract.not_a_record"),
  written("a contract that is an enum", '{ "type": "enum", "name": "e", "symbols": ["A"] }', "contract.not_a_record"),
  contractCase("no name", (draft) => delete draft.name, "contract.not_a_record"),
  contractCase("a field without a name", (draft) => delete draft.fields[1]!.name, "contract.bad_field", "field 2"),
  contractCase(
    "a field of an unknown type",
    (draft) => (draft.fields[3]!.type = "decimal"),
    "contract.bad_field",
    "field 4",
    "temperature",
  ),
  contractCase(
    "a field of two types",
    (draft) => (draft.fields[3]!.type = ["int", "string"]),
    "contract.bad_field",
    "field 4",
  ),
  contractCase(
    "an enum without symbols",
    (draft) => (draft.fields[1]!.type = { type: "enum" }),
    "contract.bad_field",
    "field 2",
  ),
  contractCase(
    "a logical type on the wrong base",
    (draft) => (draft.fields[2]!.type = { type: "string", logicalType: "timestamp-micros" }),
    "contract.bad_field",
    "field 3",
  ),
  contractCase(
    "two fields equal but for case",
    (draft) => draft.fields.push({ name: "Sensor", type: "string" }),
    "contract.bad_field",
    "field 5",
    "Sensor",
  ),
  contractCase(
    "a field name that is none",
    (draft) => (draft.fields[1]!.name = "a place"),
    "contract.bad_field",
    "a place",
  ),
  contractCase(
    "an unknown classification",
    (draft) => (draft.fields[0]!.classification = "secret"),
    "contract.bad_field",
    "secret",
  ),
  contractCase("an entity that is no field", (draft) => (draft.entity = ["sensr"]), "contract.bad_property", "sensr"),
  contractCase(
    "an event time that is no field",
    (draft) => (draft.eventTime = "when"),
    "contract.bad_property",
    "when",
  ),
  contractCase(
    "an event time that is no timestamp",
    (draft) => (draft.eventTime = "sensor"),
    "contract.bad_property",
    "sensor",
  ),
  contractCase("an order that is no field", (draft) => (draft.order = "rank"), "contract.bad_property", "rank"),
  contractCase("no record id", (draft) => delete draft.recordId, "contract.bad_property", "recordId"),
  contractCase("an empty record id", (draft) => (draft.recordId = []), "contract.bad_property", "recordId"),
  contractCase("a record id that is no field", (draft) => (draft.recordId = ["nr"]), "contract.bad_property", "nr"),
  contractCase("a record id that is a number", (draft) => (draft.recordId = 7), "contract.bad_property", "recordId"),
  contractCase(
    "a default of another type",
    (draft) => (draft.fields[3]!.default = "warm"),
    "contract.bad_field",
    "temperature",
  ),
  contractCase("no event time", (draft) => delete draft.eventTime, "ingestion.no_event_time", "readings"),
  {
    name: "a rename of an unknown field",
    spoil: (desk) =>
      desk.write(
        "mlpe.yaml",
        edited("{ contract: readings.avsc }", "{ contract: readings.avsc, rename: { sensr: s } }"),
      ),
    run: ["validate"],
    exit: 65,
    code: "ingestion.unknown_field",
    says: ["datasets.readings", "sensr"],
  },
  {
    name: "a normaliser for an unknown field",
    spoil: (desk) =>
      desk.write(
        "mlpe.yaml",
        edited("{ contract: readings.avsc }", "{ contract: readings.avsc, set: { sensr: \"'x'\" } }"),
      ),
    run: ["validate"],
    exit: 65,
    code: "ingestion.unknown_field",
    says: ["datasets.readings", "sensr"],
  },
];
