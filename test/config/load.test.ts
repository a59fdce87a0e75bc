import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { stringify } from "yaml";
import { MlpeError } from "../../src/base/errors.ts";
import { absolutePaths, loadConfig } from "../../src/config/load.ts";
import { BAD, SMALL } from "./bad_configs.ts";
import { REFERENCE_CONFIG } from "./reference_config.ts";

// The reference config must load as it stands; every bad case is that config, or a tiny one, changed in one place.

const HOME = { HOME: "/users/ada" };

function failureOf(text: string, environment: Record<string, string> = HOME, overrides: string[] = []): MlpeError {
  try {
    loadConfig(text, "mlpe.yaml", environment, overrides);
  } catch (error) {
    if (error instanceof MlpeError) return error;
    throw error;
  }
  throw new Error("the config was accepted");
}

describe("a good config", () => {
  const config = loadConfig(REFERENCE_CONFIG, "mlpe.yaml", HOME);

  test("is read with its defaults, durations in microseconds, ~ and the order of features", () => {
    expect(config.keys.path).toBe("/users/ada/.mlpe/ewr-01.key");
    expect(config.listen).toEqual({ host: "127.0.0.1", port: 8080, max_body: 67_108_864 });
    expect(config.views.flight_delay!.joins.weather!.max_age).toBe(3 * 3_600_000_000);
    expect(Object.keys(config.views.flight_delay!.features).slice(0, 3)).toEqual(["hour", "weekday", "month"]);
    expect(Object.keys(config.views.flight_delay!.features)).toHaveLength(17);
    expect(config.notify.ops!.webhook).toBe("");
    expect(config.drift.flight_delay!.every).toBe(86_400_000_000);
    expect(config.checks.schedule![0]!.severity).toBe("block");
  });

  test("takes variables, also where numbers are wanted, and what they hold never becomes structure", () => {
    const text = `${SMALL}listen: { port: "\${PORT}" }\nlineage: { namespace: "\${NAME}" }\n`;
    const read = loadConfig(text, "mlpe.yaml", { PORT: "9000", NAME: "x }\nsite: evil\n${PORT}" });
    expect(read.listen.port).toBe(9000);
    expect(read.site).toBe("s");
    expect(read.lineage.namespace).toBe("x }\nsite: evil\n${PORT}");
    const plain = loadConfig(`${SMALL}data: \${DIR:-d}/\${SUB:-e}\n`, "mlpe.yaml", { SUB: "" });
    expect(plain.data).toBe("d/e");
    expect(loadConfig(`${SMALL}data: a$\${DIR}\n`, "mlpe.yaml", {}).data).toBe("a${DIR}");
  });

  test("takes --set over the file, with YAML values", () => {
    const sets = [
      "listen.port=0",
      "drift.flight_delay.metrics=[psi]",
      "trust=[a.pem]",
      "notify.late.webhook=https://x.test/?a=b",
    ];
    const read = loadConfig(REFERENCE_CONFIG, "mlpe.yaml", HOME, sets);
    expect(read.listen.port).toBe(0);
    expect(read.drift.flight_delay!.metrics).toEqual(["psi"]);
    expect(read.drift.flight_delay!.min_rows).toBe(500);
    expect(read.trust).toEqual(["a.pem"]);
    expect(read.notify.late!.webhook).toBe("https://x.test/?a=b");
  });

  test("resolves anchors and merges, its own keys first", () => {
    const text = `${SMALL}datasets:\n  a: &base { contract: a.avsc, static: true }\n  b: { <<: *base, contract: b.avsc }\n  c: *base\n`;
    const { datasets } = loadConfig(text, "mlpe.yaml", {});
    expect(datasets).toEqual({
      a: { contract: "a.avsc", static: true },
      b: { contract: "b.avsc", static: true },
      c: { contract: "a.avsc", static: true },
    });
  });

  test("has its paths made absolute from its folder", () => {
    const absolute = absolutePaths({ ...config, trust: ["keys/a.pem"] }, "/srv/examples/nycflights");
    expect(absolute.sources.weather).toMatchObject({ path: "/srv/examples/nycflights/data/weather.csv.zst" });
    expect(absolute.datasets.planes!.contract).toBe("/srv/schemas/nycflights/planes.avsc");
    expect(absolute.models.flight_delay!.artifact).toBe("/srv/models/flight_delay");
    expect(absolute.keys.path).toBe("/users/ada/.mlpe/ewr-01.key");
    expect(absolute.trust).toEqual(["/srv/examples/nycflights/keys/a.pem"]);
    expect(absolute.data).toBe("/srv/examples/nycflights/data.mlpe");
  });
});

