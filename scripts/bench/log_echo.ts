/** The entry file of a thread that sends back what it gets. */
declare const self: Worker;

self.onmessage = (event: MessageEvent) => self.postMessage(event.data);
