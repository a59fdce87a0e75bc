import { isAscii } from "node:buffer";
import type { Column } from "./batch.ts";
import { type PackedTexts, textAt } from "./codec_texts.ts";

/** Texts one after another, as they are encoded: none is an object of its own until it is asked for. */
export interface LazyTexts {
  readonly length: number;
  /** Where each begins in `bytes`, and the end. */
  readonly starts: Uint32Array;
  /** As `textBytes` gives them. */
  readonly bytes: Uint8Array;
  /** Every text is its bytes. */
  readonly plain: boolean;
  at(index: number): string;
  /** All of them, made once. */
  all(): readonly string[];
}

/** `made` hears that there are as many strings now. */
export function lazyTexts(packed: PackedTexts, made: () => void = () => {}): LazyTexts {
  return lazy(packed, packed.ascii !== undefined, () => packed, made);
}

/** Text `i` is `bytes` from `starts[i]` up to `starts[i + 1]`. */
export function textsIn(bytes: Uint8Array, starts: Uint32Array, plain = isAscii(bytes)): LazyTexts {
  const length = starts.length - 1;
  let packed: PackedTexts | undefined; // one text, cut: many times faster than many texts
  const cut = () => {
    const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    packed ??= { length, starts, bytes, ascii: plain ? buffer.toString("latin1") : undefined };
    return packed;
  };
  return lazy({ length, starts, bytes }, plain, cut, () => {});
}

function lazy(
  { length, starts, bytes }: Omit<PackedTexts, "ascii">,
  plain: boolean,
  packed: () => PackedTexts,
  made: () => void,
): LazyTexts {
  let all: readonly string[] | undefined;
  const at = (index: number) => textAt(packed(), index);
  return {
    length,
    starts,
    bytes,
    plain,
    at,
    all() {
      if (all) return all;
      all = Array.from({ length }, (_, i) => at(i));
      made();
      return all;
    },
  };
}

/** A text column whose dictionary becomes strings when somebody asks for them: folds take the bytes. */
export function packedColumn(codes: Int32Array, packed: LazyTexts): Column & { kind: "text" } {
  const column = {
    kind: "text" as const,
    codes,
    get dictionary() {
      return packed.all();
    },
  };
  return Object.defineProperty(column, "packed", { value: packed }); // not of what a column is compared by
}

/** The texts at `codes`, in that order. */
export function takeTexts(from: LazyTexts, codes: Int32Array): LazyTexts {
  const starts = new Uint32Array(codes.length + 1);
  for (let i = 0; i < codes.length; i++) starts[i + 1] = starts[i]! + lengthAt(from, codes[i]!);
  const bytes = new Uint8Array(starts[codes.length]!);
  for (let i = 0; i < codes.length; i++) copyText(from, codes[i]!, bytes, starts[i]!);
  return textsIn(bytes, starts, from.plain || undefined);
}

export const lengthAt = ({ starts }: LazyTexts, index: number): number => starts[index + 1]! - starts[index]!;

export function copyText({ bytes, starts }: LazyTexts, index: number, into: Uint8Array, at: number): void {
  const to = starts[index + 1]!;
  for (let from = starts[index]!, target = at; from < to; ) into[target++] = bytes[from++]!;
}
