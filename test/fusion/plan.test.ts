import { expect, test } from "bun:test";
import { MlpeError } from "../../src/base/errors.ts";
import { planView } from "../../src/fusion/plan.ts";
import { datasetPlans, VIEW, viewConfig } from "./flights.ts";

const plan = (view: object = VIEW, available?: string) =>
  planView("flight_delay", viewConfig(view), datasetPlans(available));

function problemsOf(view: object): readonly { code: string; place?: string | undefined; fix: string }[] {
  try {
    plan(view);
  } catch (error) {
    if (error instanceof MlpeError) return error.problems;
    throw error;
  }
  return [];
}

test("a view is typed before anything runs", () => {
  const { shape, contract, needs, waitsFor } = plan();
  const types = Object.fromEntries(shape.features.map(({ name, type }) => [name, type]));
  expect(types).toMatchObject({
    distance: "double",
    carrier: "string",
    seats: "int",
    n: "long",
    delay: "double",
    weather_age: "double",
  });
  expect(shape.keys.map((key) => key.name)).toEqual(["carrier", "flight", "scheduled"]);
  expect(shape.inputs).toEqual(["weather", "plane"]);
  expect(contract.recordId).toEqual(["key_carrier", "key_flight", "key_scheduled"]);
  expect(needs.get("planes")!.fields).toEqual(["tailnum", "seats"]);
  expect(waitsFor).toEqual(["departures", "planes", "weather"]);
});

test("column lineage comes from the expressions, through aliases and windows", () => {
  const { lineage, indirect } = plan();
  expect(lineage.get("distance")).toEqual([{ dataset: "schedule", field: "distance", kind: "identity" }]);
  expect(lineage.get("wind")).toEqual([{ dataset: "weather", field: "wind", kind: "identity" }]);
  expect(lineage.get("weather_age")).toEqual([{ dataset: "weather", field: "time_hour", kind: "transformation" }]);
  expect(lineage.get("total")).toEqual([{ dataset: "departures", field: "dep_delay", kind: "aggregation" }]);
  expect(lineage.get("n")).toEqual([{ dataset: "departures", field: "origin", kind: "aggregation" }]);
  expect(indirect).toContainEqual({ dataset: "departures", field: "dep_delay", kind: "filter" });
  expect(indirect).toContainEqual({ dataset: "schedule", field: "tailnum", kind: "join" });
});

test("the digest says what the view means, not how it is written", () => {
  const { digest } = plan();
  const { distance, ...others } = VIEW.features;
  expect(plan({ ...VIEW, as_of: "(scheduled)   -   minutes( lead )" }).digest).toBe(digest);
  expect(plan({ ...VIEW, joins: { plane: VIEW.joins.plane, weather: VIEW.joins.weather } }).digest).toBe(digest);
  expect(plan({ ...VIEW, features: { ...others, distance } }).digest).not.toBe(digest);
  expect(plan(VIEW, "time_hour + minutes(52)").digest).not.toBe(digest);
  const longer = { ...VIEW.windows, origin_3h: { ...VIEW.windows.origin_3h, window: "4h" } };
  expect(plan({ ...VIEW, windows: longer }).digest).not.toBe(digest);
});

test("every problem is reported at once, with its place", () => {
  const problems = problemsOf({
    ...VIEW,
    joins: {
      weather: { from: "wether", by: ["origin"] },
      plane: { from: "planes", by: { distance: "tailnum" } },
    },
    windows: {
      origin_3h: {
        from: "departures",
        by: ["nowhere"],
        window: "3h",
        values: { delay: "avg(carrier)", n: "median(dep_delay)" },
      },
      gone: { from: "planes", by: ["tailnum"], window: "1h", values: { n: "count(*)" } },
    },
    features: { ok: "distance", position: "distance", bad: "distance + carrier" },
    label: { late: { from: "departures", by: ["carrier"], value: "carrier" } },
  });
  const found = problems.map(({ place }) => String(place).replace(/[,:].*/, ""));
  for (const place of [
    "views.flight_delay.joins.weather.from",
    "views.flight_delay.joins.plane.by",
    "views.flight_delay.windows.origin_3h.by",
    "views.flight_delay.windows.origin_3h.values.delay",
    "views.flight_delay.windows.origin_3h.values.n",
    "views.flight_delay.windows.gone.from",
    "views.flight_delay.features.position",
    "views.flight_delay.features.bad",
    "views.flight_delay.label.late.value",
  ]) {
    expect(found).toContain(place);
  }
  for (const { fix } of problems) expect(fix.length).toBeGreaterThan(5);
});

test("a spine without an event time needs as_of", () => {
  expect(problemsOf({ spine: "planes", features: { seats: "seats" } })[0]).toMatchObject({
    code: "fusion.no_event_time",
    place: "views.flight_delay.as_of",
  });
});
