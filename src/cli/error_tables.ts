import { auditErrors } from "../audit/errors.ts";
import type { ErrorEntry } from "../base/errors.ts";
import { configErrors } from "../config/errors.ts";
import { connectorErrors } from "../connectors/errors.ts";
import { contractErrors } from "../contract/errors.ts";
import { deliveryErrors } from "../delivery/errors.ts";
import { expressionErrors } from "../expression/errors.ts";
import { feedbackErrors } from "../feedback/errors.ts";
import { fusionErrors } from "../fusion/errors.ts";
import { ingestionErrors } from "../ingestion/errors.ts";
import { REJECT_CODES } from "../ingestion/rejects.ts";
import { keyErrors } from "../keys/errors.ts";
import { lineageErrors } from "../lineage/errors.ts";
import { monitoringErrors } from "../monitoring/errors.ts";
import { qualityErrors } from "../quality/errors.ts";
import { runtimeErrors } from "../runtime/errors.ts";
import { requestErrors } from "../runtime/requests.ts";
import { scoringErrors } from "../scoring/errors.ts";
import { serverErrors } from "../server/errors.ts";
import { storeErrors } from "../store/errors.ts";
import { viewErrors } from "../views/errors.ts";
import { cliErrors, EXIT_CODES } from "./errors.ts";

interface Table {
  readonly prefix: string;
  readonly entries: Readonly<Record<string, ErrorEntry>>;
}

/** Every room's error codes, in the order data flows: one line here for each table. */
const ERROR_TABLES: readonly Table[] = [
  cliErrors,
  configErrors,
  contractErrors,
  expressionErrors,
  keyErrors,
  storeErrors,
  connectorErrors,
  ingestionErrors,
  fusionErrors,
  viewErrors,
  scoringErrors,
  qualityErrors,
  lineageErrors,
  auditErrors,
  monitoringErrors,
  feedbackErrors,
  deliveryErrors,
  runtimeErrors,
  requestErrors,
  serverErrors,
];

export interface ErrorCode {
  readonly code: string;
  /** `reject`: the code of a quarantined row, not of a failed command. */
  readonly kind: ErrorEntry["kind"] | "reject";
  readonly meaning: string;
  readonly fix: string;
  readonly retryable: boolean;
}

/** Every code that MLPE can answer with. */
export function errorCodes(): ErrorCode[] {
  const failures = ERROR_TABLES.flatMap(({ prefix, entries }) =>
    Object.entries(entries).map(([name, { kind, meaning, fix, retryable }]) => ({
      code: `${prefix}.${name}`,
      kind,
      meaning,
      fix,
      retryable: retryable ?? (kind === "unavailable" || kind === "overloaded"),
    })),
  );
  const rejects = Object.entries(REJECT_CODES).map(([code, { meaning, fix }]) => ({
    code,
    kind: "reject" as const,
    meaning,
    fix,
    retryable: false,
  }));
  return [...failures, ...rejects];
}

/** The codes as Markdown, a table for each kind of answer. */
export function errorsMarkdown(codes: readonly ErrorCode[]): string {
  const cell = (text: string) => text.replaceAll("|", "\\|").replaceAll("\n", " ");
  const lines = (chosen: readonly ErrorCode[]) =>
    chosen.map(
      ({ code, kind, meaning, fix, retryable }) =>
        `| \`${code}\` | ${kind}${retryable ? ", retryable" : ""} | ${cell(meaning)} | ${cell(fix)} |`,
    );
  const exits = Object.entries(EXIT_CODES).map(([kind, exit]) => `| ${kind} | ${exit} |`);
  const header = ["| code | kind | meaning | fix |", "|---|---|---|---|"];
  return [
    "# Error codes",
    "",
    "A failure has a stable code, names the place, and says the next step. The kind decides the exit code and the HTTP status.",
    "",
    ...header,
    ...lines(codes.filter(({ kind }) => kind !== "reject")),
    "",
    "## Codes of quarantined rows",
    "",
    ...header,
    ...lines(codes.filter(({ kind }) => kind === "reject")),
    "",
    "## Exit codes",
    "",
    "0 is success; 1 means that the command ran and the answer is no; 64 is wrong usage and 78 a bad config. Else by kind:",
    "",
    "| kind | exit code |",
    "|---|---|",
    ...exits,
  ].join("\n");
}
