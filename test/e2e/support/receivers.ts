/** Real HTTP servers of the outside world, on loopback: what arrives at each is kept. */

export interface Received {
  readonly path: string;
  // Looked into field by field by the assertions.
  readonly body: ReturnType<typeof JSON.parse>;
}

export interface Receiver {
  readonly port: number;
  readonly received: readonly Received[];
  stop(): Promise<void>;
}

/** Port 0 picks a free one; a port that was free a moment ago makes a server that comes up later. */
export function receiver(port = 0): Receiver {
  const received: Received[] = [];
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port,
    async fetch(request) {
      received.push({ path: new URL(request.url).pathname, body: await request.json() });
      return new Response(null, { status: 201 });
    },
  });
  return { port: server.port!, received, stop: () => server.stop(true) };
}

/** A port on which nothing listens now. */
export async function freePort(): Promise<number> {
  const server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response() });
  const { port } = server;
  await server.stop(true);
  return port!;
}
