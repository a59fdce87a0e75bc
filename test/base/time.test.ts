import { expect, test } from "bun:test";
import fc from "fast-check";
import { dayOf, formatDay, formatInstant, parseDay, parseInstant } from "../../src/base/time.ts";

const MOST = Number.MAX_SAFE_INTEGER;

test("every whole number of microseconds that a number holds goes through text and back", () => {
  fc.assert(
    fc.property(fc.integer({ min: -MOST, max: MOST }), (micros) => {
      expect(parseInstant(formatInstant(micros))).toBe(micros);
    }),
  );
});

test("the first and the last instant, and none beyond, whatever the offset", () => {
  expect(parseInstant("2255-06-05T23:47:34.740991Z")).toBe(MOST);
  expect(parseInstant("1684-07-28T00:12:25.259009Z")).toBe(-MOST);
  expect(parseInstant("2255-06-06T01:47:34.740991+02:00")).toBe(MOST); // before its offset is taken off it is beyond
  for (const text of ["2255-06-05T23:47:34.740992Z", "2255-06-05T23:47:34-01:00", "1684-07-28T00:12:25.259008Z"]) {
    expect(parseInstant(text)).toBeUndefined();
  }
  expect(parseInstant("9999-12-31T23:59:59Z")).toBeUndefined();
});

test("a year before 100 is that year, not one of the twentieth century", () => {
  expect(parseInstant("0099-01-01")).toBeUndefined();
  expect(parseInstant("0013-01-31T06:00:00Z")).toBeUndefined();
  expect(formatDay(parseDay("0099-01-01")!)).toBe("0099-01-01");
});

test("a number that is no exact instant is shown as the number it is", () => {
  expect(formatInstant(MOST + 1)).toBe("9007199254740992us");
  expect(formatInstant(0.5)).toBe("0.5us");
  expect(formatInstant(Number.NaN)).toBe("NaNus");
});

test("days are exact from the year 0000 to 9999", () => {
  fc.assert(
    fc.property(fc.integer({ min: -719_528, max: 2_932_896 }), (day) => {
      expect(parseDay(formatDay(day))).toBe(day);
    }),
  );
  expect([formatDay(-719_528), formatDay(2_932_896)]).toEqual(["0000-01-01", "9999-12-31"]);
  for (const text of ["2013-02-29", "2013-13-01", "2013-1-1", "0000-00-00", "10000-01-01", ""]) {
    expect(parseDay(text)).toBeUndefined();
  }
  expect(formatDay(1e12)).toBe("1000000000000");
});

test("a day may be written as the instant of its midnight", () => {
  expect(dayOf("1970-01-02")).toBe(1);
  expect(dayOf("1970-01-02T00:00:00Z")).toBe(1);
  expect(dayOf("1970-01-02T02:00:00+02:00")).toBe(1);
  expect(dayOf("1970-01-02T00:00:01Z")).toBeUndefined();
  expect(dayOf("1970-01-02T00:00:00")).toBeUndefined();
  expect(dayOf("1970-01-02T00:00:00", true)).toBe(1);
  expect(dayOf("9999-12-31")).toBe(2_932_896);
});
