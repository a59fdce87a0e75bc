import type { AsyncBuffer, RowGroup } from "hyparquet";
import { parquetHeader } from "hyparquet/src/column.js";

/**
 * Walks the page headers of a flat column before its pages are decoded, because the decoder believes them: a damaged
 * length or count would send it round for minutes. Throws a plain Error that says what does not add up.
 */
export async function checkPages(
  input: AsyncBuffer,
  group: RowGroup,
  name: string,
  pageBytesMax: number,
): Promise<void> {
  const chunk = group.columns.find(({ meta_data }) => meta_data?.path_in_schema.join(".") === name)?.meta_data;
  if (!chunk) throw new Error(`the column "${name}" has no data in a row group`);
  const dictionary = Number(chunk.dictionary_page_offset ?? 0);
  const start = dictionary > 0 ? Math.min(dictionary, Number(chunk.data_page_offset)) : Number(chunk.data_page_offset);
  const size = Number(chunk.total_compressed_size);
  if (start < 4 || size < 0 || start + size > input.byteLength)
    throw new Error(`the column "${name}" lies outside of the file`);
  const view = new DataView(await input.slice(start, start + size));
  const reader = { view, offset: 0 };
  let values = 0n;
  while (reader.offset < size && values < group.num_rows) {
    const header = parquetHeader(reader);
    const { compressed_page_size: compressed, uncompressed_page_size: whole } = header;
    if (!(compressed >= 0 && reader.offset + compressed <= size && whole >= 0 && whole <= pageBytesMax)) {
      throw new Error(`a page of the column "${name}" has no valid length`);
    }
    reader.offset += compressed;
    if (header.type === "DICTIONARY_PAGE") {
      // A value takes a byte at least, but for booleans, which have no dictionaries.
      const count = header.dictionary_page_header?.num_values ?? -1;
      if (!(count >= 0 && count <= whole)) throw new Error(`the dictionary of the column "${name}" has no valid size`);
      continue;
    }
    const second = header.data_page_header_v2;
    const count = header.data_page_header?.num_values ?? second?.num_values ?? -1;
    if (!(count >= 0)) throw new Error(`a page of the column "${name}" does not say how many values it has`);
    if (second) {
      const { num_nulls: nulls, num_rows: rows } = second;
      const levels = [second.definition_levels_byte_length, second.repetition_levels_byte_length];
      const fits =
        nulls >= 0 && nulls <= count && rows === count && levels.every((bytes) => bytes >= 0 && bytes <= compressed);
      if (!fits) throw new Error(`a page of the column "${name}" has no valid header`);
    }
    values += BigInt(count);
  }
  if (values !== group.num_rows)
    throw new Error(`the column "${name}" holds ${values} values in ${group.num_rows} rows`);
}
