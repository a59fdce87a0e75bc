import type { Clock } from "./clock.ts";
import type { Random } from "./random.ts";

/** A UUID of version 7 (RFC 9562): sorted by the millisecond it was made in. */
export function uuid7(clock: Clock, random: Random): string {
  const bytes = random.bytes(16);
  let millis = Math.floor(clock.now() / 1000);
  for (let i = 5; i >= 0; i--) {
    bytes[i] = millis % 256;
    millis = Math.floor(millis / 256);
  }
  bytes[6] = (bytes[6]! & 0x0f) | 0x70;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = Buffer.from(bytes).toString("hex");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
