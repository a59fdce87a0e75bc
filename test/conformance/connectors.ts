import { expect, test } from "bun:test";
import type { Connector, Page } from "../../src/contract/page.ts";
import { decodePage } from "../../src/ingestion/decode.ts";

/**
 * What every connector must do, whatever it reads. A case makes a source that holds the records n = 0, 1, 2, ... as
 * objects with the fields `n` and `text`; `broken` asks for one record in the middle that can't be decoded.
 */
export interface ConnectorCase {
  readonly name: string;
  /** As its kind says. */
  readonly finite: boolean;
  /** A new source with so many records. The connector is not open. */
  make(options: { readonly records: number; readonly broken?: boolean }): Promise<ConnectorUnderTest>;
  /** A cursor that the source can't have given out. */
  readonly futureCursor?: string;
  /** A new source whose second record is longer than any record may be. */
  makeHuge?(): Promise<ConnectorUnderTest>;
}

export interface ConnectorUnderTest {
  /** A connector of the source: a second one stands for the process after a kill. */
  connect(): Connector;
  /** Brings the records to an open connector, where the source is pushed to. What was acknowledged is not sent again. */
  feed?(connector: Connector, acknowledged: ReadonlySet<number>): void;
  dispose(): Promise<void>;
}

const NOTHING = { commitNo: 1, counts: {} };
const PAGE = 200;

/** The numbers of the page's records; -1 for one that is broken. */
function numbersOf(page: Page): number[] {
  const decoded = decodePage(page.payload, page.format);
  return decoded.records.map((record) => {
    if (record === null) return -1;
    const raw = decoded.header
      ? (record as readonly string[])[decoded.header.indexOf("n")]
      : (record as { n: unknown }).n;
    return Number(raw);
  });
}

/** Reads and acknowledges until there is nothing left, or so many pages. */
async function readAll(connector: Connector, take: (page: Page) => void, pages = Number.POSITIVE_INFINITY) {
  for (let count = 0; count < pages; count++) {
    const next = await connector.next(PAGE);
    if (next.kind !== "page") return next.kind;
    take(next);
    await connector.ack(next.cursor, NOTHING);
  }
  return "more";
}

const upTo = (count: number) => Array.from({ length: count }, (_, n) => n);

export function connectorSuite(subject: ConnectorCase): void {
  const check = (what: string, run: () => Promise<void>) => test(`${subject.name}: ${what}`, run);
  const using = async (made: Promise<ConnectorUnderTest>, run: (made: ConnectorUnderTest) => Promise<void>) => {
    const source = await made;
    try {
      await run(source);
    } finally {
      await source.dispose();
    }
  };

  check("gives every record once, in order, with cursors that differ", () =>
    using(subject.make({ records: 60 }), async (source) => {
      const connector = source.connect();
      await connector.open("");
      source.feed?.(connector, new Set());
      const numbers: number[] = [];
      const cursors: string[] = [];
      const ending = await readAll(connector, (page) => {
        numbers.push(...numbersOf(page));
        cursors.push(page.cursor);
      });
      expect(numbers).toEqual(upTo(60));
      expect(cursors.length).toBeGreaterThan(3);
      expect(new Set(cursors).size).toBe(cursors.length);
      expect(ending).toBe(subject.finite ? "end" : "wait");
      await connector.close();
    }),
  );

  check("goes on after a kill at any page, without loss or repeat", () =>
    using(subject.make({ records: 60 }), async (source) => {
      const whole: string[] = [];
      const first = source.connect();
      await first.open("");
      source.feed?.(first, new Set());
      await readAll(first, (page) => whole.push(page.cursor));
      await first.close();
      for (let kill = 0; kill <= whole.length; kill++) {
        const numbers: number[] = [];
        let cursor = "";
        const take = (page: Page) => {
          numbers.push(...numbersOf(page));
          cursor = page.cursor;
        };
        const before = source.connect();
        await before.open("");
        source.feed?.(before, new Set());
        await readAll(before, take, kill);
        await before.next(PAGE); // handed out, and lost with the process
        const after = source.connect();
        await after.open(cursor);
        source.feed?.(after, new Set(numbers));
        await readAll(after, take);
        expect(numbers).toEqual(upTo(60));
        await before.close();
        await after.close();
      }
    }),
  );

  check("opened again, hands out again what was not acknowledged", () =>
    using(subject.make({ records: 20 }), async (source) => {
      const connector = source.connect();
      await connector.open("");
      source.feed?.(connector, new Set());
      const lost = await connector.next(PAGE);
      await connector.open("");
      const again = await connector.next(PAGE);
      expect((again as Page).payload).toEqual((lost as Page).payload);
      await connector.close();
    }),
  );

  check("a poison record costs none of its neighbours", () =>
    using(subject.make({ records: 20, broken: true }), async (source) => {
      const connector = source.connect();
      await connector.open("");
      source.feed?.(connector, new Set());
      const numbers: number[] = [];
      await readAll(connector, (page) => numbers.push(...numbersOf(page)));
      expect(numbers.filter((n) => n >= 0)).toEqual(upTo(20));
      await connector.close();
    }),
  );

  check("an empty source gives no page, and an end only if it is finite", () =>
    using(subject.make({ records: 0 }), async (source) => {
      const connector = source.connect();
      await connector.open("");
      const next = await connector.next(PAGE);
      expect(next.kind).toBe(subject.finite ? "end" : "wait");
      if (next.kind === "end") {
        const again = source.connect();
        await again.open(next.cursor);
        expect(await again.next(PAGE)).toEqual(next);
        await again.close();
      }
      await connector.close();
    }),
  );

  check("a cursor that is none, or lies in the future, is refused", () =>
    using(subject.make({ records: 5 }), async (source) => {
      for (const cursor of ["no cursor", "{}", "[]", "null", ...(subject.futureCursor ? [subject.futureCursor] : [])]) {
        const connector = source.connect();
        const opened = connector.open(cursor).then(
          () => "opened",
          (error) => error.code as string,
        );
        expect(await opened).toMatch(/^connectors\.(bad_cursor|file_changed)$/);
        await connector.close();
      }
    }),
  );

  check("can be closed while it is busy, and twice", () =>
    using(subject.make({ records: 60 }), async (source) => {
      const connector = source.connect();
      await connector.open("");
      source.feed?.(connector, new Set());
      await connector.next(PAGE);
      await connector.close();
      await connector.close();
    }),
  );

  if (!subject.makeHuge) return;
  check("a record beyond the bound is cut, and the ones around it survive", () =>
    using(subject.makeHuge!(), async (source) => {
      const connector = source.connect();
      await connector.open("");
      const numbers: number[] = [];
      let largest = 0;
      await readAll(connector, (page) => {
        numbers.push(...numbersOf(page));
        largest = Math.max(largest, page.payload.length);
      });
      expect(numbers).toEqual([0, -1, 2]);
      expect(largest).toBeLessThan(1 << 17);
      await connector.close();
    }),
  );
}
