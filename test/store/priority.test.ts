import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";

const niceOf = (stat: string) => Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[16]);

test.if(process.platform === "linux")("a thread gives way by itself, and never takes a priority back", async () => {
  const own = niceOf(readFileSync("/proc/thread-self/stat", "utf8"));
  const code = `
    import { readFileSync } from "node:fs";
    import { giveWay } from ${JSON.stringify(new URL("../../src/store/priority.ts", import.meta.url).href)};
    const nices = [19, 1].map((nice) => {
      giveWay(nice);
      return readFileSync("/proc/thread-self/stat", "utf8");
    });
    self.postMessage(nices);`;
  const worker = new Worker(URL.createObjectURL(new Blob([code], { type: "application/javascript" })));
  const stats = await new Promise<string[]>((resolve, reject) => {
    worker.onmessage = (event: MessageEvent<string[]>) => resolve(event.data);
    worker.onerror = (event) => reject(new Error(event.message));
  });
  worker.terminate();
  expect(stats.map(niceOf)).toEqual([19, 19]);
  expect(niceOf(readFileSync("/proc/thread-self/stat", "utf8"))).toBe(own);
});
