import type { Context } from "hono";
import { exactJsonText } from "../contract/json.ts";

/** Who asks hears something this often, so that nobody between takes the connection for dead. */
const HEARTBEAT_MS = 5_000;

/**
 * The answer of work that may take minutes. What is done soon is answered as ever; else the answer begins as 200 with blank
 * lines, and ends with the object, or with the error as an object, which JSON allows.
 */
export async function patiently(
  context: Context,
  work: () => Promise<object>,
  fail: (context: Context, error: unknown) => Response,
): Promise<Response> {
  const done = work().then(
    (answer) => ({ answer, error: undefined }),
    (error: unknown) => ({ answer: undefined, error }),
  );
  const response = (outcome: Awaited<typeof done>) =>
    outcome.answer ? json(exactJsonText(outcome.answer)) : fail(context, outcome.error);
  const first = await within(done);
  if (first) return response(first);
  const encoder = new TextEncoder();
  return json(
    new ReadableStream({
      async pull(controller) {
        const outcome = await within(done);
        controller.enqueue(outcome ? new Uint8Array(await response(outcome).arrayBuffer()) : encoder.encode("\n"));
        if (outcome) controller.close();
      },
    }),
  );
}

const json = (body: string | ReadableStream): Response =>
  new Response(body, { headers: { "content-type": "application/json" } });

/** Undefined where it is not done within a heartbeat. */
function within<Outcome>(done: Promise<Outcome>): Promise<Outcome | undefined> {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => resolve(undefined), HEARTBEAT_MS);
  return Promise.race([done, promise]).finally(() => clearTimeout(timer));
}
