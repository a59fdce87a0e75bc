import { connectStore, openStore } from "../../src/store/store.ts";
import { type StoreUnderTest, storeConformance } from "../conformance/store.ts";
import { MemoryStore } from "../support/memory_store.ts";
import { storeHome } from "../support/store_home.ts";

storeConformance("the store in memory", async () => {
  let now = 1_000;
  const store = new MemoryStore({ now: () => now });
  const setClock = (time: number) => {
    now = time;
  };
  return { store, setClock, dispose: () => store.close() };
});

storeConformance("the sealed log in this thread", async () => {
  let now = 1_000;
  const setClock = (time: number) => {
    now = time;
  };
  return { ...(await sealedLog({ clock: { now: () => now } })), setClock };
});

storeConformance("the sealed log in its own thread", () => sealedLog({ thread: true }));

storeConformance("the sealed log from another thread's side of a port", async () => {
  const { options, remove } = storeHome({ thread: true });
  const owner = await openStore(options);
  const store = await connectStore(options, owner.port());
  return {
    store,
    compact: () => owner.compact(),
    async dispose() {
      await store.close();
      await owner.close();
      remove();
    },
  };
});

async function sealedLog(changes: Parameters<typeof storeHome>[0]): Promise<StoreUnderTest> {
  const { options, remove } = storeHome(changes);
  const store = await openStore(options);
  return {
    store,
    compact: () => store.compact(),
    async dispose() {
      await store.close();
      remove();
    },
  };
}
