import { afterAll, beforeAll, expect, test } from "bun:test";
import { seededRandom } from "../../src/base/random.ts";
import type { Desk } from "../support/world.ts";
import { expectNothingInside } from "./inside.ts";
import { CONFIG, createDelivered, createProject, READINGS, READINGS_CSV } from "./project.ts";
import { type Served, serveDesk } from "./server.ts";

/**
 * Good inputs with random damage, from a seed that a failure prints. Whatever comes: an answer, or an error with a code
 * that is not `internal`; never a crash, and nothing of the inside. `MLPE_FUZZ_SEED` and `MLPE_FUZZ_ROUNDS` go further.
 */
const SEED = Number(Bun.env.MLPE_FUZZ_SEED ?? 20_240_101);
const ROUNDS = Number(Bun.env.MLPE_FUZZ_ROUNDS ?? 40);

const TIMEOUT_MS = 20_000 + ROUNDS * 200;

type Dice = ReturnType<typeof seededRandom>;
const upTo = (dice: Dice, count: number) => Math.floor(dice.next() * count);
const pick = <T>(dice: Dice, items: readonly T[]): T => items[upTo(dice, items.length)]!;

const PIECES = [
  ..."{}[]()\"'`,:;-*&!|>%@#?\\\n\r\t\0 ~",
  ...["null", "true", "-1", "1e40", "NaN", "9007199254740993", "12345678901234567890", "${", "<<: *a", "---\n"],
  ...[
    "__proto__",
    "constructor",
    "toString",
    "\u00e9",
    "\ud83d\ude00",
    "\ud800",
    "select 1",
    "../../etc/passwd",
    "x".repeat(300),
  ],
];

/** One to five changes: bytes flipped, cut out, doubled, or replaced by something awkward. */
function damaged(dice: Dice, good: string): Uint8Array {
  let bytes: Buffer = Buffer.from(good);
  for (let change = 1 + upTo(dice, 5); change > 0; change--) {
    const at = upTo(dice, bytes.length + 1);
    const to = Math.min(bytes.length, at + upTo(dice, 12));
    const [head, middle, tail] = [bytes.subarray(0, at), bytes.subarray(at, to), bytes.subarray(to)];
    const replacement = [
      () => Buffer.alloc(0),
      () => Buffer.concat([middle, middle]),
      () => Buffer.from(pick(dice, PIECES)),
      () => Buffer.concat([Buffer.from(pick(dice, PIECES)), middle]),
      () => Buffer.from(dice.bytes(1 + upTo(dice, 4))),
    ];
    bytes = Buffer.concat([head, pick(dice, replacement)(), tail]);
  }
  return new Uint8Array(upTo(dice, 20) === 0 ? dice.bytes(upTo(dice, 200)) : bytes);
}

/** Runs the rounds; a failure says which seed and input it was. */
async function rounds(offset: number, act: (dice: Dice) => Promise<string>, count = ROUNDS): Promise<void> {
  for (let round = 0; round < count; round++) {
    const dice = seededRandom(SEED + offset * 1_000_000 + round);
    const told = await act(dice);
    try {
      expectNothingInside(told);
      expect(told).not.toMatch(/\binternal\b/);
    } catch (cause) {
      throw new Error(`round ${round} of seed ${SEED}: ${told.slice(0, 1_000)}`, { cause });
    }
  }
}

/** A failure has a code and a fix; what it quotes of the input is taken out before looking for the inside. */
function failureOf({ exit, errors }: { exit: number; errors: string }): string {
  if (exit === 0) return "";
  const { error } = JSON.parse(errors) as { error: { code: string; message: string; fix: string; place?: string } };
  if (!/^[a-z]+\.[a-z_]+$/.test(error.code) || error.fix === "" || error.message === "") return `internal ${errors}`;
  return error.code;
}

const files = { "mlpe.yaml": CONFIG, "readings.avsc": JSON.stringify(READINGS), "readings.csv": READINGS_CSV } as const;

Object.entries(files).forEach(([name, good], offset) => {
  test(
    `a damaged ${name}`,
    async () => {
      const desk = createProject();
      try {
        const command = name === "readings.csv" ? "ingest" : "validate";
        await rounds(
          offset,
          async (dice) => {
            if (command === "ingest") {
              await desk.world.files.removeDirectory(desk.path("data"));
              await desk.world.files.removeDirectory(desk.path("key"));
            }
            desk.write(name, damaged(dice, good));
            return failureOf(await desk.run(command, "--json"));
          },
          command === "ingest" ? ROUNDS / 5 : ROUNDS,
        ); // a store is made for each
      } finally {
        desk.remove();
      }
    },
    TIMEOUT_MS,
  );
});

let delivered: Desk;
let served: Served;
beforeAll(async () => {
  delivered = await createDelivered();
  served = await serveDesk(delivered);
});
afterAll(async () => {
  await served.stop();
  delivered.remove();
});

const bodies: Readonly<Record<string, unknown>> = {
  "/v2/models/load/infer": {
    id: "1",
    inputs: [
      {
        name: "x",
        datatype: "FP32",
        shape: [2, 3],
        data: [
          [1, 2, 3],
          [4, 5, 6],
        ],
      },
    ],
  },
  "/v1/score/load": {
    at: "2024-01-01T12:00:00Z",
    rows: [{ sensor: "s1", place: "north", at: "2024-01-01T11:00:00Z", temperature: 1.5 }],
  },
  "/v1/labels/load": {
    labels: [{ keys: { sensor: "s1", at: "2024-01-01T10:00:00Z" }, label: true, time: "2024-01-02T00:00:00Z" }],
  },
  "/v1/sources/events/rows": [{ id: "e1", at: "2024-01-01T10:00:00Z", size: 1 }],
  "/v1/models/load/promote": { directory: "/no/such/place", accept_inconclusive: false },
};

Object.entries(bodies).forEach(([path, good], offset) => {
  test(
    `a damaged body for ${path}`,
    async () => {
      await rounds(10 + offset, async (dice) => {
        const body = damaged(dice, JSON.stringify(good));
        const response = await fetch(`${served.url}${path}`, {
          method: "POST",
          body,
          headers: { authorization: `Bearer ${served.token}` },
        });
        const text = await response.text();
        if (response.ok) return "";
        const { error } = JSON.parse(text) as { error: string | { code: string; fix: string } };
        const code = typeof error === "string" ? error.slice(0, error.indexOf(":")) : error.code;
        return response.status >= 500 && response.status !== 501
          ? `internal: ${response.status} ${text} for ${Buffer.from(body)}`
          : code;
      });
    },
    TIMEOUT_MS,
  );
});
