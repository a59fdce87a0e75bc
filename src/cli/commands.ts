import type { Command } from "./command.ts";
import { configReferenceCommand, configSchemaCommand } from "./commands/config.ts";
import { ingest } from "./commands/ingest.ts";
import { ledgerVerify } from "./commands/ledger.ts";
import { streams } from "./commands/streams.ts";
import { validate } from "./commands/validate.ts";

/** Every command, in the order of the help page: one file each, one line here. */
export const COMMANDS: readonly Command[] = [
  validate,
  ingest,
  ledgerVerify,
  streams,
  configSchemaCommand,
  configReferenceCommand,
];
