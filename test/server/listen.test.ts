import { expect, test } from "bun:test";
import type { Services } from "../../src/runtime/faces.ts";
import { listen } from "../../src/server/listen.ts";

const services = {} as Services; // nothing is asked of them here

const codeOf = (host: string, port: number): string => {
  try {
    listen(services, { host, port, maxBody: 1024, token: "t" });
    return "listening";
  } catch (error) {
    return (error as { code: string }).code;
  }
};

test("only a port that is taken is called so", async () => {
  const first = listen(services, { host: "127.0.0.1", port: 0, maxBody: 1024, token: "t" });
  expect(codeOf("127.0.0.1", first.port)).toBe("server.port_in_use");
  expect(codeOf("203.0.113.9", 0)).toBe("server.cannot_listen"); // an address for documentation: no machine has it
  await first.stop();
});

test("an end does not wait for an answer that is not read, as a stop does", async () => {
  const begun = Promise.withResolvers<void>();
  const rows = () => {
    begun.resolve();
    return new Promise<never>(() => {});
  };
  const stuck = { ...services, position: rows, streams: rows } as never;
  const server = listen(stuck, { host: "127.0.0.1", port: 0, maxBody: 1024, token: "t" });
  const asked = fetch(`${server.url}/v1/streams`).catch((error: Error) => error);
  await begun.promise;
  const stopped = server.stop();
  server.end();
  await stopped;
  expect(await asked).toBeInstanceOf(Error);
});
