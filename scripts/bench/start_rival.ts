/** The least that answers for a model: Bun, ONNX Runtime, one session, one route. Prints its port; argument: the model. */
import { InferenceSession } from "onnxruntime-node";

const session = await InferenceSession.create(process.argv[2]!, { intraOpNumThreads: 1, interOpNumThreads: 1 });
const server = Bun.serve({
  port: 0,
  hostname: "127.0.0.1",
  fetch: () => Response.json({ inputs: session.inputNames }),
});
console.log(server.port);
