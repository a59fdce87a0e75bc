import { readlinkSync } from "node:fs";
import { getPriority, setPriority } from "node:os";

/**
 * This thread gives way to the others of the process, as far as `nice` says (1 to 19): on few cores, who answers and who
 * commits goes before who works ahead. On Linux a priority is the thread's own; elsewhere nothing is changed.
 */
export function giveWay(nice: number): void {
  try {
    const thread = Number(/\d+$/.exec(readlinkSync("/proc/thread-self"))![0]);
    if (getPriority(thread) < nice) setPriority(thread, nice);
  } catch {
    // Another system, or one that doesn't let it: everything works as well, and waits a little longer.
  }
}
