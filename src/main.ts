#!/usr/bin/env bun
import { dispatch } from "./cli/dispatch.ts";
import { keepHeapsSmall, outputGuard, systemWorld } from "./system.ts";

/** The composition root: hands the real world and the command line to the commands. */
const words = process.argv.slice(2);
if (words[0] === "run") keepHeapsSmall(); // what runs for ever; a command that ends gives its memory back
const finished = outputGuard();
const code = await dispatch(systemWorld, words);
process.exit(await finished(code));
