import type { Contract } from "../contract/contract.ts";

/** How an output field depends on an input field. */
export type DependencyKind =
  | "identity"
  | "transformation"
  | "aggregation"
  | "join"
  | "filter"
  | "group_by"
  | "sort"
  | "window"
  | "conditional";

export interface InputField {
  /** OpenLineage dataset namespace and name. */
  readonly namespace: string;
  readonly name: string;
  readonly field: string;
  readonly kind: DependencyKind;
}

/** Which input fields one output field is made of; derived from the expressions' syntax tree, never written by hand. */
export interface ColumnLineage {
  readonly field: string;
  readonly from: readonly InputField[];
  /** The expression in canonical form. */
  readonly expression?: string;
}

export interface Assertion {
  /** The name of the expectation: `expect_column_values_to_not_be_null`. */
  readonly assertion: string;
  readonly success: boolean;
  readonly column?: string;
  readonly severity?: string;
  /** Rows that failed. */
  readonly failures?: number;
}

interface Dataset {
  readonly namespace: string;
  readonly name: string;
  readonly contract?: Contract;
  /** A model's digest, a commit number, a contract's fingerprint. */
  readonly version?: string;
  readonly dataSource?: { readonly name: string; readonly uri: string };
  readonly assertions?: readonly Assertion[];
}

interface Counted {
  readonly rows?: number;
  readonly bytes?: number;
  readonly files?: number;
}

export interface InputDataset extends Dataset {
  readonly read?: Counted;
}

export interface OutputDataset extends Dataset {
  readonly written?: Counted;
  readonly columns?: readonly ColumnLineage[];
}

/** Facet name -> version and name of its schema: `_schemaURL` is made of them. */
const SCHEMAS = {
  parent: ["1-2-0", "ParentRunFacet"],
  nominalTime: ["1-0-1", "NominalTimeRunFacet"],
  errorMessage: ["1-0-1", "ErrorMessageRunFacet"],
  processing_engine: ["1-1-1", "ProcessingEngineRunFacet"],
  jobType: ["2-0-4", "JobTypeJobFacet"],
  schema: ["1-2-0", "SchemaDatasetFacet"],
  version: ["1-0-1", "DatasetVersionDatasetFacet"],
  dataSource: ["1-0-1", "DatasourceDatasetFacet"],
  columnLineage: ["1-2-0", "ColumnLineageDatasetFacet"],
  dataQualityAssertions: ["1-1-0", "DataQualityAssertionsDatasetFacet"],
  inputStatistics: ["1-0-0", "InputStatisticsInputDatasetFacet"],
  outputStatistics: ["1-0-2", "OutputStatisticsOutputDatasetFacet"],
} as const;

/** The named facet with its two required fields. */
export function runFacet(producer: string, name: keyof typeof SCHEMAS, content: Readonly<Record<string, unknown>>) {
  const [version, schema] = SCHEMAS[name];
  return {
    _producer: producer,
    _schemaURL: `https://openlineage.io/spec/facets/${version}/${schema}.json#/$defs/${schema}`,
    ...content,
  };
}

export function inputDataset(producer: string, dataset: InputDataset): unknown {
  const inputFacets: Record<string, unknown> = {};
  if (dataset.read) inputFacets.inputStatistics = runFacet(producer, "inputStatistics", counts(dataset.read));
  if (dataset.assertions) inputFacets.dataQualityAssertions = assertionsFacet(producer, dataset.assertions);
  return { namespace: dataset.namespace, name: dataset.name, facets: commonFacets(producer, dataset), inputFacets };
}

export function outputDataset(producer: string, dataset: OutputDataset): unknown {
  const facets = commonFacets(producer, dataset);
  if (dataset.columns && dataset.columns.length > 0) facets.columnLineage = columnFacet(producer, dataset.columns);
  // Checks run on what a run writes: the facet stands among the dataset's own, since an output has no input facets.
  if (dataset.assertions) facets.dataQualityAssertions = assertionsFacet(producer, dataset.assertions);
  const outputFacets: Record<string, unknown> = {};
  if (dataset.written) outputFacets.outputStatistics = runFacet(producer, "outputStatistics", counts(dataset.written));
  return { namespace: dataset.namespace, name: dataset.name, facets, outputFacets };
}

function counts({ rows, bytes, files }: Counted): Readonly<Record<string, number>> {
  return {
    ...(rows === undefined ? {} : { rowCount: rows }),
    ...(bytes === undefined ? {} : { size: bytes }),
    ...(files === undefined ? {} : { fileCount: files }),
  };
}

function commonFacets(producer: string, dataset: Dataset): Record<string, unknown> {
  const facets: Record<string, unknown> = {};
  if (dataset.contract) facets.schema = schemaFacet(producer, dataset.contract);
  if (dataset.version !== undefined)
    facets.version = runFacet(producer, "version", { datasetVersion: dataset.version });
  if (dataset.dataSource) facets.dataSource = runFacet(producer, "dataSource", dataset.dataSource);
  return facets;
}

function schemaFacet(producer: string, contract: Contract) {
  const fields = contract.fields.map((field, index) => ({
    name: field.name,
    type: field.type,
    ...(field.description === undefined ? {} : { description: field.description }),
    ordinal_position: index + 1,
  }));
  return runFacet(producer, "schema", { fields });
}

/** Type and subtype as the column lineage facet's documentation lists them. */
const TRANSFORMATIONS: Readonly<Record<DependencyKind, readonly [type: string, subtype: string]>> = {
  identity: ["DIRECT", "IDENTITY"],
  transformation: ["DIRECT", "TRANSFORMATION"],
  aggregation: ["DIRECT", "AGGREGATION"],
  join: ["INDIRECT", "JOIN"],
  filter: ["INDIRECT", "FILTER"],
  group_by: ["INDIRECT", "GROUP_BY"],
  sort: ["INDIRECT", "SORT"],
  window: ["INDIRECT", "WINDOW"],
  conditional: ["INDIRECT", "CONDITIONAL"],
};

interface WireField {
  readonly namespace: string;
  readonly name: string;
  readonly field: string;
  readonly transformations: Record<string, unknown>[];
}

function columnFacet(producer: string, columns: readonly ColumnLineage[]) {
  const fields: Record<string, unknown> = {};
  for (const column of columns) {
    // One entry for each input field; where it is used in several ways, several transformations of it.
    const byField = new Map<string, WireField>();
    for (const { namespace, name, field, kind } of column.from) {
      const key = JSON.stringify([namespace, name, field]);
      const entry = byField.get(key) ?? { namespace, name, field, transformations: [] };
      byField.set(key, entry);
      const [type, subtype] = TRANSFORMATIONS[kind];
      if (entry.transformations.some((known) => known.subtype === subtype)) continue;
      const description = column.expression !== undefined && type === "DIRECT" ? column.expression : undefined;
      entry.transformations.push({
        type,
        subtype,
        ...(description === undefined ? {} : { description }),
        masking: false,
      });
    }
    fields[column.field] = { inputFields: [...byField.values()] };
  }
  return runFacet(producer, "columnLineage", { fields });
}

function assertionsFacet(producer: string, assertions: readonly Assertion[]) {
  const list = assertions.map(({ assertion, success, column, severity, failures }) => ({
    assertion,
    success,
    ...(column === undefined ? {} : { column }),
    ...(severity === undefined ? {} : { severity: severity === "block" ? "error" : severity }),
    ...(failures === undefined ? {} : { failures }),
  }));
  return runFacet(producer, "dataQualityAssertions", { assertions: list });
}
