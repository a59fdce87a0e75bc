#!/usr/bin/env bun
import { dispatch } from "./cli/dispatch.ts";
import { systemWorld } from "./system.ts";

/** The composition root: hands the real world and the command line to the commands. */
const code = await dispatch(systemWorld, process.argv.slice(2));
await new Promise((resolve) => process.stdout.write("", resolve)); // a pipe may still hold the last lines
process.exit(code);
