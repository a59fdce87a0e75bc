#!/usr/bin/env bun
import { dispatch } from "./cli/dispatch.ts";
import { outputGuard, systemWorld } from "./system.ts";

/** The composition root: hands the real world and the command line to the commands. */
const finished = outputGuard();
const code = await dispatch(systemWorld, process.argv.slice(2));
process.exit(await finished(code));
