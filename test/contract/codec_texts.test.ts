import { expect, test } from "bun:test";
import fc from "fast-check";
import { textBytes, textsAsBytes } from "../../src/contract/codec_texts.ts";

const texts = fc.array(
  fc.oneof(
    fc.string(),
    fc.string({ unit: "binary" }),
    fc.constantFrom("\ud800", "a\udc00b", "\u007f", "\u0080", "\u0100", ""),
    fc.integer({ min: 0, max: 6_000 }).map((length) => "x".repeat(length)), // beyond what is done by hand
  ),
  { maxLength: 12 },
);

test("texts one after another are each what it is alone", () => {
  fc.assert(
    fc.property(texts, (list) => {
      const { bytes, starts } = textsAsBytes(list);
      expect([starts.length, bytes.length]).toEqual([list.length + 1, starts[list.length]!]);
      list.forEach((text, i) => {
        expect(Buffer.compare(bytes.subarray(starts[i], starts[i + 1]), textBytes(text))).toBe(0);
      });
    }),
  );
});
