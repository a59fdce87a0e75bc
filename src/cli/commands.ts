import type { Command } from "./command.ts";
import { auditCheckpoint, auditProve, auditVerify } from "./commands/audit.ts";
import { backup, restore } from "./commands/backup.ts";
import { configReferenceCommand, configSchemaCommand } from "./commands/config.ts";
import { contractInfer } from "./commands/contract.ts";
import { demo } from "./commands/demo.ts";
import { promoteCommand, rollback, rollforward } from "./commands/deploy.ts";
import { doctor } from "./commands/doctor.ts";
import { erase } from "./commands/erase.ts";
import { errors } from "./commands/errors.ts";
import { exportCommand } from "./commands/export.ts";
import { functions } from "./commands/functions.ts";
import { health } from "./commands/health.ts";
import { ingest } from "./commands/ingest.ts";
import { keysList, keysRewrap, keysRotate } from "./commands/keys.ts";
import { ledgerVerify } from "./commands/ledger.ts";
import { lineage } from "./commands/lineage.ts";
import { modelKeygen, modelList, modelSign, modelVerify } from "./commands/model.ts";
import { modelInit } from "./commands/model_init.ts";
import { quarantineList } from "./commands/quarantine.ts";
import { queryCommand } from "./commands/query.ts";
import { retain } from "./commands/retain.ts";
import { run } from "./commands/run.ts";
import { driftCommand, performanceCommand, replay, score } from "./commands/score.ts";
import { streams } from "./commands/streams.ts";
import { tap } from "./commands/tap.ts";
import { validate } from "./commands/validate.ts";
import { viewsExplain, viewsExport } from "./commands/views.ts";
import { viewsEvaluate, viewsVerify } from "./commands/views_verify.ts";

/** Every command, in the order of the help page: one file each, one line here. */
export const COMMANDS: readonly Command[] = [
  contractInfer,
  validate,
  run,
  ingest,
  ledgerVerify,
  quarantineList,
  viewsExport,
  viewsExplain,
  viewsVerify,
  viewsEvaluate,
  streams,
  queryCommand,
  exportCommand,
  tap,
  modelInit,
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
  lineage,
  auditVerify,
  auditCheckpoint,
  auditProve,
  backup,
  restore,
  erase,
  retain,
  keysList,
  keysRotate,
  keysRewrap,
  health,
  doctor,
  demo,
  functions,
  configSchemaCommand,
  configReferenceCommand,
  errors,
];
