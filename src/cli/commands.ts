import type { Command } from "./command.ts";
import { demo } from "./commands/demo.ts";
import { promoteCommand, rollback, rollforward } from "./commands/deploy.ts";
import { modelKeygen, modelList, modelSign, modelVerify } from "./commands/model.ts";
import { run } from "./commands/run.ts";
import { driftCommand, performanceCommand, replay, score } from "./commands/score.ts";
import { configReferenceCommand, configSchemaCommand } from "./commands/config.ts";
import { ingest } from "./commands/ingest.ts";
import { ledgerVerify } from "./commands/ledger.ts";
import { streams } from "./commands/streams.ts";
import { viewsExplain, viewsExport } from "./commands/views.ts";
import { validate } from "./commands/validate.ts";

/** Every command, in the order of the help page: one file each, one line here. */
export const COMMANDS: readonly Command[] = [
  validate,
  run,
  ingest,
  ledgerVerify,
  viewsExport,
  viewsExplain,
  streams,
  modelList,
  modelKeygen,
  modelSign,
  modelVerify,
  promoteCommand,
  rollback,
  rollforward,
  score,
  replay,
  performanceCommand,
  driftCommand,
  demo,
  configSchemaCommand,
  configReferenceCommand,
];
