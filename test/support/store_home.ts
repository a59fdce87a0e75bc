import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { systemRandom } from "../../src/base/random.ts";
import type { OpenOptions } from "../../src/store/store.ts";

export interface StoreHome {
  readonly home: string;
  /** Options that open the store of this home; the key file lies beside the data directory. */
  readonly options: OpenOptions;
  remove(): void;
}

/** A place of its own for the store of a test. */
export function storeHome(changes: Partial<OpenOptions> = {}): StoreHome {
  const home = mkdtempSync(join(tmpdir(), "mlpe-store-"));
  const options = {
    directory: join(home, "data"),
    keys: { provider: "file", path: join(home, "key") },
    clock: systemClock,
    random: systemRandom,
    ...changes,
  };
  return { home, options, remove: () => rmSync(home, { recursive: true, force: true }) };
}
