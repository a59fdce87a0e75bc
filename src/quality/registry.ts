import { COLUMN_AGGREGATES } from "./column_aggregates.ts";
import { COLUMN_VALUES } from "./column_values.ts";
import type { Expectation } from "./expectation.ts";
import { TABLE } from "./table.ts";

/** Every expectation by its Great Expectations name. A new one is one line in one of the three tables. */
export const EXPECTATIONS: Readonly<Record<string, Expectation>> = { ...COLUMN_VALUES, ...COLUMN_AGGREGATES, ...TABLE };
