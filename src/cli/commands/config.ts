import { configJsonSchema, configReference } from "../../config/docs.ts";
import type { Command } from "../command.ts";

export const configSchemaCommand: Command = {
  name: "config schema",
  summary: "print the JSON Schema of mlpe.yaml, for editors",
  run: async () => ({ json: configJsonSchema(), text: JSON.stringify(configJsonSchema(), null, 2) }),
};

export const configReferenceCommand: Command = {
  name: "config reference",
  summary: "print every config key with its type, default and meaning, as Markdown",
  run: async () => ({ json: { markdown: configReference() }, text: configReference() }),
};
