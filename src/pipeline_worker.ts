import { pipelineThread, type ToPipeline } from "./runtime/pipeline_thread.ts";
import { systemWorld } from "./system.ts";

/** The entry file of the pipeline thread: the real world and the messages, nothing else. */
declare const self: Worker;

const thread = pipelineThread(systemWorld, (message) => self.postMessage(message));
self.onmessage = (event: MessageEvent) => thread.receive(event.data as ToPipeline);