describe("a bad config is refused with its code, place and fix", () => {
  for (const [name, text, code, place, fix] of BAD) {
    test(name, () => {
      const failure = failureOf(text);
      const shown = failure.problems.map(
        (problem) => `${problem.code} ${problem.place} ${problem.message} ${problem.fix}`,
      );
      expect(failure.problems, shown.join("\n")).toHaveLength(1);
      expect(failure.code).toBe(`config.${code}`);
      expect(failure.place).toContain(place);
      expect(failure.place).toStartWith("mlpe.yaml:");
      expect(failure.fix).toContain(fix);
      expect(failure.problems[0]!.fix).toBe(failure.fix);
    });
  }

  test("with every problem at once", () => {
    const text = "site: [a]\nkeyz: 1\nlisten: { port: 70000, hosts: x }\ndatasets:\n  a: { static: maybe }\n";
    const places = failureOf(text).problems.map((problem) => `${problem.code} ${problem.place}`);
    expect(places.sort()).toEqual([
      "config.bad_value mlpe.yaml:3:17 (listen.port)",
      "config.missing mlpe.yaml:1:1 (keys)",
      "config.missing mlpe.yaml:5:3 (datasets.a.contract)",
      "config.unknown_key mlpe.yaml:2:1 (keyz)",
      "config.unknown_key mlpe.yaml:3:24 (listen.hosts)",
      "config.wrong_type mlpe.yaml:1:7 (site)",
      "config.wrong_type mlpe.yaml:5:16 (datasets.a.static)",
    ]);
  });

  test("also where --set is wrong", () => {
    const table: [string, string, string][] = [
      ["listen.port", "bad_override", "--set"],
      ["=1", "bad_override", "--set"],
      ["site.name=x", "bad_override", "--set site.name"],
      ["listen.port=many", "wrong_type", "--set listen.port"],
      ["listen.prt=1", "unknown_key", "--set listen.prt"],
      ["listen={", "not_yaml", "--set listen"],
    ];
    for (const [override, code, place] of table) {
      const failure = failureOf(SMALL, {}, [override]);
      expect([override, failure.code]).toEqual([override, `config.${code}`]);
      expect(failure.place).toStartWith(place);
    }
  });

  test("needs HOME for ~ only", () => {
    expect(failureOf("site: a\nkeys: { path: ~/k }\n", {})).toMatchObject({
      code: "config.missing_variable",
      place: "mlpe.yaml:2:9 (keys.path)",
    });
  });

  test("never prints what came out of the environment", () => {
    const secret = "hunter2-very-secret";
    const keys = [
      ["site", "config.bad_value"],
      ["environment", "config.bad_value"],
      ["listen.port", "config.wrong_type"],
      ["listen", "config.wrong_type"],
      ["sources.a.connector", "config.bad_value"],
      ["drift.a.every", "config.bad_value"],
      ["drift.a.metrics.0", "config.wrong_type"],
      ["notify.a.webhook", "config.bad_value"],
      ["views.a.joins.b.by", "config.wrong_type"],
      ["schedules.a.cron", "config.bad_value"],
    ];
    for (const [key] of keys) {
      const nested = key!.split(".").reduceRight<unknown>((inner, part) => ({ [part]: inner }), "${SECRET}");
      const text = stringify({ site: "s", keys: { path: "/k" }, ...(nested as object) });
      const failure = failureOf(text, { SECRET: `${secret} ` });
      expect(JSON.stringify([failure.message, failure.place, failure.fix, failure.problems])).not.toContain("hunter2");
    }
  });

  test("is bounded: aliases that multiply, depth and size", () => {
    const bomb = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"];
    for (let i = 1; i < 9; i++)
      bomb.push(
        `a${i}: &a${i} [${Array(9)
          .fill(`*a${i - 1}`)
          .join(", ")}]`,
      );
    expect(failureOf(bomb.join("\n")).code).toBe("config.too_large");
    expect(failureOf(`a: &a { b: *a }\n`).code).toBe("config.too_large");
    expect(failureOf(`a: ${"[".repeat(40)}${"]".repeat(40)}\n`).code).toBe("config.too_large");
    expect(failureOf(`a: ${"[".repeat(20_000)}`).code).toStartWith("config.");
    expect(failureOf(`#${"x".repeat(1_100_000)}`).code).toBe("config.too_large");
  });
});

