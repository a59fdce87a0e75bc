import { pipelineThread, type ToPipeline } from "./runtime/pipeline_thread.ts";
import { giveWay } from "./store/priority.ts";
import { systemWorld } from "./system.ts";

/** The entry file of the pipeline thread: the real world and the messages, nothing else. */
declare const self: Worker;

/** Below the threads that answer and commit: a score does not wait for the pipeline to have worked ahead. */
const NICE = 5;

giveWay(NICE);
const thread = pipelineThread(systemWorld, (message) => self.postMessage(message));
self.onmessage = (event: MessageEvent) => thread.receive(event.data as ToPipeline);
