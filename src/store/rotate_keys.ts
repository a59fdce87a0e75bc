import type { Clock } from "../base/clock.ts";
import type { Random } from "../base/random.ts";
import type { Progress, Rotation } from "./rotate.ts";
import type { Keys } from "./sealer.ts";
import { openWriter } from "./writer.ts";

export interface RotateOptions {
  readonly directory: string;
  readonly keys: Keys;
  readonly clock: Clock;
  readonly random: Random;
  readonly progress?: Progress;
}

/** Rotates the keys of a store that nobody has open for writing. Throws store.locked, and as `rotateInPlace`. */
export async function rotateKeys({ directory, keys, clock, random, progress }: RotateOptions): Promise<Rotation> {
  const writer = await openWriter(directory, keys, clock, random);
  try {
    return await writer.rotate(progress);
  } finally {
    await writer.close();
  }
}
