import { describe, expect, test } from "bun:test";
import Ajv2020 from "ajv/dist/2020";
import { configJsonSchema, configKeys, configReference } from "../../src/config/docs.ts";
import { PATH_KEYS } from "../../src/config/schema.ts";
import { REFERENCE_CONFIG } from "./reference_config.ts";

describe("the JSON Schema", () => {
  const validate = new Ajv2020({ strict: true, allowUnionTypes: true }).compile(configJsonSchema());
  const reference = () => Bun.YAML.parse(REFERENCE_CONFIG) as Record<string, Record<string, unknown>>;

  test("accepts what the loader accepts, and refuses an unknown key", () => {
    expect(validate(reference()), JSON.stringify(validate.errors)).toBe(true);
    expect(validate({ ...reference(), datsets: {} })).toBe(false);
    const nested = reference();
    nested.listen = { port: "many" };
    expect(validate(nested)).toBe(false);
  });
});

describe("the reference", () => {
  const keys = configKeys();
  const find = (key: string) => keys.find((item) => item.key === key);

  test("says type, default and meaning of every key", () => {
    expect(find("listen.port")).toEqual({
      key: "listen.port",
      type: "whole number from 0 to 65535",
      required: false,
      default: "8080",
      description: "0 picks a free port",
    });
    expect(find("views.<name>.joins.<name>.max_age")!.type).toBe("duration (90s, 15m, 3h, 7d)");
    expect(find("views.<name>.features")!.type).toBe("map of name to SQL scalar expression");
    expect(find("drift.<name>.every")!.default).toBe('"1d"');
    expect(find("site")!.required).toBe(true);
    expect(keys.filter((item) => item.description === "").map((item) => item.key)).toEqual([]);
  });

  test("is a Markdown table with a row for each key", () => {
    const lines = configReference().trimEnd().split("\n");
    expect(lines).toHaveLength(keys.length + 2);
    for (const line of lines) expect(line.replaceAll("\\|", "").split("|")).toHaveLength(6);
  });

  test("names as paths exactly the keys that the loader treats as paths", () => {
    const paths = keys.filter((item) => item.type === "path").map((item) => item.key.replaceAll("<name>", "*"));
    const lists = keys.filter((item) => item.type === "list of path").map((item) => `${item.key}.*`);
    expect([...paths, ...lists].sort()).toEqual([...PATH_KEYS].sort());
  });
});
