import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Clock } from "../../src/base/clock.ts";
import type { Random } from "../../src/base/random.ts";
import { type LogStore, openStore } from "../../src/store/store.ts";
import { MemoryStore } from "../support/memory_store.ts";
import type { Draw } from "./draw.ts";

/** What outlives a process: the log, as the next process finds it. */
export interface Home {
  open(): Promise<LogStore>;
  /** The open process is gone without a word; its store must not be used any more. */
  kill(draw: Draw): Promise<void>;
  remove(): Promise<void>;
}

/** The port in memory as the runtime takes it. Nothing on the path may reach beneath the port. */
export function memoryHome(clock: Clock): Home {
  const memory = new MemoryStore(clock);
  const store = Object.assign(memory, { compact: async () => {} }) as unknown as LogStore;
  return { open: async () => store, kill: async () => {}, remove: async () => {} };
}

const ticks = async (count: number) => {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
};

/**
 * The real sealed log in a temporary directory. A kill keeps what the operating system has: all files as they are at that
 * moment, copied in one go while no line of the store runs, some in the middle of a compaction.
 */
export function sealedHome(clock: Clock, random: Random): Home {
  const home = mkdtempSync(join(tmpdir(), "mlpe-sim-"));
  const directory = (number: number) => join(home, `data-${number}`);
  let number = 0;
  let store: LogStore | undefined;
  const keys = { provider: "file" as const, path: join(home, "key") };
  const close = async () => {
    await store?.close();
    store = undefined;
  };
  return {
    async open() {
      await close();
      store = await openStore({ directory: directory(number), keys, clock, random });
      return store;
    },
    async kill(draw) {
      const compacting = draw.chance(0.4) ? store?.compact().catch(() => undefined) : undefined;
      await ticks(draw.integer(0, 12));
      const from = directory(number++);
      // Not the shared memory file and the lock: the operating system drops both with the last process.
      cpSync(from, directory(number), {
        recursive: true,
        filter: (path) => !/(?:-shm|writer\.lock|writer\.pid)$/.test(path),
      });
      await compacting;
      await close();
      rmSync(from, { recursive: true });
    },
    async remove() {
      await close();
      rmSync(home, { recursive: true, force: true });
    },
  };
}
