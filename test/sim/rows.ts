import type { Draw } from "./draw.ts";

/** A raw record as a source has it. */
type Raw = Record<string, unknown>;

/** What one source brings: good rows, corrections, repetitions, rows out of order and rows that are wrong. */
export interface Feed {
  readonly name: string;
  /** `dataset` or `routes` of the source. */
  readonly target: Record<string, unknown>;
  readonly records: readonly Raw[];
  /** The same records as text, with some lines that are no records at all. */
  csv(): string;
  lines(): string;
}

const SHOPS = ["north", "south", "east"];
const ITEMS = ["tea", "oil", "salt"];
const QUARTERS = 4 * 40; // of an hour

const instantAt = (quarter: number): string =>
  new Date(Date.UTC(2024, 0, 1) + quarter * 15 * 60_000).toISOString().replace(".000", "");

export function tradeFeed(draw: Draw): Feed {
  const records = arranged(draw, draw.integer(8, 32), (id): Raw => {
    const at = instantAt(draw.integer(0, QUARTERS));
    const result = draw.chance(0.7) ? draw.integer(-20, 60) : null;
    const amount = draw.chance(0.03) ? 950 : draw.integer(-1, 200) / 2;
    return { id, shop: draw.pick(SHOPS), item: draw.chance(0.8) ? draw.pick(ITEMS) : null, at, amount, result };
  });
  const routes = { orders: {}, outcomes: { where: "result is not null", otherwise: "drop: open" } };
  return feedOf("trade", { routes }, records, draw);
}

/** Two sources may feed the dataset, each with records of its own: `firstId` keeps them apart. */
export function visitsFeed(draw: Draw, name = "visits", firstId = 0): Feed {
  const records = arranged(draw, draw.integer(10, 40), (number): Raw => {
    const id = firstId + (number % 1000);
    const at = draw.integer(0, QUARTERS);
    const value = draw.chance(0.8) ? draw.integer(0, 400) / 4 : null;
    return { id, shop: draw.pick(SHOPS), at: instantAt(at), seen_at: instantAt(at + draw.integer(0, 6)), value };
  });
  return feedOf(name, { dataset: "visits" }, records, draw);
}

export function weatherFeed(draw: Draw): Feed {
  const records = arranged(draw, draw.integer(5, 30), (): Raw => {
    const at = instantAt(4 * draw.integer(0, QUARTERS / 4));
    return { shop: draw.pick(SHOPS), at, temp: draw.chance(0.85) ? draw.integer(-10, 35) : null };
  });
  return feedOf("weather", { dataset: "weather" }, records, draw);
}

export function itemsFeed(draw: Draw): Feed {
  const records = arranged(draw, draw.integer(1, 6), (): Raw => {
    return { item: draw.pick(ITEMS), price: draw.chance(0.8) ? draw.integer(1, 50) : null };
  });
  return feedOf("items", { dataset: "items" }, records, draw);
}

/** Records of ascending number, many nearly in the order of time; some come twice, some change later, some are wrong. */
function arranged(draw: Draw, count: number, make: (id: number) => Raw): Raw[] {
  const records = Array.from({ length: count }, (_, id) => make(id));
  const place = (row: Raw) => (typeof row.at === "string" ? Date.parse(row.at) / 900_000 : 0) + draw.integer(0, 12);
  const placed = records.map((row) => ({ row, at: place(row) })).sort((a, b) => a.at - b.at);
  const stream = placed.map(({ row }) => row);
  const insert = (row: Raw, after: number) => stream.splice(draw.integer(after + 1, stream.length), 0, row);
  for (const row of records) {
    const at = stream.indexOf(row);
    if (draw.chance(0.12)) insert({ ...row }, at);
    if (draw.chance(0.2)) insert(corrected(row, make(Number(row.id ?? 0)), draw), at);
    if (draw.chance(0.08)) insert(spoiled(row, draw), at);
  }
  return stream;
}

/** A later version: some fields of another draw, the same identity. */
function corrected(row: Raw, other: Raw, draw: Draw): Raw {
  const keep = "id" in row ? ["id"] : "at" in row ? ["shop", "at"] : ["item"];
  const names = Object.keys(row).filter((name) => !keep.includes(name));
  return { ...row, ...Object.fromEntries(names.filter(() => draw.chance(0.5)).map((name) => [name, other[name]])) };
}

function spoiled(row: Raw, draw: Draw): Raw {
  const names = Object.keys(row);
  const name = draw.pick(names);
  return { ...row, [name]: draw.pick(["not a value", "", "2024-13-45T00:00:00Z", "1e400"]) };
}

function feedOf(name: string, target: Record<string, unknown>, records: readonly Raw[], draw: Draw): Feed {
  const columns = Object.keys(records[0]!);
  const cell = (value: unknown) => (value === null ? "" : String(value));
  const broken = (text: string) => (draw.chance(0.06) ? text : "");
  return {
    name,
    target,
    records,
    csv: () => {
      const lines = records.map((row) => `${columns.map((column) => cell(row[column])).join(",")}\n${broken("1,2\n")}`);
      return `${columns.join(",")}\n${lines.join("")}`;
    },
    lines: () => records.map((row) => `${JSON.stringify(row)}\n${broken("{broken\n")}`).join(""),
  };
}
