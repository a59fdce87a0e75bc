import { scoringErrors } from "./errors.ts";
import type { LoadedModel } from "./loaded.ts";

/** A model held for the length of one request: its session stays open until every lease on it is released. */
export interface Lease {
  readonly model: LoadedModel;
  release(): void;
}

export interface ModelState {
  readonly name: string;
  readonly live: LoadedModel;
  /** Kept warm, so that a rollback is one flip. */
  readonly previous: LoadedModel | null;
}

/** The models of this thread by name: one live, one kept warm. */
export interface ModelTable {
  /** Makes a loaded model live. What was live is kept warm; what was warm is closed once no lease is on it. */
  install(model: LoadedModel): void;
  /** Makes the warm model of that digest live again. False where it is not warm: load and install it. */
  activate(name: string, digest: string): boolean;
  /** Throws `scoring.unknown_model`, or `scoring.unknown_version` where neither live nor warm has that version. */
  acquire(name: string, version?: string): Lease;
  list(): readonly ModelState[];
  /** Sessions open now: live, warm, and those draining. */
  open(): number;
  close(): void;
}

interface Slot {
  readonly model: LoadedModel;
  leases: number;
  retired: boolean;
}

interface Entry {
  live: Slot;
  previous: Slot | null;
}

export function createModelTable(): ModelTable {
  const entries = new Map<string, Entry>();
  let open = 0;
  const closeIfDrained = (slot: Slot) => {
    if (!slot.retired || slot.leases > 0) return;
    slot.model.session.dispose();
    open--;
  };
  const retire = (slot: Slot | null) => {
    if (!slot) return;
    slot.retired = true;
    closeIfDrained(slot);
  };
  return {
    install(model) {
      const slot: Slot = { model, leases: 0, retired: false };
      open++;
      const entry = entries.get(model.name);
      if (!entry) {
        entries.set(model.name, { live: slot, previous: null });
        return;
      }
      const warm = entry.previous;
      entry.previous = entry.live;
      entry.live = slot;
      retire(warm);
    },
    activate(name, digest) {
      const entry = entries.get(name);
      if (entry?.live.model.digest === digest) return true;
      if (entry?.previous?.model.digest !== digest) return false;
      [entry.live, entry.previous] = [entry.previous, entry.live];
      return true;
    },
    acquire(name, version) {
      const slot = find(entries, name, version);
      slot.leases++;
      let held = true;
      return {
        model: slot.model,
        release() {
          if (!held) return;
          held = false;
          slot.leases--;
          closeIfDrained(slot);
        },
      };
    },
    list: () =>
      [...entries].map(([name, { live, previous }]) => ({ name, live: live.model, previous: previous?.model ?? null })),
    open: () => open,
    close() {
      for (const { live, previous } of entries.values()) {
        retire(live);
        retire(previous);
      }
      entries.clear();
    },
  };
}

function find(entries: ReadonlyMap<string, Entry>, name: string, version: string | undefined): Slot {
  const entry = entries.get(name);
  if (!entry) {
    const known = [...entries.keys()].slice(0, 20).join(", ") || "none";
    const message = `there is no model ${JSON.stringify(name.slice(0, 80))} ready; ready are: ${known}`;
    throw scoringErrors.error("unknown_model", message, { place: name.slice(0, 80) });
  }
  if (version === undefined) return entry.live;
  const slot = [entry.live, entry.previous].find((candidate) => candidate?.model.manifest.version === version);
  if (slot) return slot;
  const message = `model "${name}" has no version ${JSON.stringify(version.slice(0, 80))} ready`;
  throw scoringErrors.error("unknown_version", message, { place: `${name}/versions/${version.slice(0, 80)}` });
}
