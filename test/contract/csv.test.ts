import { expect, test } from "bun:test";
import fc from "fast-check";
import { byteWindow } from "../../src/connectors/byte_window.ts";
import { cutCsv, nextRun } from "../../src/connectors/cut.ts";
import { decodePage } from "../../src/ingestion/decode.ts";

const encode = (text: string) => new TextEncoder().encode(text);
const FORMAT = { kind: "csv", header: ["a", "b"], delimiter: ",", nulls: [""], headed: false, line: 1 } as const;

/** Reads a text as a stream of small chunks, in pages of about that size, and decodes each page on its own. */
async function throughPages(text: string, chunk: number, pageBytes: number): Promise<unknown[]> {
  const bytes = encode(text);
  const stream = new ReadableStream<Uint8Array>({
    start(controller) {
      for (let at = 0; at < bytes.length; at += chunk) controller.enqueue(bytes.slice(at, at + chunk));
      controller.close();
    },
  });
  const window = byteWindow(stream);
  const seen: unknown[] = [];
  const payloads: Uint8Array[] = [];
  for (;;) {
    const run = await nextRun(window, cutCsv(","), pageBytes);
    if (!run) break;
    payloads.push(run.payload);
    const page = decodePage(run.payload, FORMAT);
    page.records.forEach((record, i) => {
      seen.push(record ?? `broken: ${page.broken.get(i)!.text}`);
    });
  }
  expect(Buffer.concat(payloads).toString()).toBe(Buffer.from(bytes).toString());
  return seen;
}

test("fields that were written are read again, whatever they hold, in pages of any size", async () => {
  const cell = fc.string({ unit: fc.constantFrom("a", "é", ",", '"', "\n", "\r\n", " ", "🙂"), maxLength: 6 });
  const rows = fc.array(fc.tuple(cell, cell), { minLength: 1, maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(rows, fc.nat({ max: 30 }), fc.nat({ max: 60 }), fc.boolean(), async (list, chunk, page, crlf) => {
      const quoted = (text: string) => `"${text.replaceAll('"', '""')}"`;
      const text = list.map(([a, b]) => `${quoted(a)},${quoted(b)}${crlf ? "\r\n" : "\n"}`).join("");
      expect(await throughPages(text, chunk + 1, page + 1)).toEqual(list.map((row) => [...row]));
    }),
    { numRuns: 200 },
  );
});

test("broken quotes are judged the same in pages of any size, and every byte is kept", async () => {
  const soup = fc.string({ unit: fc.constantFrom("a", ",", '"', "\n", "\r"), maxLength: 60 });
  await fc.assert(
    fc.asyncProperty(soup, fc.nat({ max: 20 }), fc.nat({ max: 40 }), async (text, chunk, page) => {
      expect(await throughPages(text, chunk + 1, page + 1)).toEqual(await throughPages(text, 1000, 1000));
    }),
    { numRuns: 500 },
  );
});

test("a quote that is never closed costs one line", async () => {
  const seen = await throughPages('1,x\n2,"y\n3,z\n', 5, 4);
  expect(seen).toEqual([["1", "x"], 'broken: 2,"y', ["3", "z"]]);
});
