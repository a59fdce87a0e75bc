import type { KeySettings } from "../keys/registry.ts";
import { errorOf } from "./channel.ts";
import type { Hands, MergedRun, PackedTail } from "./compact_work.ts";
import type { CompactMessage } from "./compact_worker.ts";
import type { EmptiedSegments, PuncturedStatements } from "./erase_work.ts";
import { storeErrors } from "./errors.ts";
import type { SegmentInfo } from "./segment_info.ts";

type Settle = { resolve(result: never): void; reject(cause: unknown): void };

/**
 * The work of compaction in a thread of its own, started with the first call, with `keys` as they are at each call. One that
 * dies fails the call it was at; the next call starts another.
 */
export function handsInThread(directory: string, keys: () => KeySettings, workerUrl: string | URL): Hands {
  let worker: Worker | undefined;
  let waiting: Settle | undefined;
  let abandoned = false;
  const settle = (act: (waiting: Settle) => void) => {
    const last = waiting;
    waiting = undefined;
    if (last) act(last);
  };
  const start = (): Worker => {
    const started = new Worker(workerUrl, { smol: true });
    const ended = (why: string) => {
      if (worker === started) worker = undefined;
      started.terminate();
      settle(({ reject }) => reject(storeErrors.error("compaction_ended", `the compaction thread ended: ${why}`)));
    };
    started.onmessage = ({ data }: MessageEvent) => {
      settle(({ resolve, reject }) => {
        if (data.failure) reject(errorOf(data.failure));
        else resolve(data.result as never);
      });
    };
    started.onerror = (event) => ended(/^error: (.*)$/m.exec(event.message)?.[1] ?? "it threw an error");
    started.addEventListener("close", () => {
      if (worker === started) ended("it stopped by itself");
    });
    return started;
  };
  const call = <T>(work: CompactMessage["work"]): Promise<T> =>
    new Promise<T>((resolve, reject) => {
      if (abandoned) return reject(storeErrors.error("compaction_ended", "compaction was given up: the log is closed"));
      waiting = { resolve, reject };
      worker ??= start();
      worker.postMessage({ directory, keys: keys(), work } satisfies CompactMessage);
    });
  return {
    packTail: (upTo, statementContractId) => call<PackedTail | undefined>({ kind: "pack", upTo, statementContractId }),
    mergeNext: (policy, without) => call<MergedRun | undefined>({ kind: "merge", policy, without }),
    empty: (work) => call<EmptiedSegments>({ kind: "empty", work }),
    puncture: (work) => call<PuncturedStatements>({ kind: "puncture", work }),
    reseal: (info) => call<SegmentInfo>({ kind: "reseal", info }),
    abandon() {
      abandoned = true;
      const last = worker;
      worker = undefined;
      last?.terminate();
      settle(({ reject }) =>
        reject(storeErrors.error("compaction_ended", "compaction was given up: the log is closed")),
      );
    },
    async close() {
      if (!worker) return;
      await call({ kind: "close" }).catch(() => {}); // dead already
      const last = worker;
      worker = undefined;
      last?.terminate();
    },
  };
}
