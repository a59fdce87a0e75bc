/** Whether an event is what OpenLineage's own schemas say: the core one, and each facet by its `_schemaURL`. */
import Ajv2020 from "ajv/dist/2020";
import addFormats from "ajv-formats";
import { ROOT } from "./program.ts";

const SCHEMAS = `${ROOT}/schemas/openlineage`;
const CORE = "https://openlineage.io/spec/2-0-2/OpenLineage.json";

/** Makes a judge that answers every problem of an event, as texts. */
export async function lineageJudge(): Promise<(event: unknown) => string[]> {
  const ajv = new Ajv2020({ strict: false, allErrors: true });
  addFormats(ajv);
  ajv.addSchema(await Bun.file(`${SCHEMAS}/OpenLineage.json`).json());
  for await (const path of new Bun.Glob("facets/*/*.json").scan(SCHEMAS)) {
    ajv.addSchema(await Bun.file(`${SCHEMAS}/${path}`).json());
  }
  return (event) => {
    const found: string[] = [];
    const judge = (reference: string, value: unknown) => {
      const validate = ajv.getSchema(reference);
      if (!validate) found.push(`there is no schema ${reference}`);
      else if (!validate(value)) {
        found.push(...(validate.errors ?? []).map((error) => `${reference}${error.instancePath} ${error.message}`));
      }
    };
    const walk = (value: unknown): void => {
      if (value === null || typeof value !== "object") return;
      const url = (value as Record<string, unknown>)._schemaURL;
      if (typeof url === "string") judge(url, value);
      for (const item of Object.values(value)) walk(item);
    };
    judge(`${CORE}#/$defs/RunEvent`, event);
    walk(event);
    return found;
  };
}
