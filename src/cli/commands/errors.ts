import { nearest } from "../../base/nearest.ts";
import type { Command } from "../command.ts";
import { errorCodes, errorsMarkdown } from "../error_tables.ts";
import { cliErrors } from "../errors.ts";

export const errors: Command = {
  name: "errors",
  words: "[code]",
  summary: "explain one error code, or print all of them as Markdown",
  async run(_world, input) {
    const codes = errorCodes();
    const [wanted] = input.words;
    if (wanted === undefined) return { json: codes, text: errorsMarkdown(codes) };
    const found = codes.find(({ code }) => code === wanted);
    if (found) return { json: found, text: `${found.code} (${found.kind})\n  ${found.meaning}\n  fix: ${found.fix}` };
    const near = nearest(
      wanted,
      codes.map(({ code }) => code),
    );
    const fix = near === undefined ? "Run `mlpe errors` for all of them." : `Did you mean ${near}?`;
    throw cliErrors.error("bad_usage", `there is no error code "${wanted}"`, { place: "mlpe errors", fix });
  },
};
