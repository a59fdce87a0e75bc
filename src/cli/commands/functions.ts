import { functionDocs } from "../../expression/docs.ts";
import type { Command } from "../command.ts";

export const functions: Command = {
  name: "functions",
  summary: "list the functions that expressions may call",
  async run() {
    const docs = functionDocs();
    const lines = docs.map(
      (one) =>
        `${one.forms.map((form) => `${form.signature} -> ${form.gives}`).join("\n")}\n    ${one.doc}  ${one.example}`,
    );
    return { json: docs, text: lines.join("\n") };
  },
};
