import { expect, test } from "bun:test";
import { sampleCsv } from "../../src/contract/csv_sample.ts";

const text = new TextEncoder();
const options = { delimiter: ",", rowsMax: 1_000 };

test("a compressed file that holds far more than is looked at is not unpacked whole", async () => {
  const packed = Bun.zstdCompressSync(
    text.encode(`a,b\n${"1,2\n".repeat(20)}${`3,${"x".repeat(1 << 20)}\n`.repeat(80)}`),
  );
  const { rows, notes } = await sampleCsv("big.csv.zst", new Uint8Array(packed), options);
  expect(rows.length).toBeGreaterThan(60);
  expect(rows.length).toBeLessThan(20 + 65); // 64 MiB of it
  expect(notes.join()).toContain(`Only the first ${rows.length} rows were looked at.`);
});

test("a whole file is read to its last record, with or without a line break", async () => {
  for (const end of ["", "\n"]) {
    const plain = text.encode(`\uFEFFa,b\n1,2\n3,"4\n5"${end}`);
    for (const [name, bytes] of [
      ["x.csv", plain],
      ["x.csv.gz", Bun.gzipSync(plain)],
    ] as const) {
      const { header, rows, notes } = await sampleCsv(name, new Uint8Array(bytes), options);
      expect(header).toEqual(["a", "b"]);
      expect(rows).toEqual([
        ["1", "2"],
        ["3", "4\n5"],
      ]);
      expect(notes).toEqual([]);
    }
  }
});

test("bytes that do not unpack are no CSV", async () => {
  expect(sampleCsv("x.csv.gz", text.encode("a,b\n1,2\n"), options)).rejects.toMatchObject({
    code: "contract.unreadable_csv",
  });
});
