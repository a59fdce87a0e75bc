/** What reads keep decoded: everything together stays within one bound, and what was not used for longest goes first. */
export interface ReadCache {
  /** What stands at `key`, made where nothing does; `drop` is called when it goes. `cost` is in bytes. */
  get<V>(key: number | string, make: () => { value: V; cost: number; drop?: () => void }): V;
  /** Sets what the value takes by now. */
  recost(key: number | string, cost: number): void;
  forget(key: number | string): void;
  /** What everything kept takes, about. */
  bytes(): number;
  clear(): void;
}

interface Entry {
  readonly value: unknown;
  cost: number;
  readonly drop: (() => void) | undefined;
}

/** Values go, the least recently used first, while the costs exceed `bound` bytes; the newest alone may exceed it. */
export function readCache(bound: number): ReadCache {
  const entries = new Map<number | string, Entry>();
  let total = 0;
  const forget = (key: number | string) => {
    const entry = entries.get(key);
    if (!entry) return;
    entries.delete(key);
    total -= entry.cost;
    entry.drop?.();
  };
  const shrink = (newest: number | string) => {
    if (total <= bound) return;
    for (const key of entries.keys()) {
      if (total <= bound) return;
      if (key !== newest) forget(key);
    }
  };
  return {
    get<V>(key: number | string, make: () => { value: V; cost: number; drop?: () => void }): V {
      let entry = entries.get(key);
      if (entry) entries.delete(key);
      else {
        const { value, cost, drop } = make();
        entry = { value, cost, drop };
        total += cost;
      }
      entries.set(key, entry);
      shrink(key);
      return entry.value as V;
    },
    recost(key, cost) {
      const entry = entries.get(key);
      if (!entry || entry.cost === cost) return;
      total += cost - entry.cost;
      entry.cost = cost;
      shrink(key);
    },
    forget,
    bytes: () => total,
    clear() {
      for (const key of [...entries.keys()]) forget(key);
    },
  };
}
