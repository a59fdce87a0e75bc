#!/usr/bin/env bun
import { dispatch } from "./cli/dispatch.ts";
import { systemWorld } from "./system.ts";

/** The composition root: hands the real world and the command line to the commands. */
const code = await dispatch(systemWorld, process.argv.slice(2));
// A pipe takes 64 KiB at once: what it has not taken yet would be lost with the process.
await Promise.all([process.stdout, process.stderr].map((stream) => new Promise<void>((taken) => stream.end(taken))));
process.exit(code);
