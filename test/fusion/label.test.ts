import { expect, test } from "bun:test";
import type { Row } from "../../src/base/row.ts";
import { rowLabels } from "../../src/fusion/label.ts";
import { planView } from "../../src/fusion/plan.ts";
import { datasetPlans, VIEW, viewConfig } from "./flights.ts";

const labelsWith = (label: object) => {
  const plan = planView("flight_delay", viewConfig({ ...VIEW, label: { late: label } }), datasetPlans());
  return rowLabels(plan, plan.label!);
};
const by = ["carrier", "flight", "scheduled"];
const row: Row = { carrier: "AA", flight: 1, scheduled: 5, departed: 9, dep_delay: 20, origin: "JFK" };
const keys = { carrier: "AA", flight: 1, scheduled: 5 };

test("a row tells its label by the plan's own expression, or none where a key is null", () => {
  const late = labelsWith({ from: "departures", by, value: "dep_delay > 15" });
  const { labelTime } = late(row)!;
  expect(late(row)).toMatchObject({ keys, label: true });
  expect(labelTime).toBe(row.departed as number);
  expect(late({ ...row, dep_delay: 3 })!.label).toBe(false);
  expect(late({ ...row, dep_delay: null })!.label).toBeNull();
  expect(late({ ...row, flight: null })).toBeNull();
  // A field as it is, with other derived columns of the same dataset beside it.
  expect(labelsWith({ from: "departures", by, value: "dep_delay" })(row)).toMatchObject({ keys, label: 20 });
});

test("a static dataset has no time of its own", () => {
  const label = labelsWith({ from: "planes", by: { tailnum: "tailnum" }, value: "seats" });
  expect(label({ tailnum: "N1", seats: 100 })).toEqual({ keys: { tailnum: "N1" }, label: 100, labelTime: null });
});
