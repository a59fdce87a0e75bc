import type { Micros } from "../base/time.ts";
import type { Contract, Field, FieldType } from "../contract/contract.ts";
import type { ViewShape } from "../contract/streams.ts";
import type { AggregateFunction, Program } from "../expression/types.ts";
import type { TableNeeds } from "./table.ts";

/** A view compiled against its contracts: everything that history, increments and requests need, typed. */
export interface ViewPlan {
  readonly name: string;
  readonly spine: string;
  readonly spineContract: Contract;
  readonly shape: ViewShape;
  /** Of the stream features/<view>. */
  readonly contract: Contract;
  /** `sha256:<hex>` of the canonical view and the fingerprints of its contracts. */
  readonly digest: string;
  /** By dataset: what its table must hold. The spine and the label's dataset are among them. */
  readonly needs: ReadonlyMap<string, TableNeeds>;
  /** Datasets whose watermark must pass T before a spine row is fused: those joined or aggregated. */
  readonly waitsFor: readonly string[];
  /** Column id, in the spine's table, of T. */
  readonly asOf: string;
  /** Fields of the spine that evaluation reads, in the order that spine values are passed in. */
  readonly spineFields: readonly Field[];
  readonly joins: readonly JoinPlan[];
  readonly windows: readonly WindowPlan[];
  /** All features, in the order of the config. */
  readonly program: Program;
  /** Where each input of the program comes from. */
  readonly slots: readonly Slot[];
  /** T of a row that is not in a table; undefined where it is the event time. */
  readonly label: LabelPlan | null;
  /** By feature: the columns its value is made of. */
  readonly lineage: ReadonlyMap<string, readonly LineageInput[]>;
  /** Columns that decide which rows are used: keys and conditions. They bear on every feature. */
  readonly indirect: readonly IndirectInput[];
  /** Fuse after this long of processing time even if a watermark holds T back. */
  readonly maxWait: Micros | undefined;
}

/** Key columns of the spine (as indices into `spineFields`) and the columns they equal. */
export interface KeyPlan {
  readonly spine: readonly number[];
  readonly theirs: readonly string[];
}

export interface JoinPlan {
  readonly alias: string;
  readonly dataset: string;
  readonly key: KeyPlan;
  /** Oldest event time used is T - maxAge, inclusive; infinity where unbounded. */
  readonly maxAge: Micros;
}

export interface WindowPlan {
  readonly alias: string;
  readonly dataset: string;
  readonly key: KeyPlan;
  /** Covers (T - length, T]. */
  readonly length: Micros;
  /** Column id of a boolean: only rows where it is true. */
  readonly where: string | undefined;
  /** Rows with the spine row's own entity key are left out: spine field index -> their column. */
  readonly excludes: KeyPlan | undefined;
  /** At most the latest so many rows. */
  readonly rows: number;
  readonly values: readonly WindowValue[];
}

export interface WindowValue {
  readonly name: string;
  readonly fn: AggregateFunction;
  /** Column id of the argument; null for count(*). */
  readonly column: string | null;
  readonly type: FieldType;
}

/** An input of the features: a spine field, a column of a join's row, or a window's value. */
export type Slot =
  | { readonly from: "spine"; readonly field: number }
  | { readonly from: "join"; readonly join: number; readonly column: string }
  | { readonly from: "window"; readonly window: number; readonly value: number };

export interface LabelPlan {
  readonly name: string;
  readonly dataset: string;
  readonly key: KeyPlan;
  /** Column id of the outcome, a number or a boolean. */
  readonly column: string;
}

export interface LineageInput {
  readonly dataset: string;
  readonly field: string;
  readonly kind: "identity" | "transformation" | "aggregation";
}

export interface IndirectInput {
  readonly dataset: string;
  readonly field: string;
  readonly kind: "join" | "filter" | "window";
}