describe("whatever is mutated, the answer is a config or an MlpeError", () => {
  const wild = fc.oneof(
    fc.jsonValue(),
    fc.constantFrom(
      "${X}",
      "${X",
      "~/x",
      "__proto__",
      "constructor",
      "<<",
      -1,
      Number.POSITIVE_INFINITY,
      Number.NaN,
      null,
      [],
      {},
      "3h",
    ),
  );
  const keys = fc.oneof(
    fc.string(),
    fc.constantFrom("site", "keys", "views", "<<", "__proto__", "constructor", "toString"),
  );

  test("in a value or a key", () => {
    const base = loadPlain();
    const paths = allPaths(base);
    fc.assert(
      fc.property(fc.constantFrom(...paths), wild, keys, fc.integer({ min: 0, max: 2 }), (path, value, key, how) => {
        const copy = structuredClone(base);
        const parent = path.slice(0, -1).reduce<Record<string, unknown>>((at, part) => at[part] as never, copy);
        const last = path.at(-1)!;
        if (how === 0) parent[last] = value;
        else if (how === 1) delete parent[last];
        else Object.defineProperty(parent, key, { value, enumerable: true, configurable: true, writable: true });
        acceptsOrRefuses(stringify(copy, { lineWidth: 0, aliasDuplicateObjects: false }));
      }),
      { numRuns: 80 },
    );
  }, 30_000);

  test("in the text itself", () => {
    fc.assert(
      fc.property(
        fc.nat(REFERENCE_CONFIG.length),
        fc.nat(40),
        fc.string({ unit: "binary", maxLength: 12 }),
        (at, cut, put) => {
          acceptsOrRefuses(REFERENCE_CONFIG.slice(0, at) + put + REFERENCE_CONFIG.slice(at + cut));
        },
      ),
      { numRuns: 60 },
    );
  }, 30_000);
});

function acceptsOrRefuses(text: string): void {
  try {
    loadConfig(text, "mlpe.yaml", HOME);
  } catch (error) {
    if (!(error instanceof MlpeError)) throw error;
    expect(error.problems.length).toBeGreaterThan(0);
    for (const problem of error.problems) {
      expect(problem.code).toMatch(/^config\.[a-z_]+$/);
      expect(problem.place).toStartWith("mlpe.yaml");
      expect(problem.fix.length).toBeGreaterThan(5);
    }
  }
}

function loadPlain(): Record<string, unknown> {
  return Bun.YAML.parse(REFERENCE_CONFIG) as Record<string, unknown>;
}

function allPaths(value: unknown, path: readonly string[] = []): (readonly string[])[] {
  const below =
    value === null || typeof value !== "object"
      ? []
      : Object.entries(value).flatMap(([key, inner]) => allPaths(inner, [...path, key]));
  return path.length === 0 ? below : [path, ...below];
}
