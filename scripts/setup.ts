/** Installs the dependencies of a fresh clone, from the lock file; does nothing where they are there. */
import { existsSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dir, "..");
if (!existsSync(join(root, "node_modules", "onnxruntime-node"))) {
  process.stderr.write("installing dependencies\n");
  const result = Bun.spawnSync([process.execPath, "install", "--frozen-lockfile"], {
    cwd: root,
    stdio: ["ignore", "ignore", "inherit"],
  });
  if (!result.success) process.exit(result.exitCode);
}
