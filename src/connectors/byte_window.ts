/** The unread part of a byte stream, filled on demand: memory is bounded by what the reader asks to see at once. */
export interface ByteWindow {
  /** The bytes seen and not yet taken. Valid until the next call. */
  view(): Uint8Array;
  /** True once the stream has ended: `view` is then all that is left. */
  ended(): boolean;
  /** Reads until `view` has at least that many bytes, or the stream ends. */
  fill(count: number): Promise<void>;
  /** Drops the first bytes of the view. */
  take(count: number): void;
  /** Reads past so many bytes of the stream; false when it ends before. */
  skip(count: number): Promise<boolean>;
  close(): Promise<void>;
}

export function byteWindow(stream: ReadableStream<Uint8Array>): ByteWindow {
  const reader = stream.getReader();
  let buffer = new Uint8Array(1 << 17);
  let start = 0;
  let end = 0;
  let done = false;

  const append = (chunk: Uint8Array) => {
    if (end + chunk.length > buffer.length) {
      const size = end - start + chunk.length;
      const target = size > buffer.length ? new Uint8Array(Math.max(size, buffer.length * 2)) : buffer;
      target.set(buffer.subarray(start, end));
      buffer = target;
      end -= start;
      start = 0;
    }
    buffer.set(chunk, end);
    end += chunk.length;
  };

  const more = async (): Promise<Uint8Array | undefined> => {
    const { value, done: last } = await reader.read();
    if (last) done = true;
    return value;
  };

  return {
    view: () => buffer.subarray(start, end),
    ended: () => done,
    fill: async (count) => {
      while (!done && end - start < count) {
        const chunk = await more();
        if (chunk) append(chunk);
      }
    },
    take: (count) => {
      start += count;
    },
    skip: async (count) => {
      let left = count;
      const held = Math.min(left, end - start);
      start += held;
      left -= held;
      while (left > 0 && !done) {
        const chunk = await more();
        if (chunk && chunk.length > left) append(chunk.subarray(left));
        left -= Math.min(left, chunk?.length ?? 0);
      }
      return left === 0;
    },
    close: async () => {
      done = true;
      // A stream that has failed was reported when it was read; there is nothing left to cancel.
      await reader.cancel().catch(() => undefined);
    },
  };
}
