/** What reads keep decoded: everything together stays within one bound, and what was not used for long goes first. */
export interface ReadCache {
  /** What stands at `key`, undefined where nothing does. */
  find<V>(key: number | string): V | undefined;
  /** The same, made where nothing stands; `drop` is called when it goes. `cost` is in bytes. */
  get<V>(key: number | string, make: () => { value: V; cost: number; drop?: () => void }): V;
  /** Sets what the value takes by now. */
  recost(key: number | string, cost: number): void;
  forget(key: number | string): void;
  /** Forgets all for which this is false. */
  keep(isKept: (key: number | string) => boolean): void;
  /** What everything kept takes, about. */
  bytes(): number;
  clear(): void;
}

interface Entry {
  readonly value: unknown;
  cost: number;
  readonly drop: (() => void) | undefined;
  /** Since it last stood at the end. */
  used: boolean;
}

/**
 * Values go, the oldest first, while the costs exceed `bound` bytes; one that was used since has another turn, from the end
 * ("second chance": finding a value moves nothing). The newest alone may exceed the bound.
 */
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
  const again = (key: number | string, entry: Entry) => {
    entry.used = false;
    entries.delete(key);
    entries.set(key, entry); // the loop below comes to it once more
  };
  const shrink = (newest: number | string) => {
    if (total <= bound) return;
    for (const [key, entry] of entries) {
      if (total <= bound) return;
      if (key === newest) continue;
      if (entry.used) again(key, entry);
      else forget(key);
    }
  };
  const find = <V>(key: number | string): V | undefined => {
    const entry = entries.get(key);
    if (entry) entry.used = true;
    return entry?.value as V | undefined;
  };
  return {
    find,
    get<V>(key: number | string, make: () => { value: V; cost: number; drop?: () => void }): V {
      const known = find<V>(key);
      if (known !== undefined) return known;
      const { value, cost, drop } = make();
      entries.set(key, { value, cost, drop, used: false });
      total += cost;
      shrink(key);
      return value;
    },
    recost(key, cost) {
      const entry = entries.get(key);
      if (!entry || entry.cost === cost) return;
      total += cost - entry.cost;
      entry.cost = cost;
      shrink(key);
    },
    forget,
    keep(isKept) {
      for (const key of [...entries.keys()]) if (!isKept(key)) forget(key);
    },
    bytes: () => total,
    clear() {
      for (const key of [...entries.keys()]) forget(key);
    },
  };
}
